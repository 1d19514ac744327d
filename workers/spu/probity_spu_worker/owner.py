"""A data owner as a process of its own: it reads its file, and what leaves it is shares, one file for each server."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from probity_worker_contract.messages import WorkerFailure

from probity_spu_worker.engine import LARGEST, deal, rows_file
from probity_spu_worker.refusal import refused

__all__ = ["FILE", "LABEL", "main", "own_rows"]

FILE = "rows.parquet"
LABEL = "label"
_NAMED = 3


def main(arguments: list[str] | None = None) -> int:
    """Deals what a job describes; prints what it refuses as one JSON object and returns 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    job = json.loads(parser.parse_args(arguments).job.read_text())
    owner, precision = job["owner"], int(job["precision"])
    with np.load(job["schedule"], allow_pickle=False) as stored:
        batches = stored[job["batches"]]
    try:
        for name, columns in job["variables"].items():
            found = own_rows(Path(job["folder"]), columns, owner=owner, rows=int(job["rows"]))
            bound = 1.0 if columns == [LABEL] else LARGEST[precision]
            _require_range(found, bound=bound, owner=owner)
            for epoch in range(int(job["epochs_done"]), len(batches)):
                paths = [Path(folder) / rows_file(name, epoch) for folder in job["servers"]]
                deal(found[batches[epoch].reshape(-1)], paths, precision=precision)
    except WorkerFailure as failure:
        print(json.dumps({"code": failure.code, "message": failure.message}))  # noqa: T201 - the program's output
        return 2
    return 0


def own_rows(folder: Path, columns: list[str], *, owner: str, rows: int) -> npt.NDArray[np.float32]:
    """Reads the planned columns of an owner's file, and no other.

    Returns:
        float32 of shape (rows, columns).

    Raises:
        WorkerFailure: With the code ``data_owner``, naming the owner, the columns that are missing or the row counts.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / FILE
    if not path.is_file():
        raise _other(owner, seen=f"there is no {FILE} in its folder", allowed=f"{rows} rows in {FILE}")
    try:
        schema = parquet.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise _other(owner, seen=f"{FILE} cannot be read as Parquet", allowed="a Parquet file") from error
    kinds = {field.name: field.type for field in schema}
    lacking = [name for name in columns if name not in kinds or not _is_number(kinds[name])]
    if lacking:
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        raise _other(
            owner,
            seen=f"{FILE} has no numbers in the columns {', '.join(lacking[:_NAMED])}{more}",
            allowed=f"the {len(columns)} columns that the run was planned for",
        )
    table = parquet.read_table(path, columns=columns, partitioning=None)
    if table.num_rows != rows:
        raise _other(
            owner, seen=f"{FILE} has {table.num_rows} rows", allowed=f"{rows} rows, which the run was planned for"
        )
    return np.stack([table.column(name).to_numpy().astype(np.float32) for name in columns], axis=1)


def _is_number(kind: object) -> bool:
    import pyarrow as pa

    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _require_range(found: npt.NDArray[np.float32], *, bound: float, owner: str) -> None:
    # A comparison with NaN is false, so that NaN is out of range.
    if not (np.abs(found) <= bound).all():
        raise refused(
            "range",
            f"data owner {owner}",
            seen="some of its features or labels are not finite, or beyond the range of the shares",
            allowed=f"finite numbers of absolute value at most {bound:g}",
            remedy="scale the column (transform.numeric), or use precision: 128",
        )


def _other(owner: str, *, seen: str, allowed: str) -> WorkerFailure:
    return refused("data_owner", f"data owner {owner}", seen=seen, allowed=allowed, remedy="give it the right file")


if __name__ == "__main__":
    sys.exit(main())
