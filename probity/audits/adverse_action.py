"""Principal reasons for unfavourable predictions, each one verified by asking the model.

Regulation B asks a creditor who takes adverse action for the specific principal reasons (12 CFR 1002.9(b)(2)); its
official interpretations call more than four not likely helpful (Supplement I, comment 9(b)(2)-1), ask for the factors
that were actually scored, and describe ways to find them: those in which the applicant falls furthest below the average
of applicants *at or slightly above the passing score*, or of all applicants (comment 9(b)(2)-5). Here the first way is
taken, with Shapley values as the measure of "below", because they are defined for models that are no sums of points.

A Shapley value is an average over many mixtures of rows; it may blame a column that, changed by itself, would not help.
So each candidate is verified: the column alone is moved to its reference value - the median, or the most frequent
value, of the people at or slightly above the passing score - and the score has to become more favourable. A candidate
that fails is struck, and the next one is taken. A verified reason moves the score; it need not change the decision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from probity.audits.attribution import Attribution
from probity.audits.backgrounds import Background, Source, draw_rows, open_model, take
from probity.audits.base import AuditInput
from probity.audits.explained import MAX_ADDITIVITY_ERROR
from probity.audits.explaining import Method, methods
from probity.audits.shapley import Inputs
from probity.audits.slices import exact_threshold
from probity.data import Role
from probity.errors import AuditError

__all__ = ["MAX_REASONS", "Reasons", "find_reasons", "select", "typical_rows"]

MAX_REASONS = 4
MAX_PEOPLE = 1000
"""People of the test split for whom reasons are found."""

_FEWEST_REFERENCES = 10
_MAX_SCORE_DIFFERENCE = 1e-4
_NOISE = 1e-6
"""A move of the output below this is rounding of single precision."""
_SEED = 21

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """Reasons for the unfavourable predictions of some people.

    Attributes:
        columns: Source columns.
        people: Positions in the test split, shape (people,).
        verified: By person, the columns that hold, most important first; at most four.
        struck: By person, the columns that were tried before and did not hold.
        sensitive: Columns that are sensitive and features.
        method: How contributions were computed, in words.
        reference: Whom people are compared with, in words.
    """

    columns: tuple[str, ...]
    people: npt.NDArray[np.intp]
    verified: tuple[tuple[str, ...], ...]
    struck: tuple[tuple[str, ...], ...]
    sensitive: tuple[str, ...]
    method: str
    reference: str


def find_reasons(evidence: AuditInput) -> Reasons:
    """Finds and verifies the reasons for up to 1,000 people whose prediction is unfavourable.

    Guarantees: a column that is no feature is never a reason; every reason lowers the person's score relative to the
    reference and, moved to its reference value alone, makes it more favourable.

    Raises:
        AuditError: If there is nobody to explain or to compare with, or the audited model cannot be explained.
    """
    scored, at = evidence.scored, evidence.settings.decision_threshold
    benefits = evidence.dataset.favourable_outcome == "positive"
    favourable = (scored.scores > exact_threshold(at)) == benefits
    unfavourable = np.flatnonzero(~favourable)
    near = np.flatnonzero(favourable)
    if not len(unfavourable) or len(near) < _FEWEST_REFERENCES:
        raise _impossible(
            f"{len(unfavourable)} unfavourable and {len(near)} favourable predictions in the test split",
            allowed=f"at least one unfavourable prediction, and {_FEWEST_REFERENCES} favourable ones to compare with",
        )
    near = near[np.argsort(np.abs(scored.scores[near] - at), kind="stable")][: evidence.settings.background_rows]
    source = open_model(evidence)
    test = source.split("test")
    background = Background(
        inputs=take(test, near),
        again=take(test, near),
        origin="test",
        words=f"the {len(near)} test rows with a favourable prediction that score closest to the threshold {at:g}",
    )
    people = unfavourable[draw_rows(len(unfavourable), MAX_PEOPLE, np.random.default_rng([evidence.seed, _SEED]))]
    people, method, attribution = _attribute(source, test, people, background, seed=evidence.seed)
    _require_same_model(source, attribution, scored.scores[people])
    sign = 1.0 if benefits else -1.0
    values = source.model.values(evidence.examples.table("test").take(near), background.inputs)
    moved = _moved(source, take(test, people), test, near[typical_rows(values)])
    verified, struck = select(
        sign * attribution.contributions, helps=sign * (moved - attribution.outputs[:, None]) > _NOISE
    )
    columns = source.model.columns
    return Reasons(
        columns=columns,
        people=people,
        verified=tuple(tuple(columns[i] for i in found) for found in verified),
        struck=tuple(tuple(columns[i] for i in found) for found in struck),
        sensitive=tuple(
            column.name
            for column in evidence.dataset.features
            if Role.SENSITIVE in column.roles and column.name in columns
        ),
        method=method.words,
        reference=background.words,
    )


def select(contributions: npt.NDArray[np.float64], *, helps: Flags) -> tuple[list[list[int]], list[list[int]]]:
    """Chooses the reasons of each person.

    Args:
        contributions: Contributions to the favourable score, shape (people, columns); negative ones are candidates,
            the most negative first.
        helps: Whether moving the column to its reference value makes the score more favourable, same shape.

    Returns:
        By person the columns that hold, at most four, and those that were tried before the last of them and do not.
    """
    verified, struck = [], []
    for values, held in zip(contributions, helps, strict=True):
        found: list[int] = []
        failed: list[int] = []
        for column in np.argsort(values, kind="stable"):
            if not values[column] < 0 or len(found) == MAX_REASONS:
                break
            (found if held[column] else failed).append(int(column))
        verified.append(found)
        struck.append(failed)
    return verified, struck


def typical_rows(table: pa.Table) -> npt.NDArray[np.intp]:
    """Returns, for each column, a row that holds its typical value: the (lower) median, or the most frequent value.

    A row in place of a value, because a value has to go through the transform with its column. Missing is a value like
    any other for text, and typical of numbers where most are missing.
    """
    rows = []
    for column in table.columns:
        array = pa.chunked_array(column.chunks, column.type).combine_chunks()
        missing = np.asarray(array.is_null())
        if pa.types.is_string(array.type):
            encoded = array.dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)
            counts = np.bincount(encoded)
            rows.append(int(np.flatnonzero(encoded == counts.argmax())[0]))
        elif missing.sum() * 2 > len(missing):
            rows.append(int(np.flatnonzero(missing)[0]))
        else:
            known = np.flatnonzero(~missing)
            values = np.asarray(pc.cast(array.drop_null(), pa.float64()))
            rows.append(int(known[np.argsort(values, kind="stable")[(len(known) - 1) // 2]]))
    return np.array(rows, np.intp)


def _attribute(
    source: Source, test: Inputs, people: npt.NDArray[np.intp], background: Background, *, seed: int
) -> tuple[npt.NDArray[np.intp], Method, Attribution]:
    """Explains as many of the people as the best method that works can afford."""
    rows = take(test, people)
    for method in methods(source, rows=rows, wanted=len(people), background=background, seed=seed):
        affordable = min(len(people), method.max_rows or len(people))
        chosen = people[draw_rows(len(people), affordable, np.random.default_rng([seed, _SEED + 1]))]
        try:
            attribution = method.attribute(take(test, chosen), background.inputs)
        except AuditError:
            continue
        if attribution.additivity_error <= MAX_ADDITIVITY_ERROR:
            return chosen, method, attribution
    raise _impossible(
        "no method gives contributions that add up to the score", allowed=f"a sum within {MAX_ADDITIVITY_ERROR:g}"
    )


def _require_same_model(source: Source, attribution: Attribution, scores: npt.NDArray[np.float32]) -> None:
    difference = float(np.abs(source.model.probability(attribution.outputs) - scores).max(initial=0.0))
    if not difference <= _MAX_SCORE_DIFFERENCE:
        raise _impossible(
            f"the Keras file's scores differ from the audited model's by up to {difference:.2g}",
            allowed="reasons of the model that would be released",
        )


def _moved(source: Source, rows: Inputs, test: Inputs, references: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Returns the output of each row with one column at its reference value, shape (rows, columns)."""
    number = len(next(iter(rows.values())))
    outputs = [
        source.model.predict({**rows, **{name: np.repeat(test[name][[row]], number, axis=0) for name in names}})
        for names, row in zip(source.model.groups, references, strict=True)
    ]
    return np.stack(outputs, axis=1)


def _impossible(seen: str, *, allowed: str) -> AuditError:
    return AuditError(
        "regulatory",
        seen=seen,
        allowed=allowed,
        remedy="see the explanations report, or accept regulatory tables without reasons",
    )
