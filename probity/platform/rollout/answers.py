"""What a server's REST answer decided, row by row."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from probity.platform.rollout.comparison import Answer
from probity.rollout import RolloutPlan

__all__ = ["judged", "read_answer", "scores_of"]


def read_answer(plan: RolloutPlan, *, status: int | None, body: bytes, milliseconds: float) -> Answer:
    """Reads an answer of TensorFlow Serving's REST API.

    A status of 400 or above counts as failed, also when the client was at fault: which version answers is left to
    chance, so clients at fault meet both alike.

    Args:
        plan: Says which score is the favourable outcome.
        status: HTTP status; ``None``: no answer.
        body: Of the answer.
        milliseconds: How long it took.
    """
    failed = status is None or status >= 400
    return judged(plan, None if failed else scores_of(body), failed=failed, milliseconds=milliseconds)


def judged(
    plan: RolloutPlan, scores: Sequence[tuple[float, ...]] | None, *, failed: bool, milliseconds: float
) -> Answer:
    """Returns what scores decide.

    Args:
        plan: Says which score is the favourable outcome.
        scores: By row; ``None`` if the answer has no scores.
        failed: Whether there was no answer of the model.
        milliseconds: How long it took.
    """
    if scores is None or not all(math.isfinite(score) for of_row in scores for score in of_row):
        return Answer(failed=failed or scores is not None, milliseconds=milliseconds)
    outcomes = [plan.is_favourable(of_row) for of_row in scores]
    decided = tuple(outcome for outcome in outcomes if outcome is not None)
    whole = len(decided) == len(outcomes)
    return Answer(failed=False, milliseconds=milliseconds, favourable=decided if whole else ())


def scores_of(body: bytes) -> tuple[tuple[float, ...], ...] | None:
    """Returns the scores of each row; ``None`` if the answer has none.

    Understood are ``predictions`` (row format), ``outputs`` (column format) and the ``results`` of ``:regress``, with
    scores as numbers, lists of numbers, or under the name ``scores``; and the ``results`` of ``:classify``.
    """
    try:
        answer = json.loads(body)
        rows = next(answer[name] for name in ("predictions", "outputs", "results") if name in answer)
        if isinstance(rows, dict):
            rows = rows["scores"]
        return tuple(_scores(entry) for entry in rows)
    except (ValueError, TypeError, LookupError, StopIteration):
        return None


def _scores(entry: Any) -> tuple[float, ...]:
    if isinstance(entry, dict):
        entry = entry["scores"]
    return tuple(_score(part) for part in entry) if isinstance(entry, list) else (_score(entry),)


def _score(entry: Any) -> float:
    if isinstance(entry, list):
        label, entry = entry
        if not isinstance(label, str):
            raise TypeError("two numbers are not a class and its score")
    if entry is None:  # JSON has no NaN; a server that writes null means one
        return math.nan
    return float(entry)
