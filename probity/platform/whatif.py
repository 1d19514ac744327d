"""What if: one row of a finished run with other values, and what the released model would have answered.

Internal by nature: it speaks of single people. Nothing is written; what is printed are the values that the caller gave,
scores, and positions in the split - the row's own values only if asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from probity.audits.neighbours import distances, nearest
from probity.audits.slices import exact_threshold
from probity.data import Column, ColumnKind
from probity.errors import ConfigError
from probity.predictor import load_predictor, seen_columns
from probity.runs import MODEL, RunFolder
from probity.suggestion import did_you_mean

__all__ = ["Answer", "Counterfactual", "nearest_counterfactual", "what_if"]

_CANDIDATES = 4000
"""Rows among which a counterfactual is looked for: distances to all of them are held at once."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says of a row as it is, and with the values that were set."""

    row: int
    split: str
    set_to: dict[str, Any]
    score_before: float
    score_after: float
    decision_before: bool
    """Whether the score is greater than the decision threshold."""
    decision_after: bool
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """The nearest row with the other decision; see :mod:`probity.audits.neighbours` for the distance."""

    row: int
    score: float
    distance: float
    differs_in: tuple[str, ...]


def what_if(folder: RunFolder, *, row: int, split: str, assignments: Sequence[str]) -> Answer:
    """Asks the run's model about one row, as it is and with other values.

    Args:
        folder: A run with a trained model.
        row: Position in the split, from 0.
        split: ``train``, ``eval`` or ``test``.
        assignments: ``COLUMN=VALUE`` each; an empty value means missing.

    Raises:
        ConfigError: If there is no such row, column or value.
    """
    table, features = _rows(folder, split, row)
    given = dict(_parsed(entry, features) for entry in assignments)
    changed = table.slice(row, 1)
    for name, value in given.items():
        place = changed.column_names.index(name)
        field = changed.schema.field(name)
        changed = changed.set_column(place, field, pa.chunked_array([pa.array([value], field.type)]))
    names = [column.name for column in features]
    scores = load_predictor(folder.path / MODEL / "saved_model").predict(
        pa.concat_tables([table.slice(row, 1), changed]).select(names)
    )
    threshold = folder.config().audits.decision_threshold
    before, after = (bool(score > exact_threshold(threshold)) for score in scores)
    return Answer(
        row=row,
        split=split,
        set_to=given,
        score_before=float(scores[0]),
        score_after=float(scores[1]),
        decision_before=before,
        decision_after=after,
        threshold=threshold,
    )


def nearest_counterfactual(folder: RunFolder, *, row: int, split: str) -> Counterfactual | None:
    """Returns the nearest row of the split with the other decision; ``None`` if all decisions are alike.

    Looks at the row itself and at most the first 4,000 others.
    """
    table, features = _rows(folder, split, row)
    others = [place for place in range(min(table.num_rows, _CANDIDATES)) if place != row]
    places = np.array([row, *others])
    chosen = table.take(pa.array(places)).combine_chunks()
    scores = load_predictor(folder.path / MODEL / "saved_model").predict(chosen.select([c.name for c in features]))
    decisions = scores > exact_threshold(folder.config().audits.decision_threshold)
    found = distances(chosen, features)[:1]
    place = int(nearest(found, (decisions != decisions[0])[None, :])[0])
    if place < 0:
        return None
    differing = [c.name for c in features if chosen.column(c.name)[0].as_py() != chosen.column(c.name)[place].as_py()]
    return Counterfactual(
        row=int(places[place]),
        score=float(scores[place]),
        distance=float(found[0, place]),
        differs_in=tuple(differing),
    )


def _rows(folder: RunFolder, split: str, position: int) -> tuple[pa.Table, tuple[Column, ...]]:
    table = folder.examples().table(split)
    if not 0 <= position < table.num_rows:
        raise ConfigError(
            "--row",
            seen=f"position {position}, of {table.num_rows} rows in the split {split}",
            allowed=f"0 to {table.num_rows - 1}",
            remedy="give the position of a row; 08_audits/individuals/internal lists some",
        )
    return table, seen_columns(folder.path / MODEL / "saved_model", folder.dataset())


def _parsed(assignment: str, features: Sequence[Column]) -> tuple[str, Any]:
    name, equals, text = assignment.partition("=")
    known = {column.name: column for column in features}
    if not equals or name not in known:
        raise ConfigError(
            "--set",
            seen=f"{name!r}, which is no column that the model sees{did_you_mean(name, list(known))}",
            allowed=", ".join(known),
            remedy="write COLUMN=VALUE with one of these",
        )
    kind = known[name].kind
    if not text:
        return name, None
    try:
        return name, text if kind is ColumnKind.TEXT else int(text) if kind is ColumnKind.INT else float(text)
    except ValueError as error:
        raise ConfigError(
            f"--set {name}",
            seen="a text that is no number",
            allowed="a whole number" if kind is ColumnKind.INT else "a number",
            remedy=f"write {name}=NUMBER",
        ) from error
