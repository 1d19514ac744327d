"""The rollout's state machine: pure, one state to the next.

::

    shadow -> 1% -> 10% -> 50% -> 100% -> completed
       |       |      |      |      |
       +-------+------+------+------+---> rolled_back   a comparison shows a harm beyond its tolerance
       +-------+------+------+------+---> stopped       a person says so

A stage is left forwards only when the candidate has answered as often as the plan asks, and has met every group as
often as the plan asks. A group that nobody sees therefore keeps the rollout where it is, and the state says so: too
little was seen is not the same as nothing is wrong. ``completed``, ``rolled_back`` and ``stopped`` are final.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Literal

from probity.platform.rollout.comparison import is_harmed
from probity.rollout import Comparison, RolloutPlan, RolloutState, StageEvidence, Transition

__all__ = ["ended", "moved", "seen", "started", "waiting_for"]


def started(plan: RolloutPlan, *, now: datetime) -> RolloutState:
    """Returns the first state: in the shadow."""
    reason = f"version {plan.candidate} is asked beside version {plan.incumbent}"
    return _entered(RolloutState(plan=plan), step=0, reason=reason, now=now)


def seen(state: RolloutState, comparisons: tuple[Comparison, ...]) -> RolloutState:
    """Returns the state with newer evidence for the present stage."""
    latest = state.evidence[-1].model_copy(update={"comparisons": comparisons})
    return state.model_copy(update={"evidence": (*state.evidence[:-1], latest)})


def moved(state: RolloutState, *, now: datetime) -> RolloutState:
    """Returns the state that follows from the evidence: the same, the next stage, completed, or rolled back.

    Guarantees: never skips a stage, never leaves a final state, and prefers rolling back when both would apply.
    """
    if state.status != "running":
        return state
    harmed = [entry for entry in state.evidence[-1].comparisons if is_harmed(entry, state.plan)]
    if harmed:
        return ended(state, "rolled_back", reason="; ".join(_harm(entry, state.plan) for entry in harmed), now=now)
    if waiting_for(state):
        return state
    reason = f"no harm beyond the tolerances at {state.stage}, after {_answers(state)} answers of the candidate"
    if state.step + 1 == len(state.plan.steps):
        return ended(state, "completed", reason=reason, now=now)
    return _entered(state, step=state.step + 1, reason=reason, now=now)


def ended(
    state: RolloutState, status: Literal["completed", "rolled_back", "stopped"], *, reason: str, now: datetime
) -> RolloutState:
    """Returns the state after its end; a state that is final already stays what it is."""
    if state.status != "running":
        return state
    last = Transition(at=now.isoformat(), to=status, reason=reason)
    return state.model_copy(update={"status": status, "transitions": (*state.transitions, last)})


def waiting_for(state: RolloutState) -> tuple[str, ...]:
    """Returns what the present stage still needs, in words; nothing: it may be left."""
    plan, missing = state.plan, []
    answers = _answers(state)
    if answers < plan.requests_per_stage:
        missing.append(f"{answers} of {plan.requests_per_stage} answers of the candidate")
    met: Counter[str] = Counter()
    for stage in state.evidence:
        for entry in stage.comparisons:
            if entry.group is not None:
                met[entry.group] += entry.candidate_requests
    missing += [
        f"{met[group]} of {plan.requests_per_group} requests of {group}"
        for group in plan.groups
        if met[group] < plan.requests_per_group
    ]
    return tuple(missing)


def _answers(state: RolloutState) -> int:
    return next(entry.candidate_requests for entry in state.evidence[-1].comparisons if entry.metric == "error_rate")


def _entered(state: RolloutState, *, step: int, reason: str, now: datetime) -> RolloutState:
    stage = state.plan.steps[step]
    fresh = tuple(Comparison(metric=metric, group=group) for metric, group in state.plan.compared)
    entered = StageEvidence(stage=stage, entered_at=now.isoformat(), comparisons=fresh)
    return state.model_copy(
        update={
            "step": step,
            "evidence": (*state.evidence, entered),
            "transitions": (*state.transitions, Transition(at=now.isoformat(), to=stage, reason=reason)),
        }
    )


def _harm(entry: Comparison, plan: RolloutPlan) -> str:
    change = "dropped" if entry.metric == "selection_rate" else "rose"
    bound = entry.upper if entry.metric == "selection_rate" else entry.lower
    allowed = abs(plan.tolerance.of(entry.metric))
    return (
        f"{entry.name} {change} by {abs(entry.running.mean or 0.0):.3f}, and by at least {abs(bound):.3f}, where "
        f"{allowed:g} is tolerated ({entry.candidate_requests} requests to the candidate, "
        f"{entry.incumbent_requests} to the incumbent)"
    )
