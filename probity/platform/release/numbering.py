"""Release numbers: what changed since the last release of a model, in one look; and no number is given twice.

``pipeline.major.minor``. Other data raise the minor number, other hyper-parameters (layers and their widths among them)
the major one, and another architecture starts a new pipeline (Hapke and Nelson 2020, "Building Machine Learning
Pipelines", chapter 15, "Thoughts on Model Release Management").

After a rollback the live release is not the one with the highest number. Counting on from the live one would give the
number of the version that was taken back to other bytes, so numbers always go on from the highest one there ever was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from probity.decision import Recipe, Release

__all__ = ["next_number"]

_Number = tuple[int, int, int]

_MINOR, _MAJOR, _PIPELINE = 0, 1, 2


def next_number(
    recipe: Recipe, *, live: Release | None, earlier: Iterable[Release] = (), told: Iterable[str] = ()
) -> str:
    """Returns the number of a release.

    Guarantees: it is above every number that was ever given. It is raised by the larger of two changes: since what is
    live, and since the release with the highest number, so that it is true in the order of time and in that of numbers.

    Args:
        recipe: What its model was made of.
        live: The release that servers load; ``None`` if there is none.
        earlier: All releases that are there, those that were rolled back among them.
        told: The numbers that the history knows; their versions may be gone.
    """
    known = {number: release for release in earlier if (number := _parsed(release.number)) is not None}
    given = {*known, *(number for text in told if (number := _parsed(text)) is not None)}
    if live is not None and (number := _parsed(live.number)) is not None:
        given.add(number)
    if not given:
        return "1.0.0"
    highest = max(given)
    compared = [found.recipe for found in (live, known.get(highest)) if found is not None and found.recipe is not None]
    # What cannot be compared with anything may be something else altogether.
    change = max((_change(recipe, since) for since in compared), default=_PIPELINE)
    return ".".join(map(str, _raised(highest, change)))


def _parsed(number: str | None) -> _Number | None:
    if number is None or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){2}", number):
        return None
    pipeline, major, minor = (int(part) for part in number.split("."))
    return pipeline, major, minor


def _change(recipe: Recipe, since: Recipe) -> int:
    if recipe.architecture != since.architecture:
        return _PIPELINE
    # Other data, or the same recipe again with other code or another seed: another model in any case.
    return _MAJOR if recipe.hyperparameters != since.hyperparameters else _MINOR


def _raised(number: _Number, change: int) -> _Number:
    pipeline, major, minor = number
    if change == _PIPELINE:
        return pipeline + 1, 0, 0
    return (pipeline, major + 1, 0) if change == _MAJOR else (pipeline, major, minor + 1)
