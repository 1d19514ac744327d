"""Edge cases: rows that somebody chose by hand, each with the outcome that must come out.

A fixed list and not a sample: what the model answers for it says nothing about other rows, and needs no interval. The
rows may be made up, and may be of people; they stay in the run folder either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probity.storage import reading_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["EdgeCases"]

_COLUMN, _EXPECTED, _WHY, _DIGEST = "column:", "expected", "why", b"probity.source"


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeCases:
    """The cases as the model can be asked about them, in the order of the user's file.

    Row-level; internal.
    """

    rows: pa.Table
    """Raw columns, typed as those of the data set; null where a value is missing."""
    expected: npt.NDArray[np.int32]
    """Shape (cases,): 1 for the positive label and 0 for any other, or the position of the class."""
    why: tuple[str | None, ...]
    """What makes each of them a case, in the words of whoever chose it; ``None`` where nothing was said."""
    digest: str
    """Digest of the file that the user gave."""

    def __len__(self) -> int:
        return len(self.expected)

    def write(self, path: Path) -> None:
        """Writes one Parquet file; :meth:`read` gives equal cases back."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, Any] = {
            _EXPECTED: pa.array(self.expected, pa.int32()),
            _WHY: pa.array(self.why, pa.string()),
            **{_COLUMN + name: self.rows.column(name) for name in self.rows.column_names},
        }
        pq.write_table(pa.table(columns).replace_schema_metadata({_DIGEST: self.digest.encode()}), path)

    @classmethod
    def read(cls, path: Path) -> EdgeCases:
        """Reads what :meth:`write` wrote.

        Raises:
            DataError: If the file is not readable Parquet of this layout.
        """
        import numpy as np

        layout = "the expected outcome, why, and the raw columns of each case"
        with reading_table(path, what="edge cases", columns=layout) as table:
            names = [name for name in table.column_names if name.startswith(_COLUMN)]
            return cls(
                rows=table.select(names).rename_columns([name.removeprefix(_COLUMN) for name in names]),
                expected=np.asarray(table.column(_EXPECTED).to_numpy(), np.int32),
                why=tuple(table.column(_WHY).to_pylist()),
                digest=table.schema.metadata[_DIGEST].decode(),
            )
