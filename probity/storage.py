"""How records come to disk and back: written whole or not at all, read strictly."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from probity.errors import DataError
from probity.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["files_below", "read_record", "reading_table", "write_atomically", "write_record"]

_Noun = TypeVar("_Noun", bound=Record)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is either absent (or as before) or complete, whatever happens to this process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def files_below(root: Path) -> Iterator[Path]:
    """Yields every file below a folder, sorted."""
    yield from sorted(path for path in root.rglob("*") if path.is_file())


def write_record(path: Path, record: Record) -> None:
    """Writes a noun as readable JSON, atomically."""
    text = json.dumps(record.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def read_record(path: Path, kind: type[_Noun]) -> _Noun:
    """Reads a noun.

    Raises:
        DataError: If the file is absent, no JSON, or not of this kind and version.
    """
    try:
        return kind.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        seen = "no such file" if isinstance(error, FileNotFoundError) else f"no readable {kind.__name__}"
        raise DataError(
            path.name,
            seen=seen,
            allowed=f"a {kind.__name__} as this version writes it",
            remedy="run the pipeline again; this run did not get that far or was changed",
        ) from error


@contextlib.contextmanager
def reading_table(path: Path, *, what: str, columns: str) -> Iterator[pa.Table]:
    """Reads a Parquet file of rows, for a block that takes it apart.

    Args:
        path: The file.
        what: What it is a file of, in words.
        columns: What it holds, in words.

    Raises:
        DataError: If the file is no readable Parquet, or the block does not find in it what it looks for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield pq.read_table(path)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(
            path.name,
            seen=f"no readable file of {what}",
            allowed=f"Parquet with {columns}",
            remedy="run again; the file is made anew",
        ) from error
