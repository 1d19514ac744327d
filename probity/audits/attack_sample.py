"""The rows that attacks are tried on, chosen so that each row's membership is a fair coin.

The one-run bound (:mod:`probity.audits.one_run`) asks for independent fair coins. The split of a data set gives them:
rows fall into a split by a hash, so among rows that occur once, any assignment to train and test with the same sizes is
equally likely. If the number of members among ``N`` attacked rows is drawn as ``N`` fair coins would fall, and so many
rows are then drawn from the training split and the others from the test split, memberships are ``N`` independent fair
coins. Rows that occur more than once share their fate and are left out, as are all but one row of each protected unit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits.base import AuditInput
from probity.audits.membership import Sample
from probity.audits.scoring import ScoredRows, score
from probity.errors import AuditError

__all__ = ["FEWEST_ROWS", "draw_sample"]

FEWEST_ROWS = 200
"""With fewer rows the interval of an AUC is a tenth wide, and attacks that learn have nothing to learn from."""
_MARGIN = 4.0
"""In standard deviations: how much smaller the sample is than both splits allow, so that the coins can fall."""


def draw_sample(evidence: AuditInput) -> Sample:
    """Draws the rows and scores those of the training split; the test split is scored already.

    Guarantees: the same rows whatever their order in the files.

    Raises:
        AuditError: If there are too few rows that occur once in either split.
    """
    if not evidence.model.members_known:
        raise AuditError(
            "membership inference",
            seen="nobody said which rows the model was trained on",
            allowed="a training split of rows that the model was trained on",
            remedy="name them with --trained-on FILE",
        )
    train, test = evidence.examples.table("train"), evidence.examples.table("test")
    keys = _keys(evidence, train, test)
    inside = _usable(train, keys[: train.num_rows], keys, unit=evidence.dataset.privacy_unit, seed=evidence.seed)
    outside = _usable(test, keys[train.num_rows :], keys, unit=evidence.dataset.privacy_unit, seed=evidence.seed)
    fewest = min(len(inside), len(outside))
    number = min(2 * int(fewest - _MARGIN * math.sqrt(fewest)), evidence.settings.attacked_rows)
    if number < FEWEST_ROWS:
        raise AuditError(
            "membership inference",
            seen=f"{len(inside)} rows of the training split and {len(outside)} of the test split that occur only once",
            allowed=f"enough for {FEWEST_ROWS} rows, about half of each kind",
            remedy="use more data, or a larger share of data.split for test",
        )
    draw = np.random.default_rng(evidence.seed)
    members = int(draw.binomial(number, 0.5))
    chosen_in = np.sort(draw.permutation(len(inside))[:members])
    chosen_out = np.sort(draw.permutation(len(outside))[: number - members])
    scored = score(Path(evidence.model_folder), dataset=evidence.dataset, examples=evidence.examples, split="train")
    return _joined(scored, inside[chosen_in], evidence.scored, outside[chosen_out])


def _joined(
    train: ScoredRows, inside: npt.NDArray[np.int64], test: ScoredRows, outside: npt.NDArray[np.int64]
) -> Sample:
    def both(of_train: npt.NDArray[Any], of_test: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([of_train[inside], of_test[outside]])

    return Sample(
        members=np.concatenate([np.ones(len(inside), np.bool_), np.zeros(len(outside), np.bool_)]),
        scores=both(train.scores, test.scores).astype(np.float64),
        labels=both(train.labels, test.labels),
        groups={name: both(train.groups[name], test.groups[name]) for name in test.groups},
        names=test.names,
        positions=np.concatenate([inside, len(train) + outside]),
    )


def _keys(evidence: AuditInput, train: pa.Table, test: pa.Table) -> npt.NDArray[np.uint64]:
    """Returns a number for each row, train then test, that is equal for rows whose features and label are equal."""
    import pandas as pd

    names = [*sorted(column.name for column in evidence.dataset.features), evidence.dataset.label]
    frame = pa.concat_tables([table.select(names) for table in (train, test)]).to_pandas()
    found: npt.NDArray[np.uint64] = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return found


def _usable(
    table: pa.Table, own: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], *, unit: str, seed: int
) -> npt.NDArray[np.int64]:
    """Returns the positions of rows that occur once in both splits together, one a unit, in the order of keys."""
    distinct, counts = np.unique(keys, return_counts=True)
    positions = np.flatnonzero(counts[np.searchsorted(distinct, own)] == 1)
    positions = positions[np.argsort(own[positions], kind="stable")]
    if unit != "row":
        codes = table.column(unit).combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        positions = np.random.default_rng(seed).permutation(positions)
        _, first = np.unique(codes[positions], return_index=True)
        positions = positions[np.sort(first)]
    return positions
