"""Where the data is and what each of its columns means, as the owner says it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from probity.record import Number, Record, Slug, refuse_repeats
from probity.suggestion import did_you_mean
from probity.task import Task

__all__ = ["SPLITS", "DataConfig", "LabelConfig", "PrivacyUnitColumn", "SensitiveConfig"]

SPLITS: tuple[Literal["train", "eval", "test"], ...] = ("train", "eval", "test")
"""The three splits and their three jobs: fit, choose (early stopping), and - untouched until then - audit."""


def _items_may_be_names(schema: dict[str, Any]) -> None:
    """Tells editors of the short form: a name in place of a mapping."""
    schema["items"] = {"anyOf": [schema["items"], {"type": "string"}]}


class LabelConfig(Record):
    """The column to predict."""

    column: str
    """Name of the label column."""
    positive: str | int | float | bool | None = None
    """For ``task: binary``: the label value that counts as positive; every other value is negative. 1 when absent."""
    classes: tuple[str, ...] | None = None
    """For ``task: multiclass``: the classes, in the order of the model's scores. Absent: the domain of the label in a
    curated schema, else the values found in the data, sorted."""
    favourable: tuple[str, ...] = ()
    """For ``task: multiclass``: the classes that benefit a person when they are predicted."""

    @field_validator("classes", "favourable", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """Lets whole numbers stand for the texts that name them: ``classes: [1, 2, 3]``."""
        if isinstance(value, (list, tuple)):
            return tuple(str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in value)
        return value

    @model_validator(mode="after")
    def _classes_agree(self) -> LabelConfig:
        refuse_repeats("classes", self.classes or ())
        refuse_repeats("favourable", self.favourable)
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError("classes needs at least two classes")
        stray = [name for name in self.favourable if self.classes is not None and name not in self.classes]
        if stray:
            raise ValueError(
                f"favourable names {stray[0]!r}, which classes does not{did_you_mean(stray[0], self.classes or ())}"
            )
        return self

    @property
    def positive_value(self) -> str | int | float | bool:
        """The positive value of a binary label."""
        return 1 if self.positive is None else self.positive


class SensitiveConfig(Record):
    """A column whose groups are audited. It never reaches the model unless ``also_feature`` is true."""

    column: str
    """Name of the column in the data."""
    name: Slug | None = None
    """Name of the attribute in reports; the column's name when absent."""
    bins: tuple[Number, ...] | None = None
    """Inner bin edges of a numeric column, ascending; ``[25, 40]`` gives the groups <25, 25-40 and >=40."""
    groups: tuple[str, ...] = ()
    """Groups that must be reported even if no row belongs to them, beside those found in the data and the schema."""
    also_feature: bool = False
    """Whether the model may see the column too."""
    reference: dict[str, float] | None = None
    """Share of each group among the people that the model will meet, from a source outside the data, for example a
    census: ``{Female: 0.51, Male: 0.49}``. Groups that are not named have what is left."""
    reference_source: str | None = None
    """Where the shares come from, for the reader."""

    @field_validator("reference")
    @classmethod
    def _shares(cls, reference: dict[str, float] | None) -> dict[str, float] | None:
        if reference is not None:
            if not reference or any(not 0.0 < share <= 1.0 for share in reference.values()):
                raise ValueError("reference needs at least one group, each with a share above 0 and up to 1")
            if sum(reference.values()) > 1.0 + 1e-6:
                raise ValueError(f"the shares of reference add up to {sum(reference.values()):g}, which is more than 1")
        return reference

    @field_validator("bins")
    @classmethod
    def _ascending(cls, bins: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if bins is not None and (not bins or list(bins) != sorted(set(bins))):
            raise ValueError("bin edges must be at least one, ascending and different")
        return bins

    @property
    def attribute(self) -> str:
        """The name used in reports, slices and gate rules."""
        return self.name or self.column


class PrivacyUnitColumn(Record):
    """All rows that share a value of this column belong to one person (or household, or client)."""

    column: str
    """Name of the column; it is never a feature."""


class DataConfig(Record):
    """Where the data is and what each column means."""

    source: str | dict[Literal["train", "eval", "test"], str]
    """A file, a folder or a glob pattern of CSV(.gz), Parquet or TFRecord files, relative to the config file; or one
    such source for each of train, eval and test, which keeps an existing split; eval may be left out."""
    task: Task = "binary"
    """What is predicted: ``binary`` (positive or not), ``multiclass`` (one of several classes) or ``regression`` (a
    number)."""
    label: LabelConfig
    """The column to predict."""
    sensitive: tuple[SensitiveConfig, ...] = Field(default=(), json_schema_extra=_items_may_be_names)
    """Columns whose groups are audited. A plain column name is short for ``{column: NAME}``."""
    intersections: tuple[tuple[str, ...], ...] = ()
    """Combinations of sensitive attributes to audit as well, for example ``[[sex, race]]``."""
    exclude: tuple[str, ...] = ()
    """Columns that are neither feature nor slice; they are dropped when the data is read."""
    file_column: Slug | None = None
    """Name of a column to add: the name of the file that a row is from, without its suffix. Never a feature. Where each
    file is one client's, the clients of federated training are its values."""
    privacy_unit: Literal["row"] | PrivacyUnitColumn = "row"
    """What one protected unit is: ``row`` states that each row is another person; ``{column: person_id}`` keeps the
    rows of one person in one split and never feeds the column to the model."""
    split_at_random: bool = False
    """For a source for each split: whether chance alone divided the rows among them, and not time or place. Only then
    do attacks on the rows of the data bound epsilon; a split by hash buckets is by chance."""
    split: dict[Literal["train", "eval", "test"], int] = Field(
        default={"train": 6, "eval": 2, "test": 2}, validate_default=False
    )
    """Hash buckets per split. Which bucket a row falls into depends on its content alone."""
    favourable_outcome: Literal["positive", "negative"] = "positive"
    """Which prediction benefits a person; for a regression, whether a higher (``positive``) or a lower one does. The
    classes of a multi-class label that do so are named under ``label.favourable``."""
    missing_values: tuple[str, ...] = ("",)
    """Texts that mean "missing" in CSV files."""
    budget_id: Slug | None = None
    """Name under which the privacy spent on this data adds up, for data that grow; absent: the digest of their rows."""
    licence: str | None = None
    """Licence of the data, for the card."""
    citation: str | None = None
    """Whom to credit for the data, for the card."""
    caveats: tuple[str, ...] = ()
    """What a reader must know about the data: how it was collected, who is absent from it."""

    @field_validator("sensitive", mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if isinstance(value, (list, tuple)):
            return [{"column": item} if isinstance(item, str) else item for item in value]
        return value

    @model_validator(mode="after")
    def _roles_agree(self) -> DataConfig:
        attributes = [entry.attribute for entry in self.sensitive]
        refuse_repeats("sensitive", attributes)
        refuse_repeats("exclude", self.exclude)
        for combination in self.intersections:
            unknown = [name for name in combination if name not in attributes]
            if unknown:
                raise ValueError(
                    f"intersections name {', '.join(unknown)}, which sensitive does not declare"
                    f"{did_you_mean(unknown[0], attributes)}"
                )
            if len(set(combination)) < 2:
                raise ValueError("an intersection needs two different sensitive attributes")
        taken = {"label": self.label.column}
        if isinstance(self.privacy_unit, PrivacyUnitColumn):
            taken["privacy_unit"] = self.privacy_unit.column
        for role, column in taken.items():
            if column in self.exclude:
                raise ValueError(f"{role} column {column!r} is also in exclude")
            if any(entry.column == column for entry in self.sensitive):
                raise ValueError(f"{role} column {column!r} is also declared sensitive")
        both = [entry.column for entry in self.sensitive if entry.column in self.exclude]
        if both:
            raise ValueError(f"{both[0]!r} is both sensitive and excluded; an excluded column cannot be audited")
        if len(set(taken.values())) < len(taken):
            raise ValueError("label and privacy_unit name the same column")
        return self

    @model_validator(mode="after")
    def _label_fits_the_task(self) -> DataConfig:
        label = self.label
        if self.task != "binary" and label.positive is not None:
            instead = "name its classes under classes" if self.task == "multiclass" else "its label is a number"
            raise ValueError(f"label.positive goes with task binary; for task {self.task} remove it, {instead}")
        if self.task != "multiclass" and (label.classes is not None or label.favourable):
            raise ValueError(f"label.classes and label.favourable go with task multiclass, not {self.task}")
        if self.task == "multiclass" and self.favourable_outcome == "negative":
            raise ValueError(
                "favourable_outcome goes with tasks binary and regression; name the classes that benefit a person "
                "under label.favourable"
            )
        return self

    @model_validator(mode="after")
    def _split_is_usable(self) -> DataConfig:
        if isinstance(self.source, dict):
            absent = [name for name in ("train", "test") if name not in self.source]
            if absent:
                raise ValueError(f"source has no entry for {', '.join(absent)}")
            return self
        missing = [name for name in SPLITS if self.split.get(name, 0) < 1]
        if missing:
            raise ValueError(f"split needs at least one hash bucket for {', '.join(missing)}")
        return self
