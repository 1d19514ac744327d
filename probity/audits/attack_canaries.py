"""What an attack guesses about: things that were or were not in the training, each by a coin, with a score for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probity.audits import one_run
from probity.audits.attack_sample import NothingToAttackError
from probity.audits.base import AuditInput
from probity.audits.membership import Sample
from probity.canaries import GRADIENT_SCORES, LABELS, ROWS, Coins, read_array
from probity.errors import AuditError

__all__ = ["PLANTED_ROWS", "Tried", "planted_gradients", "planted_rows", "split_rows"]

PLANTED_ROWS = "planted_rows"


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """Things that were or were not in the training, by a coin each.

    Attributes:
        name: Under which the bound is reported.
        words: What they are.
        scores: Higher where one looks more as if it had been in.
        included: The coins.
    """

    name: str
    words: str
    scores: npt.NDArray[np.float64]
    included: npt.NDArray[np.bool_]


def split_rows(sample: Sample | None, evidence: AuditInput) -> Tried | None:
    """Returns the rows of the data themselves, which the split put into the training by a coin each.

    Raises:
        NothingToAttackError: If the splits were given, and nobody said that chance made them.
    """
    if sample is None:
        return None
    if not evidence.dataset.split_at_random:
        raise NothingToAttackError(
            "rows of the data",
            seen="they prove nothing about epsilon, because the splits were given and may differ by more than chance",
            allowed="splits that chance made",
            remedy="say so with data.split_at_random if that is how they were made",
        )
    return Tried(name="split_rows", words="rows of the data", scores=-sample.losses, included=sample.members)


def planted_rows(evidence: AuditInput) -> Tried | None:
    """Returns the row canaries, scored by their loss under the model; ``None`` if the run was not to plant any.

    Raises:
        NothingToAttackError: If there are none or too few.
        AuditError: If a score is not finite.
        DataError: If they cannot be read.
    """
    from probity.predictor import load_predictor
    from probity.tfexample import read_records

    if evidence.canaries is None or evidence.canaries_folder is None:
        return None
    if evidence.canaries.rows == 0:
        raise _nothing("planted rows", "none, because none were asked for")
    folder = evidence.canaries_folder
    coins = Coins.read(folder)
    _require_enough("planted rows", len(coins.rows))
    predictor = load_predictor(evidence.model_folder / "saved_model")
    batches = [predictor.predict_examples(batch) for batch in read_records(folder / ROWS)]
    labels = read_array(folder / LABELS, "labels").astype(bool)
    scores = np.clip(np.concatenate(batches).astype(np.float64), 1e-12, 1.0 - 1e-12)
    if not np.isfinite(scores).all() or len(scores) != len(labels):
        raise _unusable("planted rows", f"{int((~np.isfinite(scores)).sum())} scores that are not finite numbers")
    likelihoods = np.log(np.where(labels, scores, 1.0 - scores))
    return Tried(name=PLANTED_ROWS, words="planted rows", scores=likelihoods, included=coins.rows)


def planted_gradients(evidence: AuditInput) -> Tried | None:
    """Returns the gradient canaries with what the noisy sums held of each; ``None`` if none were to be planted.

    Raises:
        NothingToAttackError: If there are none or too few.
        AuditError: If a score is not finite.
        DataError: If the trainer left no scores.
    """
    if evidence.canaries is None or evidence.canaries_folder is None:
        return None
    if evidence.canaries.gradients == 0:
        raise _nothing("planted gradients", "none, because none were asked for or the trainer cannot plant any")
    coins = Coins.read(evidence.canaries_folder)
    _require_enough("planted gradients", len(coins.gradients))
    scores = read_array(evidence.model_folder / GRADIENT_SCORES, "scores").astype(np.float64)
    if scores.shape != coins.gradients.shape or not np.isfinite(scores).all():
        raise _unusable("planted gradients", "scores that are not one finite number for each")
    return Tried(name="planted_gradients", words="planted gradients", scores=scores, included=coins.gradients)


def _require_enough(name: str, number: int) -> None:
    if number < one_run.MIN_CANARIES:
        raise _nothing(name, f"{number}, of which at least {one_run.MIN_CANARIES} are needed to show anything")


def _nothing(name: str, seen: str) -> NothingToAttackError:
    return NothingToAttackError(name, seen=seen, allowed="enough canaries", remedy="raise audits.canaries")


def _unusable(name: str, seen: str) -> AuditError:
    return AuditError(name, seen=seen, allowed="one finite score for each canary", remedy="run again, or tell us")
