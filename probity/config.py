"""``RunConfig``: what was asked, as a frozen value that cannot hold a wrong combination.

The YAML form is the contract with the user (``docs/reference/config.md`` is generated from these classes). Settings of
a trainer belong to the trainer: they stay an open mapping here and are parsed by the chosen trainer's own class
before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from probity.alerts import AlertConfig
from probity.metric import METRICS, Direction, MetricKind
from probity.monitoring import MonitoringConfig, Retraining
from probity.owner import Contact, RegistryFacts, RiskAnswers
from probity.record import Number, Record, Slug
from probity.release_policy import Approval, SigningConfig
from probity.serving_policy import InfraValidationConfig
from probity.suggestion import did_you_mean
from probity.task import Task

__all__ = [
    "SPLITS",
    "AuditsConfig",
    "BudgetConfig",
    "CanariesConfig",
    "CardConfig",
    "DataConfig",
    "GateConfig",
    "JudgedBy",
    "LabelConfig",
    "ModelConfig",
    "PrivacyUnitColumn",
    "PrivateStatisticsConfig",
    "Rule",
    "RunConfig",
    "SensitiveConfig",
    "ServingConfig",
    "Severity",
    "TrackingConfig",
    "TrainerConfig",
    "TransformConfig",
]

SPLITS: tuple[Literal["train", "eval", "test"], ...] = ("train", "eval", "test")
"""The three splits and their three jobs: fit, choose (early stopping), and - untouched until then - audit."""


def _items_may_be_names(schema: dict[str, Any]) -> None:
    """Tells editors of the short form: a name in place of a mapping."""
    schema["items"] = {"anyOf": [schema["items"], {"type": "string"}]}


def _may_be_one_name(schema: dict[str, Any]) -> None:
    """Tells editors of the short form: one name in place of a list."""
    listed = {key: schema.pop(key) for key in ("type", "items")}
    schema["anyOf"] = [listed, {"type": "string"}]


def _may_be_a_file(schema: dict[str, Any]) -> None:
    """Tells editors of the other form: the name of a file that holds the mapping."""
    schema["anyOf"] = [{"$ref": schema.pop("$ref")}, {"type": "string"}]


def _refuse_repeats(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} names {name!r} twice")
        seen.add(name)


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
        _refuse_repeats("classes", self.classes or ())
        _refuse_repeats("favourable", self.favourable)
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
        _refuse_repeats("sensitive", attributes)
        _refuse_repeats("exclude", self.exclude)
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


class PrivateStatisticsConfig(Record):
    """What may be spent on differentially private statistics for constants that no public fact states."""

    epsilon: float = Field(gt=0.0, allow_inf_nan=False)
    """Epsilon of all statistics together; it is part of the privacy statement and of a ``target_epsilon``."""
    delta: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Delta of the vocabularies; a tenth of the largest power of ten below one over the number of units when absent."""


class TransformConfig(Record):
    """How raw columns become model inputs. Everything here is in the exported graph, so serving does the same."""

    numeric: Literal["bucketize", "z_score", "min_max"] = "bucketize"
    """Numeric columns: one-hot of quantile buckets, z-score, or scaling to [0, 1]."""
    num_buckets: int = Field(default=32, ge=2, le=1000)
    """Number of quantile buckets for ``bucketize``."""
    max_vocabulary: int = Field(default=1000, ge=1)
    """Most frequent values kept per categorical column when the schema gives no domain; others count as unknown."""
    boundaries: dict[str, tuple[float, ...]] = Field(default={})
    """Bucket boundaries by numeric column, ascending: public facts, used instead of quantiles of the training rows."""
    private_statistics: PrivateStatisticsConfig | None = None
    """For trainers that are private: compute constants that no public fact states with noise, and charge for them."""
    module: str | None = None
    """A Python file beside the config with ``preprocessing_fn(inputs)`` that replaces the built-in transform."""

    @field_validator("boundaries")
    @classmethod
    def _ascending(cls, boundaries: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for column, edges in boundaries.items():
            if not edges or list(edges) != sorted(set(edges)) or not all(map(math.isfinite, edges)):
                raise ValueError(f"boundaries of {column!r} must be at least one, finite, ascending and different")
        return boundaries


class ModelConfig(Record):
    """The architecture: built in (``kind``), or a function of the user's (``module``)."""

    kind: Literal["mlp", "logistic", "linear"] | None = None
    """A built-in architecture: a multi-layer perceptron, logistic regression (for classes), or linear regression (for
    ``task: regression``)."""
    hidden: tuple[int, ...] = ()
    """Units of the hidden layers of ``mlp``."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout rate after each hidden layer."""
    module: str | None = None
    """A Python file beside the config with ``build_model(inputs)``."""

    @model_validator(mode="after")
    def _one_architecture(self) -> ModelConfig:
        if (self.kind is None) == (self.module is None):
            raise ValueError("give exactly one of kind and module")
        if self.kind == "mlp" and not self.hidden:
            raise ValueError("kind mlp needs hidden, for example [128, 64]")
        if self.kind != "mlp" and (self.hidden or self.dropout):
            raise ValueError("hidden and dropout belong to kind mlp")
        if any(units < 1 for units in self.hidden):
            raise ValueError("hidden layers need at least one unit")
        return self


class TrainerConfig(BaseModel):
    """Name of a trainer and, beside it, that trainer's own settings."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    name: Slug = "plain"
    """An entry point of the group ``probity.trainers``: ``plain``, or that of an installed plug-in."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as written, without the name."""
        return dict(self.model_extra or {})


class CanariesConfig(Record):
    """Canaries to plant in the training, each by a fair coin, so that what the model kept of them can be measured."""

    count: int = Field(default=0, ge=0, le=1_000_000)
    """Row canaries: rows drawn from the schema, with a random label. Half of them take part in training."""
    gradients: int = Field(default=0, ge=0, le=1_000_000)
    """Gradient canaries, for trainers that clip and add noise: rows that push in a direction of their own, and the
    model in no other. Half of them take part in training. About 10,000 show most mistakes of an implementation."""

    @field_validator("count", "gradients")
    @classmethod
    def _none_or_enough(cls, number: int) -> int:
        if 0 < number < 100:
            raise ValueError("0, or at least 100: fewer canaries cannot show anything")
        return number


class AuditsConfig(Record):
    """What is measured on the test split, and by attacks on the model."""

    decision_threshold: float = Field(default=0.5, ge=0.0, lt=1.0)
    """A row is predicted positive when its score is greater than this."""
    thresholds: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Further thresholds at which every rate is reported per group."""
    min_group_size: int = Field(default=100, ge=2)
    """Groups with fewer test rows give no verdict, and their numbers are left out of the public card."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Confidence level of every interval."""
    explained_rows: int | None = Field(default=None, ge=10)
    """Number of test rows explained with Shapley values; absent: all that the method can afford in about half a minute,
    which is all of them for a model whose explanation has a closed form."""
    background_rows: int = Field(default=200, ge=10)
    """Number of rows that explanations are relative to. They are training rows; for a private model they are drawn from
    the public schema, or are test rows."""
    inspected_rows: int = Field(default=1000, ge=50, le=5000)
    """Number of test rows that are asked about one by one: flips, nearest counterfactuals, partial dependence."""
    attacked_rows: int = Field(default=20_000, ge=200)
    """Largest number of rows that membership inference is tried on, about half of them from the training split."""
    canaries: CanariesConfig | None = None
    """Canaries to plant; absent: none."""
    shadow_models: int = Field(default=0, ge=0, le=1000)
    """Trainings like the model's on halves of the data, for the likelihood-ratio attack: the strongest one, and as slow
    as so many trainings. 0: it is not run. At least 8; 64 or more are usual in the literature."""
    edge_cases: str | None = Field(default=None, min_length=1, exclude_if=lambda path: path is None)
    """CSV or Parquet file, relative to the config file, of rows that were chosen by hand: the feature columns, the
    label column with the outcome that must come out, and if you like ``why``. The trained model is asked about each;
    absent: there is no such audit."""

    @model_validator(mode="after")
    def _thresholds_are_probabilities(self) -> AuditsConfig:
        if any(not 0.0 <= value < 1.0 for value in self.thresholds):
            raise ValueError("thresholds must be in [0, 1)")
        return self

    @model_validator(mode="after")
    def _enough_shadow_models(self) -> AuditsConfig:
        if 0 < self.shadow_models < 8:
            raise ValueError("shadow_models must be 0 or at least 8: a mean over fewer models says little")
        return self

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        """Every threshold to report, the decision threshold included, ascending."""
        return tuple(sorted({*self.thresholds, self.decision_threshold}))


_CHANGES = (
    "change_from_baseline_at_least",
    "change_from_baseline_at_most",
    "change_from_unmitigated_at_least",
    "change_from_unmitigated_at_most",
)


Severity = Literal["block", "warn"]
"""Whether a rule that is not kept holds the release."""


class Rule(Record):
    """One condition of the gate on one metric.

    ``at_least`` and ``at_most`` bound the metric itself, on the whole test split or on ``slice``;
    ``change_from_baseline_at_least`` and ``…_at_most`` bound candidate minus latest released model on the same rows;
    ``change_from_unmitigated_at_least`` bounds candidate minus the same training without its mitigation, likewise;
    ``gap_at_most`` (largest minus smallest group) and ``ratio_at_least`` (smallest over largest) compare the groups
    of ``across``. A list in ``across`` is one intersection: ``[sex, race]`` compares sex x race groups.
    """

    name: str = Field(min_length=1)
    """Name of the rule in the decision and the card."""
    metric: str
    """A gateable term of the vocabulary of metrics."""
    slice: dict[str, str] = Field(default={})
    """Rows that the rule speaks of: sensitive attribute to group, for example ``{sex: Female}``; empty: all rows."""
    across: tuple[str, ...] = Field(default=(), json_schema_extra=_may_be_one_name)
    """Sensitive attribute, or list of them for an intersection, whose groups are compared."""
    threshold: float | None = Field(default=None, ge=0.0, lt=1.0)
    """Decision threshold of a rate; ``audits.decision_threshold`` when absent."""
    label_class: str | None = None
    """For ``task: multiclass``: the class whose rate, against all others, the rule speaks of."""
    at_least: Number | None = None
    """Lower bound on the metric."""
    at_most: Number | None = None
    """Upper bound on the metric."""
    change_from_baseline_at_least: Number | None = None
    """Lower bound on candidate minus latest released model, both on the candidate's test rows."""
    change_from_baseline_at_most: Number | None = None
    """The same as an upper bound, for metrics of which less is better, such as an error."""
    change_from_unmitigated_at_least: Number | None = None
    """Lower bound on the model with its mitigation minus the one without, both on the candidate's test rows; ``slice``
    names the group that must not get worse."""
    change_from_unmitigated_at_most: Number | None = None
    """The same as an upper bound, for metrics of which less is better."""
    gap_at_most: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Upper bound on the largest minus the smallest group."""
    ratio_at_least: float | None = Field(default=None, gt=0.0, le=1.0)
    """Lower bound on the smallest over the largest group; 0.8 is the four-fifths rule."""
    severity: Severity = Field(default="block", exclude_if=lambda severity: severity == "block")
    """``block``: a rule that is not kept holds the release. ``warn``: it is reported and holds nothing."""

    @field_validator("across", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        gateable = [name for name, entry in METRICS.items() if entry.gateable]
        if value not in gateable:
            raise ValueError(f"unknown metric {value!r}{did_you_mean(value, gateable)}; known: {', '.join(gateable)}")
        return value

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        given = self.conditions
        if len(given) != 1:
            raise ValueError(
                f"a rule has exactly one condition, this one has {len(given)}: {', '.join(given) or 'none'}"
            )
        if (given[0] in ("gap_at_most", "ratio_at_least")) != bool(self.across):
            raise ValueError("across goes with gap_at_most or ratio_at_least, and they need it")
        if self.across and self.slice:
            raise ValueError("give across or slice, not both")
        kind = METRICS[self.metric].kind
        if kind is MetricKind.DATA and (given[0] not in ("at_least", "at_most") or not self.slice):
            raise ValueError(f"{self.metric} speaks of the data: give a slice, and at_least or at_most")
        if kind is MetricKind.SERVING and (given[0] != "at_most" or self.slice):
            raise ValueError(f"{self.metric} speaks of the model in a server: give at_most, and no slice")
        if kind is MetricKind.EDGE_CASES and (given[0] not in ("at_least", "at_most") or self.slice):
            raise ValueError(f"{self.metric} speaks of a fixed list: give at_least or at_most, and no slice")
        wrong = {"_at_least": Direction.LOWER_IS_BETTER, "_at_most": Direction.HIGHER_IS_BETTER}
        if given[0] in _CHANGES and any(
            given[0].endswith(end) and METRICS[self.metric].direction is way for end, way in wrong.items()
        ):
            end = "_at_most" if given[0].endswith("_at_least") else "_at_least"
            better = "less" if end == "_at_most" else "more"
            raise ValueError(
                f"{better} {self.metric} is better, so this bound would let a worse model through; use "
                f"{given[0].removesuffix('_at_least').removesuffix('_at_most')}{end}"
            )
        if self.threshold is not None and kind is not MetricKind.RATE:
            raise ValueError(f"threshold goes with rates only, and {self.metric} is none")
        return self

    def require_reported(self, task: Task) -> None:
        """Refuses a rule about a number that no audit reports for this task.

        Raises:
            ValueError: Says what does not go together.
        """
        entry, rule = METRICS[self.metric], f"gate rule {self.name!r}"
        if task not in entry.tasks:
            known = ", ".join(name for name, other in METRICS.items() if other.gateable and task in other.tasks)
            raise ValueError(f"{rule}: {self.metric} is not reported for task {task}; reported: {known}")
        if self.threshold is not None and task != "binary":
            raise ValueError(f"{rule}: threshold goes with task binary, and this is task {task}")
        if (self.label_class is not None) != (task == "multiclass" and entry.per_class):
            needs = "needs label_class, the class it speaks of" if self.label_class is None else "has no label_class"
            raise ValueError(f"{rule}: {self.metric} {needs}, for task {task}")
        if self.ratio_at_least is not None and entry.signed:
            raise ValueError(f"{rule}: {self.metric} can be negative, so it has no ratio; use gap_at_most")

    @property
    def is_statistical(self) -> bool:
        """Whether its metric is estimated from test rows; one on privacy, a count or a fixed list is not."""
        apart = (MetricKind.PRIVACY, MetricKind.COUNT, MetricKind.SERVING, MetricKind.EDGE_CASES)
        return METRICS[self.metric].kind not in apart

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions given."""
        names = ("at_least", "at_most", *_CHANGES, "gap_at_most", "ratio_at_least")
        return [name for name in names if getattr(self, name) is not None]


JudgedBy = Literal["interval", "joint_interval", "estimate"]
"""What of a finding must keep the bound of a rule."""


class GateConfig(Record):
    """The release policy. A config without rules is legal and always held: absent policy fails closed."""

    rules: tuple[Rule, ...] = ()
    """Every rule must pass."""
    judged_by: JudgedBy = "interval"
    """``interval``: a rule passes only if its whole interval keeps the bound. As every rule must pass, a model that
    breaks one is released with at most the error that one interval permits. ``joint_interval``: the same with wider
    intervals that hold all together. ``estimate``: the value alone decides, and chance with it."""
    approval: Approval = Approval()
    """Whether people must sign as well."""
    waivers: str = "waivers.jsonl"
    """File with signed waivers (``probity waive``), relative to the config file."""
    expires_after_days: dict[str, int] = Field(default={})
    """Audit to the number of days for which its report counts, for example ``{fairness: 365}``: after that nothing is
    released on it, and a version that rests on it no longer verifies, until the model is audited again."""
    uncovered_preprocessing: Literal["forbidden", "allowed"] = "forbidden"
    """Whether a model with a finite epsilon may be released although constants of its transform, or weights of its
    mitigation, were computed from private rows without noise, which its epsilon does not cover."""
    require_risk_answers: bool = Field(default=False, exclude_if=lambda required: not required)
    """Whether every question under ``card.risks`` must have an answer on the card before a model is released."""

    @property
    def joint_statements(self) -> int:
        """How many rules are judged by an interval; those on privacy and on counts are not."""
        return sum(rule.is_statistical for rule in self.rules)

    @field_validator("expires_after_days")
    @classmethod
    def _at_least_a_day(cls, days: dict[str, int]) -> dict[str, int]:
        if any(number < 1 for number in days.values()):
            raise ValueError("expires_after_days needs at least one day for each audit")
        return days

    @model_validator(mode="after")
    def _names_differ(self) -> GateConfig:
        _refuse_repeats("rules", [rule.name for rule in self.rules])
        return self


class BudgetConfig(Record):
    """The ledger in which the privacy spent on data sets adds up."""

    url: str | None = None
    """SQLAlchemy URL of a database that a team shares, without a password; a relative SQLite path starts in the
    workspace. Absent: a SQLite file there."""

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise ValueError("a config is recorded and shared: keep the password in PGPASSWORD or ~/.pgpass")
        return url


class ServingConfig(Record):
    """Where a released model goes."""

    model_name: Slug
    """Name under which TensorFlow Serving offers the model; part of its path."""
    base_path: str = "serving"
    """Folder of TensorFlow Serving's layout, relative to the config file."""
    infra_validation: InfraValidationConfig | None = InfraValidationConfig()
    """Serve the candidate in a clean process and ask it for real rows, before the gate decides; ``null`` does not."""


class TrackingConfig(Record):
    """MLflow."""

    uri: str | None = None
    """Tracking URI; absent: a SQLite file inside the workspace."""


class CardConfig(Record):
    """What only the owner of the model can say. What is not said is printed as "not assessed"."""

    owner: str | None = None
    """Who answers for the model."""
    contact: str | None = None
    """How to reach them."""
    intended_use: str | None = None
    """What the model is for, and for whom."""
    out_of_scope: str | None = None
    """What it must not be used for."""
    limitations: tuple[str, ...] = ()
    """Known limitations beside those that the audits found."""
    trade_offs: tuple[str, ...] = ()
    """What was given up for what."""
    ethical_considerations: tuple[str, ...] = ()
    """Who may be harmed, and how."""
    harm_reports: tuple[str, ...] = ()
    """Where people who are affected can say that a prediction is unjust to them, in their own words, who reads it, and
    what happens then. Groups on a form do not cover everybody."""
    fairness_definition: str | None = None
    """Why these fairness metrics and these tolerances were chosen."""
    licence: str | None = None
    """Licence of the model."""
    contacts: tuple[Contact, ...] = ()
    """Whom to turn to for what, beside ``contact``."""
    risks: RiskAnswers = RiskAnswers()
    """Answers to the questions on risk."""
    registry: RegistryFacts = RegistryFacts()
    """What a registry of differentially private deployments asks."""


class RunConfig(Record):
    """One run: data, architecture, trainer, audits, gate, serving."""

    schema_version: Literal[1] = 1
    """Version of this format."""
    name: Slug
    """Name of the project; part of every run id and the MLflow experiment."""
    seed: int = Field(default=7, ge=0, lt=2**31)
    """Seed of everything random: initial weights, batch order, resampling, the choice of explained rows."""
    data: DataConfig
    """Where the data is and what each column means."""
    schema_file: str | None = Field(default=None, alias="schema")
    """A curated schema (TFDV text format); public bounds and vocabularies live here."""
    transform: TransformConfig = TransformConfig()
    """How raw columns become model inputs."""
    model: ModelConfig
    """The architecture."""
    trainer: TrainerConfig = TrainerConfig()
    """The trainer and its settings."""
    audits: AuditsConfig = AuditsConfig()
    """What is measured on the test split."""
    gate: GateConfig = GateConfig()
    """The release policy."""
    serving: ServingConfig
    """Where a released model goes."""
    signing: SigningConfig = SigningConfig()
    """Whose key signs it."""
    tracking: TrackingConfig = TrackingConfig()
    """Where MLflow records the run."""
    budget: BudgetConfig = BudgetConfig()
    """Where the privacy spent on the data is added up."""
    card: CardConfig = Field(default=CardConfig(), json_schema_extra=_may_be_a_file)
    """What only the owner of the model can say. The config file may give the name of a YAML file with these keys
    instead, relative to itself."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """The limits within which a released model goes on serving without being asked about."""
    alerts: AlertConfig = Field(default=AlertConfig(), exclude_if=lambda alerts: alerts == AlertConfig())
    """Who is told of a run that failed or is held, and of a rollout that was taken back."""
    retraining: Retraining | None = None
    """Why the watch over an earlier model asks for this run; written by ``probity monitor``."""

    @model_validator(mode="after")
    def _gate_names_what_is_audited(self) -> RunConfig:
        attributes = [entry.attribute for entry in self.data.sensitive]
        audited = [{name} for name in attributes] + [set(names) for names in self.data.intersections]
        for rule in self.gate.rules:
            rule.require_reported(self.data.task)
            classes = self.data.label.classes
            if rule.label_class is not None and classes is not None and rule.label_class not in classes:
                raise ValueError(
                    f"gate rule {rule.name!r} names class {rule.label_class!r}, which data.label.classes does not"
                    f"{did_you_mean(rule.label_class, classes)}"
                )
            named = tuple(rule.slice) or rule.across
            for name in named:
                if name not in attributes:
                    raise ValueError(
                        f"gate rule {rule.name!r} names {name!r}, which data.sensitive does not declare"
                        f"{did_you_mean(name, attributes)}"
                    )
            if named and set(named) not in audited:
                raise ValueError(
                    f"gate rule {rule.name!r} needs the intersection {list(named)}; add it to data.intersections"
                )
            if rule.metric == "representation_ratio":
                shares = {entry.attribute: entry.reference or {} for entry in self.data.sensitive}
                without = [name for name, group in rule.slice.items() if group not in shares[name]]
                if without or len(rule.slice) > 1:
                    raise ValueError(
                        f"gate rule {rule.name!r} needs one group with a share in data.sensitive's reference"
                    )
            if METRICS[rule.metric].kind is MetricKind.EDGE_CASES and self.audits.edge_cases is None:
                raise ValueError(f"gate rule {rule.name!r} needs a list of cases; name it under audits.edge_cases")
            if rule.threshold is not None and rule.threshold not in self.audits.all_thresholds:
                raise ValueError(f"gate rule {rule.name!r} needs threshold {rule.threshold} in audits.thresholds")
        return self

    @model_validator(mode="after")
    def _architecture_fits_the_task(self) -> RunConfig:
        kind, numbers = self.model.kind, self.data.task == "regression"
        if kind is not None and (kind, numbers) in (("logistic", True), ("linear", False)):
            instead = "linear" if numbers else "logistic"
            raise ValueError(f"model.kind {kind} does not predict for task {self.data.task}; use kind {instead}")
        return self

    @model_validator(mode="after")
    def _cases_need_outcomes(self) -> RunConfig:
        if self.audits.edge_cases is not None and self.data.task == "regression":
            raise ValueError(
                "audits.edge_cases names outcomes that must come out, and a regression predicts a number; remove it"
            )
        return self

    @model_validator(mode="after")
    def _attacks_need_a_binary_label(self) -> RunConfig:
        if self.data.task == "binary":
            return self
        if self.audits.canaries is not None or self.audits.shadow_models:
            raise ValueError(
                f"audits.canaries and audits.shadow_models serve attacks on binary decisions, and this is task "
                f"{self.data.task}; remove them"
            )
        return self
