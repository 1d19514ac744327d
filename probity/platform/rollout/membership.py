"""Who belongs to which group: a side table by tracking id, read here and never sent to a model.

The table has a column ``tracking_id`` and one column for each sensitive attribute, which holds the names of groups
(``sex``: ``Female``, ``Male``; an age is put into bands first). A row without a value is in the group ``(missing)``,
and so is every request whose tracking id the table does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from probity.data import MISSING_GROUP
from probity.errors import DataError
from probity.groups import value_texts

__all__ = ["MOST_GROUPS", "TRACKING_ID", "Membership"]

TRACKING_ID = "tracking_id"
"""The column by which tables are joined with requests."""
MOST_GROUPS = 200
"""Groups of one attribute; each is a comparison of its own, which costs every other one some of its power."""


class Membership:
    """Groups by tracking id, in memory.

    Args:
        table: ``tracking_id`` and one column of group names per attribute.

    Raises:
        DataError: If there is no ``tracking_id``, no attribute, an attribute of more than :data:`MOST_GROUPS` groups
            (such as an index that came along), or one tracking id stands in several rows.
    """

    def __init__(self, table: pa.Table) -> None:
        self._attributes = tuple(name for name in table.column_names if name != TRACKING_ID)
        if TRACKING_ID not in table.column_names or not self._attributes:
            raise _unusable(f"columns {', '.join(table.column_names)}")
        ids = value_texts(table.column(TRACKING_ID))
        if len(set(ids)) < len(ids):
            raise _unusable(f"{len(ids) - len(set(ids))} repeated tracking ids")
        texts = [value_texts(table.column(name)) for name in self._attributes]
        for name, of_column in zip(self._attributes, texts, strict=True):
            if (found := len(set(of_column))) > MOST_GROUPS:
                raise _unusable(f"{found} different values in the column {name}, which is no list of groups")
        self._unknown = frozenset(f"{name}={MISSING_GROUP}" for name in self._attributes)
        self._groups = {
            tracking_id: frozenset(
                f"{name}={MISSING_GROUP if group is None else group}"
                for name, group in zip(self._attributes, of_row, strict=True)
            )
            for tracking_id, of_row in zip(ids, zip(*texts, strict=True), strict=True)
        }

    @classmethod
    def read(cls, path: Path) -> Membership:
        """Reads a table, CSV or Parquet.

        Raises:
            DataError: If the file is neither, or not such a table.
        """
        try:
            is_parquet = path.suffix == ".parquet"
            return cls(pyarrow.parquet.read_table(path) if is_parquet else pyarrow.csv.read_csv(path))
        except (OSError, pa.ArrowException) as error:
            raise _unusable(f"no readable table ({type(error).__name__})") from error

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group in the table, as ``attribute=group``, sorted."""
        return tuple(sorted({group for of_row in self._groups.values() for group in of_row}))

    def of(self, tracking_ids: Sequence[str]) -> tuple[frozenset[str], ...]:
        """Returns the groups of each row; ``ID/3``, a row of a request, has those of ``ID`` unless it has its own."""
        found = (self._groups.get(name) or self._groups.get(name.rsplit("/", 1)[0]) for name in tracking_ids)
        return tuple(groups or self._unknown for groups in found)


def _unusable(seen: str) -> DataError:
    return DataError(
        "group table",
        seen=seen,
        allowed=f"CSV or Parquet: a column {TRACKING_ID}, each id once, and one column of at most {MOST_GROUPS} group "
        "names per attribute",
        remedy="give such a table, for example exported from the register of customers",
    )
