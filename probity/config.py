"""``RunConfig``: what was asked, as a frozen value that cannot hold a wrong combination.

The YAML form is the contract with the user (``docs/reference/config.md`` is generated from these classes). Settings of
a trainer belong to the trainer: they stay an open mapping here and are parsed by the chosen trainer's own class
before anything runs.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from probity.errors import ConfigError
from probity.metric import METRICS, MetricKind
from probity.record import Number, Record, Slug

__all__ = [
    "SPLITS",
    "Approval",
    "AuditsConfig",
    "CardConfig",
    "DataConfig",
    "GateConfig",
    "LabelConfig",
    "ModelConfig",
    "PrivacyUnitColumn",
    "Rule",
    "RunConfig",
    "SensitiveConfig",
    "ServingConfig",
    "TrackingConfig",
    "TrainerConfig",
    "TransformConfig",
    "load_config",
    "parse_config",
    "parse_settings",
]

SPLITS: tuple[Literal["train", "eval", "test"], ...] = ("train", "eval", "test")
"""The three splits and their three jobs: fit, choose (early stopping), and - untouched until then - audit."""


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" - did you mean {close[0]!r}?" if close else ""


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
    positive: str | int | float | bool = 1
    """The label value that counts as positive; every other value is negative."""


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
    such source for each of train, eval and test, which keeps an existing split."""
    label: LabelConfig
    """The column to predict."""
    sensitive: tuple[SensitiveConfig, ...] = ()
    """Columns whose groups are audited. A plain column name is short for ``{column: NAME}``."""
    intersections: tuple[tuple[str, ...], ...] = ()
    """Combinations of sensitive attributes to audit as well, for example ``[[sex, race]]``."""
    exclude: tuple[str, ...] = ()
    """Columns that are neither feature nor slice; they are dropped when the data is read."""
    privacy_unit: Literal["row"] | PrivacyUnitColumn = "row"
    """What one protected unit is: ``row`` states that each row is another person; ``{column: person_id}`` keeps the
    rows of one person in one split and never feeds the column to the model."""
    split: dict[Literal["train", "eval", "test"], int] = Field(
        default={"train": 6, "eval": 2, "test": 2}, validate_default=False
    )
    """Hash buckets per split. Which bucket a row falls into depends on its content alone."""
    favourable_outcome: Literal["positive", "negative"] = "positive"
    """Which prediction benefits a person."""
    missing_values: tuple[str, ...] = ("",)
    """Texts that mean "missing" in CSV files."""
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
                    f"{_did_you_mean(unknown[0], attributes)}"
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
    def _split_is_usable(self) -> DataConfig:
        if isinstance(self.source, dict):
            missing = [name for name in SPLITS if name not in self.source]
            if missing:
                raise ValueError(f"source has no entry for {', '.join(missing)}")
            return self
        missing = [name for name in SPLITS if self.split.get(name, 0) < 1]
        if missing:
            raise ValueError(f"split needs at least one hash bucket for {', '.join(missing)}")
        return self


class TransformConfig(Record):
    """How raw columns become model inputs. Everything here is in the exported graph, so serving does the same."""

    numeric: Literal["bucketize", "z_score", "min_max"] = "bucketize"
    """Numeric columns: one-hot of quantile buckets, z-score, or scaling to [0, 1]."""
    num_buckets: int = Field(default=32, ge=2, le=1000)
    """Number of quantile buckets for ``bucketize``."""
    max_vocabulary: int = Field(default=1000, ge=1)
    """Most frequent values kept per categorical column when the schema gives no domain; others count as unknown."""
    module: str | None = None
    """A Python file beside the config with ``preprocessing_fn(inputs)`` that replaces the built-in transform."""


class ModelConfig(Record):
    """The architecture: built in (``kind``), or a function of the user's (``module``)."""

    kind: Literal["mlp", "logistic"] | None = None
    """A built-in architecture: a multi-layer perceptron, or logistic regression."""
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


class AuditsConfig(Record):
    """What is measured on the test split."""

    decision_threshold: float = Field(default=0.5, ge=0.0, lt=1.0)
    """A row is predicted positive when its score is greater than this."""
    thresholds: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Further thresholds at which every rate is reported per group."""
    min_group_size: int = Field(default=100, ge=2)
    """Groups with fewer test rows give no verdict, and their numbers are left out of the public card."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Confidence level of every interval."""
    explained_rows: int = Field(default=1000, ge=10)
    """Number of test rows explained with SHAP."""
    background_rows: int = Field(default=200, ge=10)
    """Number of training rows that form the SHAP baseline."""

    @model_validator(mode="after")
    def _thresholds_are_probabilities(self) -> AuditsConfig:
        if any(not 0.0 <= value < 1.0 for value in self.thresholds):
            raise ValueError("thresholds must be in [0, 1)")
        return self

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        """Every threshold to report, the decision threshold included, ascending."""
        return tuple(sorted({*self.thresholds, self.decision_threshold}))


class Rule(Record):
    """One condition of the gate on one metric.

    ``at_least`` and ``at_most`` bound the metric itself, on the whole test split or on ``slice``;
    ``change_from_baseline_at_least`` bounds candidate minus the latest released model on the same rows;
    ``gap_at_most`` (largest minus smallest group) and ``ratio_at_least`` (smallest over largest) compare the groups
    of ``across``. A list in ``across`` is one intersection: ``[sex, race]`` compares sex x race groups.
    """

    name: str = Field(min_length=1)
    """Name of the rule in the decision and the card."""
    metric: str
    """A gateable term of the vocabulary of metrics."""
    slice: dict[str, str] = Field(default={})
    """Rows that the rule speaks of: sensitive attribute to group, for example ``{sex: Female}``; empty: all rows."""
    across: tuple[str, ...] = ()
    """Sensitive attribute, or list of them for an intersection, whose groups are compared."""
    threshold: float | None = Field(default=None, ge=0.0, lt=1.0)
    """Decision threshold of a rate; ``audits.decision_threshold`` when absent."""
    at_least: Number | None = None
    """Lower bound on the metric."""
    at_most: Number | None = None
    """Upper bound on the metric."""
    change_from_baseline_at_least: Number | None = None
    """Lower bound on candidate minus latest released model, both on the candidate's test rows."""
    gap_at_most: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Upper bound on the largest minus the smallest group."""
    ratio_at_least: float | None = Field(default=None, gt=0.0, le=1.0)
    """Lower bound on the smallest over the largest group; 0.8 is the four-fifths rule."""

    @field_validator("across", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        gateable = [name for name, entry in METRICS.items() if entry.gateable]
        if value not in gateable:
            raise ValueError(f"unknown metric {value!r}{_did_you_mean(value, gateable)}; known: {', '.join(gateable)}")
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
        if self.threshold is not None and METRICS[self.metric].kind is not MetricKind.RATE:
            raise ValueError(f"threshold goes with rates only, and {self.metric} is none")
        return self

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions given."""
        names = ("at_least", "at_most", "change_from_baseline_at_least", "gap_at_most", "ratio_at_least")
        return [name for name in names if getattr(self, name) is not None]


class Approval(Record):
    """Whether a person must sign before a release."""

    required: Literal["always", "on_insufficient_evidence", "never"] = "never"
    """When a person must sign."""


class GateConfig(Record):
    """The release policy. A config without rules is legal and always held: absent policy fails closed."""

    rules: tuple[Rule, ...] = ()
    """Every rule must pass."""
    approval: Approval = Approval()
    """Whether a person must sign as well."""

    @model_validator(mode="after")
    def _names_differ(self) -> GateConfig:
        _refuse_repeats("rules", [rule.name for rule in self.rules])
        return self


class ServingConfig(Record):
    """Where a released model goes."""

    model_name: Slug
    """Name under which TensorFlow Serving offers the model; part of its path."""
    base_path: str = "serving"
    """Folder of TensorFlow Serving's layout, relative to the config file."""


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
    fairness_definition: str | None = None
    """Why these fairness metrics and these tolerances were chosen."""
    licence: str | None = None
    """Licence of the model."""


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
    tracking: TrackingConfig = TrackingConfig()
    """Where MLflow records the run."""
    card: CardConfig = CardConfig()
    """What only the owner of the model can say."""

    @model_validator(mode="after")
    def _gate_names_what_is_audited(self) -> RunConfig:
        attributes = [entry.attribute for entry in self.data.sensitive]
        audited = [{name} for name in attributes] + [set(names) for names in self.data.intersections]
        for rule in self.gate.rules:
            named = tuple(rule.slice) or rule.across
            for name in named:
                if name not in attributes:
                    raise ValueError(
                        f"gate rule {rule.name!r} names {name!r}, which data.sensitive does not declare"
                        f"{_did_you_mean(name, attributes)}"
                    )
            if named and set(named) not in audited:
                raise ValueError(
                    f"gate rule {rule.name!r} needs the intersection {list(named)}; add it to data.intersections"
                )
            if rule.threshold is not None and rule.threshold not in self.audits.all_thresholds:
                raise ValueError(f"gate rule {rule.name!r} needs threshold {rule.threshold} in audits.thresholds")
        return self


_Settings = TypeVar("_Settings", bound=BaseModel)


def load_config(path: Path, *, overrides: Iterable[str] = ()) -> RunConfig:
    """Reads a YAML config.

    A file may say ``extends: OTHER.yaml`` (relative to itself): mappings are merged, everything else is replaced, and
    relative paths of both start at the folder of the file that was asked for.

    Args:
        path: The file.
        overrides: ``a.b=c`` assignments, applied before validation; ``c`` is read as YAML.

    Raises:
        ConfigError: If the file cannot be read, is not a mapping, or does not describe a run that can be built.
    """
    value = _read_mapping(path, seen=())
    for assignment in overrides:
        _assign(value, assignment)
    return parse_config(value, origin=path.name)


def parse_config(value: Mapping[str, Any], *, origin: str = "config") -> RunConfig:
    """Parses an already loaded mapping.

    Raises:
        ConfigError: Names the first offending key, what is allowed there and, for a misspelt key, the likely one.
    """
    return parse_settings(RunConfig, value, origin=origin)


def parse_settings(kind: type[_Settings], value: object, *, origin: str) -> _Settings:
    """Parses any settings class with the errors of :func:`parse_config`; trainers use it for their own settings."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _config_error(error, kind, origin=origin) from error


class _StrictLoader(yaml.SafeLoader):
    """YAML lets the second of two equal keys win in silence; a second ``rules`` would disarm the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, "a key appears twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a subclass of SafeLoader


def _read_mapping(path: Path, *, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Reads a YAML mapping and what it extends; a chain of files that comes back to itself is refused."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(path),
            seen="no readable UTF-8 file" if not path.is_dir() else "a folder",
            allowed="a YAML file",
            remedy="check the path, or scaffold a project with: probity init",
        ) from error
    try:
        value = _read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2024-13-45 is a ValueError
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            str(path),
            seen=f"invalid YAML{where}",
            allowed="a YAML mapping",
            remedy="mend it there; a key may appear only once",
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(
            str(path),
            seen=f"a YAML {_yaml_kind(value)}",
            allowed="a YAML mapping with keys such as name, data and model",
            remedy="start from the file that probity init writes",
        )
    base = value.pop("extends", None)
    if base is None:
        return value
    source = path.parent / str(base)
    if source.resolve() in (*seen, path.resolve()):
        raise ConfigError(
            f"{path.name}: extends",
            seen="files that extend one another in a circle",
            allowed="a chain with an end",
            remedy="remove one of the extends keys",
        )
    return _merged(_read_mapping(source, seen=(*seen, path.resolve())), value)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Returns ``base`` with the values of ``over``: mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _assign(value: dict[str, Any], assignment: str) -> None:
    key, separator, text = assignment.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise ConfigError(
            "--set", seen=f"{assignment!r}", allowed="KEY.SUBKEY=VALUE", remedy="for example --set trainer.epochs=3"
        )
    try:
        parsed = _read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"--set {key}", seen="a value that is not YAML", allowed="a YAML value", remedy="quote it"
        ) from error
    target = value
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise ConfigError(
                f"--set {key}",
                seen=f"{part!r} is a {_yaml_kind(target)}",
                allowed="a path through mappings",
                remedy="set the whole value in the file instead",
            )
    target[parts[-1]] = parsed


def _config_error(error: ValidationError, kind: type[BaseModel], *, origin: str) -> ConfigError:
    details = error.errors(include_url=False)
    # An unknown key explains missing ones beside it, so it is reported first.
    first = next((entry for entry in details if entry["type"] == "extra_forbidden"), details[0])
    location = [part for part in first["loc"] if not (isinstance(part, str) and part in _UNION_TAGS)]
    path = ".".join(str(part) for part in location) or "the whole file"
    more = f" ({len(details) - 1} more problem{'s' if len(details) > 2 else ''} after this one)" if details[1:] else ""
    argument = f"{origin}: {path}"
    if first["type"] == "extra_forbidden":
        known = _known_keys(kind, location[:-1])
        key = str(location[-1])
        return ConfigError(
            argument,
            seen=f"unknown key {key!r}{_did_you_mean(key, known)}{more}",
            allowed=", ".join(known) or "no further keys",
            remedy="correct or remove the key",
        )
    if first["type"] == "missing":
        return ConfigError(
            argument, seen=f"missing{more}", allowed="a value for this key", remedy="add it; see probity schema config"
        )
    message = str(first["msg"]).removeprefix("Value error, ")
    seen = first["input"]
    shown = f"{seen!r}" if isinstance(seen, (str, int, float, bool)) else f"a {_yaml_kind(seen)}"
    return ConfigError(argument, seen=f"{shown}{more}", allowed=message, remedy="change it in the config or with --set")


# Names that pydantic inserts into an error's location for the branches of a union; they are no keys of the file.
_UNION_TAGS = frozenset(
    {
        "[key]",
        "str",
        "int",
        "float",
        "bool",
        "PrivacyUnitColumn",
        "literal['row']",
        "dict[literal['train','eval','test'],str]",
    }
)


def _known_keys(kind: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    """Returns the keys that are allowed at ``location``, found by walking the annotations."""
    current: type[BaseModel] | None = kind
    for part in location:
        if current is None or isinstance(part, int):
            continue
        fields = {field.alias or name: field.annotation for name, field in current.model_fields.items()}
        current = _model_in(fields.get(part))
    return [field.alias or name for name, field in current.model_fields.items()] if current else []


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (tuple, typing.Union, types.UnionType):
        found = (_model_in(argument) for argument in typing.get_args(annotation))
        return next((entry for entry in found if entry is not None), None)
    return None


def _yaml_kind(value: object) -> str:
    kinds = {dict: "mapping", list: "list", tuple: "list", str: "text", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null" if value is None else type(value).__name__)
