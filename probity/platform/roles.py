"""What the config says each column is for, checked against the columns that are there.

The result is one typed fact that travels with the data: later stages read :class:`~probity.data.Dataset`, not the
config.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from probity.data import MISSING_GROUP, Column, ColumnKind, Role, SensitiveAttribute
from probity.data_source import DataConfig, PrivacyUnitColumn, SensitiveConfig
from probity.errors import ConfigError, DataError
from probity.groups import group_codes, group_names, value_texts
from probity.platform.columns import is_text
from probity.suggestion import did_you_mean

__all__ = ["column_roles", "positive_text", "require_columns", "sensitive_attribute", "unit_column"]

_MAX_NUMERIC_GROUPS = 20
_MAX_TEXT_GROUPS = 200


def require_columns(config: DataConfig, names: Collection[str]) -> None:
    """Refuses a config that names columns the data does not have, and columns that are no data.

    Raises:
        ConfigError: Names the column and, for a misspelt one, the likely one.
        DataError: If a column has no name or is a stored row index, and is not excluded.
    """
    asked = [
        ("data.label.column", config.label.column),
        *(("data.sensitive", entry.column) for entry in config.sensitive),
        *(("data.exclude", column) for column in config.exclude),
    ]
    if unit := unit_column(config):
        asked.append(("data.privacy_unit.column", unit))
    for argument, column in asked:
        if column not in names:
            raise ConfigError(
                argument,
                seen=f"the data has no column {column!r}{did_you_mean(column, names)}",
                allowed=f"one of its {len(names)} columns: {', '.join(names)}",
                remedy="correct the name in the config, or the header of the data",
            )
    for name in names:
        if (not name or name.startswith("__index_level_")) and name not in config.exclude:
            raise DataError(
                f"column {name!r}",
                seen="a column without a name" if not name else "a row index that was stored as a column",
                allowed="named columns of data",
                remedy="write the file without row numbers, or add this name to data.exclude",
            )


def column_roles(config: DataConfig, table: pa.Table) -> tuple[Column, ...]:
    """Returns kind and roles of every column of a typed table, in its order.

    Guarantees: label, privacy unit and names of files are never features; a sensitive column is one only if an entry
    says so.

    Raises:
        DataError: If no column is left as a feature.
    """
    hidden = {entry.column for entry in config.sensitive} - {
        entry.column for entry in config.sensitive if entry.also_feature
    }
    columns = []
    for name in table.column_names:
        roles = []
        if name not in {config.label.column, unit_column(config), config.file_column} | hidden:
            roles.append(Role.FEATURE)
        if name == config.label.column:
            roles.append(Role.LABEL)
        if any(entry.column == name for entry in config.sensitive):
            roles.append(Role.SENSITIVE)
        if name == unit_column(config):
            roles.append(Role.PRIVACY_UNIT)
        if name == config.file_column:
            roles.append(Role.FILE)
        columns.append(Column(name=name, kind=ColumnKind(str(_kind(table.column(name)))), roles=tuple(roles)))
    if not any(column.is_feature for column in columns):
        raise DataError(
            "data.source",
            seen=f"{len(columns)} columns, none of them a feature",
            allowed="at least one column that is neither label, privacy unit, excluded, nor sensitive only",
            remedy="exclude fewer columns, or set also_feature for a sensitive one",
        )
    return tuple(columns)


def sensitive_attribute(entry: SensitiveConfig, column: pa.ChunkedArray) -> SensitiveAttribute:
    """Returns the attribute with every group to report.

    Groups come in this order: bins, or the values found in any split, ascending; groups that only the config names; and
    last, if a row misses the value, :data:`~probity.data.MISSING_GROUP`.

    Raises:
        ConfigError: If bins do not fit the column, or it has too many different values to be groups.
    """
    argument = f"data.sensitive, column {entry.column}"
    if entry.bins is not None:
        _require_bins_fit(argument, entry, column)
        names: Iterable[str] = group_names(entry.bins)
    else:
        distinct = pc.unique(column).drop_null()
        most = _MAX_TEXT_GROUPS if is_text(column) else _MAX_NUMERIC_GROUPS
        if len(distinct) > most:
            raise ConfigError(
                argument,
                seen=f"{len(distinct)} different {'texts' if is_text(column) else 'numbers'}, each of them a group",
                allowed=f"at most {most} groups" + ("" if is_text(column) else ", or bin edges such as bins: [25, 40]"),
                remedy="merge values into broader groups" if is_text(column) else "add bins to this entry",
            )
        names = [text for text in value_texts(distinct.take(pc.sort_indices(distinct))) if text is not None]
    groups = tuple(dict.fromkeys([*names, *entry.groups, *(entry.reference or {})]))
    if column.null_count:
        groups = (*(group for group in groups if group != MISSING_GROUP), MISSING_GROUP)
    attribute = SensitiveAttribute(
        name=entry.attribute,
        column=entry.column,
        bins=entry.bins,
        groups=groups,
        also_feature=entry.also_feature,
        reference=entry.reference,
        reference_source=entry.reference_source,
    )
    group_codes(attribute, column)  # every row belongs to a recorded group, or this run ends here
    return attribute


def positive_text(config: DataConfig, label: pa.ChunkedArray) -> str:
    """Returns the positive label value as it reads in the label column: ``1`` for true, 1 or 1.0 among whole numbers.

    Raises:
        DataError: If no row has it.
    """
    positive = config.label.positive_value
    found = set(value_texts(pc.unique(label)))
    if is_text(label):
        wanted = [text for text in found if isinstance(positive, bool) and str(text).lower() == str(positive).lower()]
        text = wanted[0] if wanted else str(positive)
    else:
        try:
            text = value_texts(pa.array([float(positive)]))[0]
        except ValueError:
            text = None
    if text is None or text not in found:
        kind = "text" if is_text(label) else "whole numbers"
        raise DataError(
            "data.label.positive",
            seen=f"it occurs in none of {len(label)} rows; column {config.label.column} holds {kind} with {len(found)} "
            "different values",
            allowed=f"a value of column {config.label.column}",
            remedy="check spelling, case and punctuation of the positive value",
        )
    return text


def unit_column(config: DataConfig) -> str | None:
    """Returns the privacy-unit column, or ``None`` if each row is a unit."""
    return config.privacy_unit.column if isinstance(config.privacy_unit, PrivacyUnitColumn) else None


def _kind(column: pa.ChunkedArray) -> ColumnKind:
    if is_text(column):
        return ColumnKind.TEXT
    return ColumnKind.INT if pa.types.is_integer(column.type) else ColumnKind.FLOAT


def _require_bins_fit(argument: str, entry: SensitiveConfig, column: pa.ChunkedArray) -> None:
    bins = entry.bins or ()
    if is_text(column):
        raise ConfigError(
            argument, seen="bins on a column of text", allowed="bins on a column of numbers", remedy="remove the bins"
        )
    if not np.isfinite(bins).all():
        raise ConfigError(
            argument,
            seen="an infinite bin edge",
            allowed="finite edges",
            remedy="remove it: outer bins are open anyway",
        )
    named = (*entry.groups, *(entry.reference or {}))
    stray = [name for name in named if name not in (*group_names(bins), MISSING_GROUP)]
    if stray:
        raise ConfigError(
            argument,
            seen=f"group {stray[0]!r}, which is no bin",
            allowed=", ".join(group_names(bins)),
            remedy="name the bins as they are named here, or remove the group: bins name their groups themselves",
        )
