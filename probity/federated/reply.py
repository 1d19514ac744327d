"""What the federated worker answers, in its own words inside the common envelope."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError

from probity.errors import WorkerContractError
from probity.federation import Round
from probity.model import DpFedAvg, DpFtrl, Federated, Mechanism, NoiseSource, SecureAggregation
from probity.record import Record

__all__ = ["Executed", "Reply", "executed_mechanism", "parse_reply", "parse_round"]


class Executed(Record):
    """What was executed, whatever had been asked."""

    rounds: int = Field(ge=0)
    num_clients: int = Field(ge=1)
    clients_per_round: int = Field(ge=1)
    sampling: Literal["uniform_without_replacement", "poisson", "each_once_per_pass"]
    sampling_prob: float | None = Field(default=None, gt=0.0, le=1.0)
    """Under ``poisson``: of each client in each round."""
    noise_multiplier: float | None = Field(default=None, ge=0.0)
    """For all that a round releases together."""
    update_noise_multiplier: float | None = Field(default=None, ge=0.0)
    """Of the noise on the updates alone; with adaptive clipping larger than the above."""
    noise_source: NoiseSource | None = None
    l2_clip_norm: float | None = Field(default=None, gt=0.0)
    """Fixed norm, or the one in the last round."""
    clipped_count_stddev: float | None = Field(default=None, gt=0.0)
    rounds_per_tree: int | None = Field(default=None, ge=1)
    max_participations: int | None = Field(default=None, ge=0)


class Reply(Record):
    """The body of the worker's result."""

    executed: Executed
    history: tuple[Round, ...]
    """Every finished round, those before an interruption included."""
    secure_aggregation: SecureAggregation


def parse_reply(body: dict[str, Any]) -> Reply:
    """Parses the body of a result.

    Raises:
        WorkerContractError: If it is none, or its rounds are not numbered 1, 2, ... as executed.
    """
    try:
        reply = Reply.from_json(body)
    except ValidationError as error:
        raise _contract(f"a result body that is not one ({error.error_count()} fields are wrong)") from error
    if [entry.round for entry in reply.history] != list(range(1, reply.executed.rounds + 1)):
        raise _contract("a history that does not hold each executed round once, in order")
    return reply


def parse_round(progress: dict[str, Any]) -> Round:
    """Parses a line of progress.

    Raises:
        WorkerContractError: If it is none.
    """
    try:
        return Round.from_json(progress)
    except ValidationError as error:
        raise _contract(f"a line of progress that is no round ({error.error_count()} fields are wrong)") from error


def executed_mechanism(agreed: Mechanism, reply: Reply) -> Mechanism:
    """Returns the mechanism as it was executed, which is the agreed one or fewer rounds of it.

    Raises:
        WorkerContractError: If anything else than agreed was executed: nobody accounted for that.
    """
    executed = reply.executed
    if isinstance(agreed, Federated):
        fits = executed.sampling == agreed.sampling and executed.noise_multiplier is None
        fits = fits and (executed.num_clients, executed.clients_per_round) == (
            agreed.num_clients,
            agreed.clients_per_round,
        )
    elif isinstance(agreed, DpFedAvg):
        fits = executed.sampling == "poisson" and _close(executed.sampling_prob, agreed.sampling_prob)
        fits = fits and _close(executed.noise_multiplier, agreed.noise_multiplier)
        fits = fits and executed.noise_source == agreed.noise_source
        count = getattr(agreed.clipping, "clipped_count_stddev", None)
        fixed = getattr(agreed.clipping, "l2_clip_norm", None)
        fits = fits and _close(executed.clipped_count_stddev, count)
        fits = fits and (fixed is None or _close(executed.l2_clip_norm, fixed))
    elif isinstance(agreed, DpFtrl):
        fits = executed.sampling == "each_once_per_pass" and _close(executed.noise_multiplier, agreed.noise_multiplier)
        fits = fits and executed.noise_source == agreed.noise_source
        fits = fits and executed.rounds_per_tree == agreed.rounds_per_tree
        fits = fits and _close(executed.l2_clip_norm, agreed.l2_clip_norm)
    else:
        raise TypeError(f"the trainer federated does not execute {type(agreed).__name__}")
    if not fits or executed.rounds > agreed.rounds or reply.secure_aggregation != agreed.secure_aggregation:
        raise _contract("it executed another mechanism than the one that was agreed and paid for")
    return agreed.model_copy(update={"rounds": executed.rounds})


def _close(found: float | None, agreed: float | None) -> bool:
    """Whether two numbers are one, but for a passage through single precision."""
    return found == agreed or (found is not None and agreed is not None and abs(found - agreed) <= 1e-6 * abs(agreed))


def _contract(seen: str) -> WorkerContractError:
    return WorkerContractError(
        "worker federated",
        seen=seen,
        allowed="what probity.federated.reply describes",
        remedy="run: probity workers sync federated; if that does not help, tell us",
    )
