"""Statistics to ``Schema`` and ``Anomalies`` with TensorFlow Data Validation (SchemaGen, ExampleValidator).

A curated schema is the user's word: whatever departs from it stops the run. A schema inferred from the training split
is a description of one sample, so what another sample naturally does differently is a warning:

=============================================  ==================  ==============================================
what a split does                              curated schema      inferred schema
=============================================  ==================  ==============================================
a category that the schema does not list       error               warning (the transform maps it to "unknown")
a missing value where the schema wants one     error               warning up to 5 % of the rows, then error
labels in other proportions than in train      warning             warning
anything else that TFDV calls an error         error               error
=============================================  ==================  ==============================================

TFDV's own descriptions quote values of the data; they are replaced by counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from probity.data import Anomalies, Anomaly, ColumnKind, Dataset, FeatureSpec, Role, Schema, Statistics
from probity.data_source import SPLITS
from probity.digest import digest_file, require_digest
from probity.errors import ConfigError, SchemaViolationError
from probity.platform.anomaly_facts import MISSING, UNLISTED, SplitFacts, type_name
from probity.platform.profile import load_statistics
from probity.suggestion import did_you_mean

__all__ = ["make_schema", "read_schema", "require_valid", "reviewed_domain", "text_columns", "validate"]

TRAINING, SERVING = "TRAINING", "SERVING"
"""The schema environments: a request for a prediction carries neither the label nor columns that are only audited."""

INFERRED = "inferred from data: review"
"""Comment on every feature of an inferred schema. Whoever reviewed a feature removes it; until then its domain and
bounds are not taken for public facts, also in a file that is used as a curated schema."""

_TOLERATED_MISSING = 0.05
_LABEL_L_INFINITY = 0.05
"""Largest tolerated difference of a label value's share between train and another split."""
_LABEL_JENSEN_SHANNON = 0.002
"""The same for labels that are numbers, in bits: about five points at a base rate of a quarter."""

_KINDS = {"INT": ColumnKind.INT, "FLOAT": ColumnKind.FLOAT, "BYTES": ColumnKind.TEXT}


def text_columns(curated: Path) -> frozenset[str]:
    """Returns the columns that a curated schema declares as text (``BYTES``), for reading files without types.

    Raises:
        ConfigError: If the file is not a schema.
    """
    return frozenset(feature.name for feature in _parse(curated).feature if type_name(feature) == "BYTES")


def reviewed_domain(curated: Path, column: str) -> tuple[str, ...] | None:
    """Returns the texts that a curated schema allows in a column; ``None``: it does not say, or nobody reviewed it.

    Raises:
        ConfigError: If the file is not a schema.
    """
    spec = read_schema(curated, curated=True).feature(column)
    return spec.domain if spec is not None and spec.reviewed else None


def make_schema(statistics: Statistics, dataset: Dataset, *, folder: Path, curated: Path | None, out: Path) -> Schema:
    """Writes the schema in force: the curated one, or one inferred from the training split alone.

    Guarantees: neither eval nor test influences an inferred schema; domains, bounds and presence of a curated schema
    are kept as they are; each feature of an inferred schema is marked as such. Either way the file says that label,
    privacy unit and columns that are only audited are not there when serving, and knows no excluded column.

    Args:
        statistics: What :func:`probity.platform.profile.profile` returned.
        dataset: Columns and roles.
        folder: The folder of the statistics files.
        curated: The user's schema, TFDV text format.
        out: The file to write, TFDV text format.

    Raises:
        ConfigError: If the curated schema cannot be read or does not fit the columns of the data.
    """
    import tensorflow_data_validation as tfdv

    if curated is None:
        schema = tfdv.infer_schema(load_statistics(folder / statistics.splits["train"]))
        _forget_guesses(schema, dataset)
        for feature in schema.feature:
            feature.annotation.comment.append(INFERRED)
    else:
        schema = _parse(curated)
        _drop_excluded(schema, dataset)
        _require_columns(schema, dataset, curated)
    _set_environments(schema, dataset)
    tfdv.write_schema_text(schema, str(out))
    return read_schema(out, curated=curated is not None)


def read_schema(path: Path, *, curated: bool) -> Schema:
    """Reads a schema file into the noun that other stages use.

    Args:
        path: TFDV text format.
        curated: Whether the user gave it, so that its domains and bounds are public facts.

    Raises:
        ConfigError: If the file is not a schema.
    """
    schema = _parse(path)
    domains = {domain.name: tuple(domain.value) for domain in schema.string_domain}
    features = tuple(_feature_spec(feature, domains) for feature in schema.feature if type_name(feature) in _KINDS)
    return Schema(digest=digest_file(path), curated=curated, features=features)


def validate(statistics: Statistics, schema: Schema, dataset: Dataset, *, folder: Path, schema_path: Path) -> Anomalies:
    """Compares every split with the schema, and the labels of eval and test with those of train.

    Args:
        statistics: What :func:`probity.platform.profile.profile` returned.
        schema: What :func:`make_schema` returned.
        dataset: Columns and roles.
        folder: The folder of the statistics files.
        schema_path: The schema file.

    Returns:
        Anomalies by split and feature, with counts and without data values.

    Raises:
        DigestMismatchError: If the schema file is not the one that was recorded.
    """
    import tensorflow_data_validation as tfdv

    require_digest(schema_path.name, found=digest_file(schema_path), recorded=schema.digest)
    proto = _parse(schema_path)
    label_is_ours = _compare_labels(proto, dataset)
    loaded = {split: load_statistics(folder / path) for split, path in statistics.splits.items()}
    found: list[Anomaly] = []
    for split in SPLITS:
        result = tfdv.validate_statistics(
            loaded[split],
            proto,
            environment=TRAINING,
            previous_statistics=None if split == "train" else loaded["train"],
        )
        facts = SplitFacts(loaded[split], result, proto)
        for feature in sorted(result.anomaly_info):
            for reason, tfdv_severity in _reasons(result.anomaly_info[feature]):
                ours = label_is_ours and feature == dataset.label and reason.startswith("COMPARATOR_")
                found.append(
                    Anomaly(
                        split=split,
                        feature=feature,
                        severity="warning" if ours else _severity(reason, tfdv_severity, feature, facts, schema),
                        reason=reason,
                        description=facts.describe(feature, reason),
                    )
                )
    return Anomalies(schema_digest=schema.digest, anomalies=tuple(found))


def require_valid(anomalies: Anomalies) -> None:
    """Raises if the data contradicts the schema.

    Raises:
        SchemaViolationError: Names the first features, their reasons and counts.
    """
    errors = anomalies.errors
    if not errors:
        return
    shown = "; ".join(f"{entry.feature} in {entry.split}: {entry.reason} ({entry.description})" for entry in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    raise SchemaViolationError(
        ", ".join(dict.fromkeys(entry.feature for entry in errors[:3])),
        seen=f"{len(errors)} departure{'s' if len(errors) > 1 else ''} from the schema: {shown}{more}",
        allowed="data as the schema describes it",
        remedy="mend the data, or change the schema and name it under schema in the config; 05_anomalies.json has all",
    )


def _severity(
    reason: str, tfdv_severity: str, feature: str, facts: SplitFacts, schema: Schema
) -> Literal["error", "warning"]:
    if tfdv_severity != "ERROR":
        return "warning"
    if not schema.curated:
        if reason == UNLISTED:
            return "warning"
        if reason in MISSING and facts.missing_share(feature) <= _TOLERATED_MISSING:
            return "warning"
    return "error"


def _reasons(info: Any) -> list[tuple[str, str]]:
    severity = info.Severity.Name(info.severity)
    names = [info.Type.Name(reason.type) for reason in info.reason] or ["UNKNOWN_TYPE"]
    return [(name, severity) for name in dict.fromkeys(names)]


def _compare_labels(schema: Any, dataset: Dataset) -> bool:
    """Asks TFDV to compare label shares with train. Returns whether it was us who asked, not the curated schema."""
    label = next(feature for feature in schema.feature if feature.name == dataset.label)
    if label.HasField("drift_comparator"):
        return False
    if type_name(label) == "BYTES":
        label.drift_comparator.infinity_norm.threshold = _LABEL_L_INFINITY
    else:
        label.drift_comparator.jensen_shannon_divergence.threshold = _LABEL_JENSEN_SHANNON
    return True


def _parse(path: Path) -> Any:
    import tensorflow_data_validation as tfdv
    from google.protobuf.text_format import ParseError

    try:
        return tfdv.load_schema_text(str(path))
    except ParseError as error:
        where = f" at line {error.GetLine()}" if error.GetLine() else ""
        seen = f"not a schema: the text cannot be parsed{where}"
        raise _bad_schema(path, seen) from error
    except Exception as error:  # TensorFlow's file errors and decoding errors share no base but this one
        raise _bad_schema(path, f"a file that cannot be read ({type(error).__name__})") from error


def _bad_schema(path: Path, seen: str) -> ConfigError:
    return ConfigError(
        path.name,
        seen=seen,
        allowed="a schema in the text format of TensorFlow Metadata",
        remedy="start from the 05_schema.pbtxt of a run without a schema, and change that",
    )


def _require_columns(schema: Any, dataset: Dataset, path: Path) -> None:
    known = [column.name for column in dataset.columns]
    listed = [feature.name for feature in schema.feature]
    if len(set(listed)) < len(listed):
        raise _bad_schema(path, "one feature described twice")
    for feature in schema.feature:
        if feature.name not in known:
            raise ConfigError(
                f"{path.name}: feature {feature.name!r}",
                seen=f"the data has no such column{did_you_mean(feature.name, known)}",
                allowed=", ".join(known),
                remedy="correct or remove this feature, or mend the header of the data",
            )
        if type_name(feature) not in _KINDS:
            raise ConfigError(
                f"{path.name}: feature {feature.name!r}",
                seen=f"type {type_name(feature)}",
                allowed=", ".join(_KINDS),
                remedy="give the feature one of these types",
            )
    absent = [name for name in known if name not in listed]
    if absent:
        raise ConfigError(
            f"{path.name}",
            seen=f"no feature for {', '.join(absent)}" + (" (the label)" if dataset.label in absent else ""),
            allowed="a feature for every column that is not excluded",
            remedy="describe these columns in the schema, or add them to data.exclude",
        )


def _drop_excluded(schema: Any, dataset: Dataset) -> None:
    kept = [feature for feature in schema.feature if feature.name not in dataset.excluded]
    if len(kept) < len(schema.feature):
        copies = [type(feature).FromString(feature.SerializeToString()) for feature in kept]
        del schema.feature[:]
        schema.feature.extend(copies)


def _forget_guesses(schema: Any, dataset: Dataset) -> None:
    """Removes what TFDV read into one sample that another sample need not keep."""
    named = {feature.name: feature.domain for feature in schema.feature}
    for feature in schema.feature:
        # "All texts seen are numbers" or "only 0 and 1 seen" would stop a run at the first other value.
        if feature.WhichOneof("domain_info") in ("bool_domain", "int_domain", "float_domain"):
            feature.ClearField(feature.WhichOneof("domain_info"))
        # Each unit is in one split only, so a domain read from train would call every unit of the others unexpected.
        if feature.name == dataset.privacy_unit:
            feature.ClearField("domain")
    unit_domain = named.get(dataset.privacy_unit)
    if unit_domain:
        kept = [domain for domain in schema.string_domain if domain.name != unit_domain]
        copies = [type(domain).FromString(domain.SerializeToString()) for domain in kept]
        del schema.string_domain[:]
        schema.string_domain.extend(copies)


def _set_environments(schema: Any, dataset: Dataset) -> None:
    for environment in (TRAINING, SERVING):
        if environment not in schema.default_environment:
            schema.default_environment.append(environment)
    for feature in schema.feature:
        roles = dataset.column(feature.name).roles
        if Role.FEATURE not in roles and SERVING not in feature.not_in_environment:
            feature.not_in_environment.append(SERVING)


def _feature_spec(feature: Any, domains: Mapping[str, tuple[str, ...]]) -> FeatureSpec:
    domain = domains.get(feature.domain) if feature.domain else None
    if domain is None and feature.HasField("string_domain"):
        domain = tuple(feature.string_domain.value)
    bounds = feature.int_domain if feature.HasField("int_domain") else feature.float_domain
    return FeatureSpec(
        name=feature.name,
        kind=_KINDS[type_name(feature)],
        required=feature.presence.min_fraction >= 1.0,
        domain=domain,
        minimum=float(bounds.min) if bounds.HasField("min") else None,
        maximum=float(bounds.max) if bounds.HasField("max") else None,
        reviewed=INFERRED not in feature.annotation.comment,
    )
