"""The rows that attacks are tried on, chosen so that each row's membership is a fair coin.

The one-run bound (:mod:`probity.audits.one_run`) asks for independent fair coins. Where chance alone decided which
split a row is in, membership is a coin with the shares of the splits; it becomes a fair one if rows of the larger split
are kept with the ratio of the shares, each by a coin of its own. Nothing else that is drawn depends on memberships.
Rows that occur more than once share their fate and are left out, as are all but one row of each protected unit.

Where splits were given and nobody said that chance made them, the same rows are attacked, and nothing follows about
epsilon: rows of another year or place may be told apart without any leak.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits.base import AuditInput
from probity.audits.membership import Sample
from probity.audits.scoring import ScoredRows, score
from probity.errors import AuditError

__all__ = ["FEWEST_ROWS", "NothingToAttackError", "draw_sample"]

FEWEST_ROWS = 200
"""With fewer rows the interval of an AUC is a tenth wide, and attacks that learn have nothing to learn from."""


class NothingToAttackError(AuditError):
    """There is nothing to attack, or too little: a gap in the report. Whatever else goes wrong is a failed audit."""


def draw_sample(evidence: AuditInput) -> Sample:
    """Draws the rows and scores those of the training split; the test split is scored already.

    Guarantees: the same rows whatever their order in the files.

    Raises:
        NothingToAttackError: If there are too few rows that occur once, or nobody said which rows were trained on.
        AuditError: If the model cannot score the rows.
    """
    if not evidence.model.members_known:
        raise NothingToAttackError(
            "membership inference",
            seen="nobody said which rows the model was trained on",
            allowed="a training split of rows that the model was trained on",
            remedy="name them with --trained-on FILE",
        )
    train, test = evidence.examples.table("train"), evidence.examples.table("test")
    unit, draw = evidence.dataset.privacy_unit, np.random.default_rng(evidence.seed)
    keys = _keys(evidence, train, test)
    inside = _usable(train, keys[: train.num_rows], keys, unit=unit, draw=draw)
    outside = _usable(test, keys[train.num_rows :], keys, unit=unit, draw=draw)
    shares = evidence.dataset.split_shares or {"train": len(inside), "test": len(outside)}
    smaller = min(shares["train"], shares["test"])
    inside = inside[draw.random(len(inside)) < smaller / max(shares["train"], 1)]
    outside = outside[draw.random(len(outside)) < smaller / max(shares["test"], 1)]
    # Which rows are left when there are too many must not depend on memberships, so their content decides.
    own = np.concatenate([keys[inside], keys[train.num_rows + outside]])
    kept = np.zeros(len(own), np.bool_)
    kept[np.argsort(own, kind="stable")[: evidence.settings.attacked_rows]] = True
    chosen_in, chosen_out = inside[kept[: len(inside)]], outside[kept[len(inside) :]]
    if len(chosen_in) + len(chosen_out) < FEWEST_ROWS or min(len(chosen_in), len(chosen_out)) < FEWEST_ROWS // 4:
        raise NothingToAttackError(
            "membership inference",
            seen=f"{len(chosen_in)} rows of the training split and {len(chosen_out)} of the test split that occur only "
            "once, after equal shares were drawn",
            allowed=f"{FEWEST_ROWS} rows, about half of each kind",
            remedy="use more data, or a larger share of data.split for test",
        )
    scored = score(Path(evidence.model_folder), dataset=evidence.dataset, examples=evidence.examples, split="train")
    return _joined(scored, chosen_in, evidence.scored, chosen_out)


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
    table: pa.Table, own: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], *, unit: str, draw: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Returns the positions of rows that occur once in both splits together, one a unit, in the order of keys."""
    distinct, counts = np.unique(keys, return_counts=True)
    positions = np.flatnonzero(counts[np.searchsorted(distinct, own)] == 1)
    positions = positions[np.argsort(own[positions], kind="stable")]
    if unit != "row":
        codes = table.column(unit).combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        positions = draw.permutation(positions)
        _, first = np.unique(codes[positions], return_index=True)
        positions = positions[np.sort(first)]
    return positions
