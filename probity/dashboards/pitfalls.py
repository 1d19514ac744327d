"""What goes wrong in private training, looked up in the records of one run: said, and said from where.

The list is that of ``docs/explanation/privacy-pitfalls.md``, as far as a run's own records answer it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from probity.findings import PrivacyStatement
from probity.model import DpSgd, TrainedModel

__all__ = ["Answer", "answers"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One pitfall and what the run's records say about it.

    Attributes:
        question: What may have gone wrong.
        state: ``fine``; ``look``: somebody should read it; ``not applicable``.
        found: What the records say.
    """

    question: str
    state: Literal["fine", "look", "not applicable"]
    found: str


def answers(model: TrainedModel, statement: PrivacyStatement | None) -> tuple[Answer, ...]:
    """Returns the answers that the mechanism and the statement give."""
    if not isinstance(model.mechanism, DpSgd):
        words = "nobody here saw the training" if model.mechanism.kind == "unknown" else "training was not private"
        return (Answer(question="all of them", state="not applicable", found=words),)
    return (*_of_mechanism(model.mechanism), *_of_statement(model, statement))


def _of_mechanism(done: DpSgd) -> Iterator[Answer]:
    yield _answer(
        "Batches are shuffled, and accounted as random samples",
        done.sampling == "poisson",
        f"sampling was {done.sampling}, and is accounted as that",
    )
    yield _answer(
        "The noise can be repeated by whoever knows a seed",
        done.noise_source == "os_entropy",
        f"noise came from {done.noise_source.replace('_', ' ')}",
    )
    yield _answer(
        "The sum was divided by how many rows happened to be drawn",
        done.normalization == "expected_batch_size",
        f"it was divided by the {done.normalization.replace('_', ' ')}",
    )
    yield _answer(
        "One person has several rows, and a row is protected",
        done.unit != "row",
        f"the protected unit is the {done.unit}"
        + (": right where one row is one person" if done.unit == "row" else ""),
    )


def _of_statement(model: TrainedModel, statement: PrivacyStatement | None) -> Iterator[Answer]:
    if statement is None:
        yield Answer(question="Epsilon was stated", state="look", found="there is no privacy statement")
        return
    yield _answer(
        "Delta is as large as one over the protected units",
        statement.delta * model.num_train_units < 1.0,
        f"delta {statement.delta:g}, {model.num_train_units:,} units",
    )
    columns = ", ".join(statement.uncovered_preprocessing)
    yield _answer(
        "Preprocessing read private rows without noise", not columns, f"without noise: {columns}" if columns else "none"
    )
    others = "; ".join(statement.uncovered_training)
    yield _answer("The trainer read something beside its mechanism", not others, others or "nothing")
    yield _answer(
        "Looking at outcomes decided when to stop",
        not model.chosen_on_eval,
        "the eval split decided" if model.chosen_on_eval else "the number of steps was fixed before",
    )
    yield _answer(
        "One accountant is wrong, and nobody notices",
        statement.second_epsilon is not None,
        f"second opinion: {statement.second_accountant or 'none'}",
    )


def _answer(question: str, fine: bool, found: str) -> Answer:
    return Answer(question=question, state="fine" if fine else "look", found=found)
