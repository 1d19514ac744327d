"""Examples to ``Statistics`` with TensorFlow Data Validation (StatisticsGen): per split, and per sensitive group.

The statistics are exact - counts, means, quantiles, most frequent values - and describe real rows, so they stay in the
run folder. Files are named by number, since the name of a group may hold any character.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probity.data import Dataset, Examples, Statistics
from probity.data_source import SPLITS
from probity.errors import DataError
from probity.groups import group_codes

__all__ = ["load_statistics", "profile", "statistics_of"]


def profile(examples: Examples, dataset: Dataset, *, out: Path) -> Statistics:
    """Computes and writes the statistics of every split and of every sensitive group of the training split.

    Guarantees: a missing value counts as missing (not as an empty list); groups without rows have a count of 0 and no
    file; equal examples give byte-identical files.

    Args:
        examples: The raw rows.
        dataset: Their columns and sensitive attributes.
        out: An existing folder for the statistics files, TFDV text format.
    """
    splits: dict[str, str] = {}
    groups: dict[str, str] = {}
    counts: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        table = examples.table(split)
        splits[split] = f"{split}.pbtxt"
        _write(statistics_of(table), out / splits[split])
        counts[split] = {}
        for attribute in dataset.sensitive:
            codes = group_codes(attribute, table.column(attribute.column))
            for code, group in enumerate(attribute.groups):
                key = f"{attribute.name}={group}"
                rows = np.flatnonzero(codes == code)
                counts[split][key] = len(rows)
                if split == "train" and len(rows):
                    groups[key] = f"train_group_{len(groups):03d}.pbtxt"
                    _write(statistics_of(table.take(pa.array(rows))), out / groups[key])
    return Statistics(splits=splits, groups=groups, group_counts=counts)


def load_statistics(path: Path) -> Any:
    """Reads a file that :func:`profile` wrote.

    Returns:
        A ``DatasetFeatureStatisticsList`` of TFDV.

    Raises:
        DataError: If the file is not one.
    """
    import tensorflow_data_validation as tfdv
    from google.protobuf.text_format import ParseError

    try:
        return tfdv.load_stats_text(str(path))
    except (ParseError, UnicodeDecodeError) as error:
        raise DataError(
            path.name,
            seen="a file that does not hold statistics",
            allowed="statistics in the text format of TFDV",
            remedy="delete the run folder and run again",
        ) from error


def statistics_of(table: pa.Table) -> Any:
    """Returns the statistics of rows, one scalar or null per column and row, as TFDV's proto."""
    import tensorflow_data_validation as tfdv
    from tensorflow_data_validation.statistics import stats_impl

    # The public DataFrame function ends in this call too, but turns whole numbers with gaps into floats on the way.
    columns = [_lists(table.column(name)) for name in table.column_names]
    batch = pa.RecordBatch.from_arrays(columns, table.column_names)
    return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())


def _lists(column: pa.ChunkedArray) -> pa.Array:
    """Returns each value as a list of one and each null as a null list, which is how TFDV marks a missing value."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    valid = np.asarray(array.is_valid())
    offsets = np.concatenate([[0], np.cumsum(valid)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=np.append(~valid, False)), array.drop_null())


def _write(statistics: Any, path: Path) -> None:
    import tensorflow_data_validation as tfdv

    tfdv.write_stats_text(statistics, str(path))
