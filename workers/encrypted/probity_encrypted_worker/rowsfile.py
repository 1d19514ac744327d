"""A data owner's file, opened in the owner's own process and nowhere else.

A data owner's folder holds ``rows.parquet``: one column for each number of a transformed feature, called ``age[0]``
after the feature and the position in it, and ``label`` (0 or 1) where the owner knows the labels. The model owner's
graph can call two functions on the owner's device: one that says whether the file is as planned, in counts and names of
columns, and one that puts the planned columns into tensors of that device. Columns that nobody planned are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FILE", "LABEL", "MISSING_FILE", "NOT_PARQUET", "READABLE", "described", "offer", "read"]

FILE = "rows.parquet"
LABEL = "label"
READABLE, MISSING_FILE, NOT_PARQUET = 0, 1, 2
"""What :func:`describe` says of a file."""

_DESCRIBE = "probity_describe_rows"
_READ = "probity_read_rows"


def offer() -> None:
    """Lets graphs on this process's device call the functions of this module.

    TensorFlow looks a Python function up by name in the process that executes the operation; its own
    ``numpy_function`` makes up a name that only the process that builds the graph knows.
    """
    from tensorflow.python.ops import script_ops

    script_ops._py_funcs._funcs[_DESCRIBE] = _describe
    script_ops._py_funcs._funcs[_READ] = _read


def described(folder: str, columns: Sequence[str]) -> tuple[int, int, list[str]]:
    """Asks the current device's process about its file.

    Returns:
        :data:`READABLE` or why it is not, its number of rows, and which of the columns it lacks or has as no numbers.
    """
    state, rows, lacking = _call(_DESCRIBE, folder, columns, kinds=("int64", "int64", "string"))
    return int(state), int(rows), sorted(name.decode() for name in lacking.numpy().ravel())


def read(folder: str, columns: Sequence[str]) -> Any:
    """Puts columns of the current device's file into a tensor there, float32 of shape (rows, columns)."""
    (found,) = _call(_READ, folder, columns, kinds=("float32",))
    return found


def _call(name: str, folder: str, columns: Sequence[str], *, kinds: Sequence[str]) -> Any:
    import tensorflow as tf
    from tensorflow.python.ops import gen_script_ops

    arguments = [tf.constant(folder), tf.constant(list(columns))]
    return gen_script_ops.py_func(arguments, token=name, Tout=[tf.as_dtype(kind) for kind in kinds])


def _describe(folder: bytes, columns: npt.NDArray[Any]) -> tuple[np.int64, np.int64, npt.NDArray[Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    nothing = np.array([], dtype=object)
    path = Path(folder.decode()) / FILE
    if not path.is_file():
        return np.int64(MISSING_FILE), np.int64(0), nothing
    try:
        metadata = parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (OSError, pa.ArrowException):
        return np.int64(NOT_PARQUET), np.int64(0), nothing
    kinds = {field.name: field.type for field in schema}
    lacking = [name for name in columns if not _is_number(kinds.get(name.decode()))]
    return np.int64(READABLE), np.int64(metadata.num_rows), np.array(lacking, dtype=object)


def _read(folder: bytes, columns: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    from pyarrow import parquet

    names = [name.decode() for name in columns]
    # partitioning=None: the file by itself, whatever its folders are called.
    table = parquet.read_table(Path(folder.decode()) / FILE, columns=names, partitioning=None)
    # An empty cell becomes NaN, which is out of range.
    numbers = [table.column(name).to_numpy().astype(np.float32) for name in names]
    return np.ascontiguousarray(np.stack(numbers, axis=1))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return kind is not None and (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))
