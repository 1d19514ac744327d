"""Answers of two versions to differences of rates, one request at a time.

While one version answers in the shadow of the other, a request gives a pair, and its difference is of that pair: what
two models have in common cancels. In a canary each request is answered by one version. There the answers are taken in
blocks: a block ends as soon as both versions have answered in it, and its difference is that of the two means. Which
version answers depends on a hash of the tracking id and never on an outcome, so neither does the end of a block: the
mean difference of a block is that of the versions, and both sides of it met the same hour of traffic.

The unit is the request. Rows that were sent together count as one observation, their mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from probity.platform.rollout.sequential import bound, extended, log_evidence
from probity.rollout import Comparison, RolloutMetric, RolloutPlan, RunningDifference

__all__ = ["Answer", "Watch", "is_harmed"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one version did with one request."""

    failed: bool
    """Status 400 or above, no answer, or a score that is no number."""
    milliseconds: float
    favourable: tuple[bool, ...] = ()
    """By row; empty if the request failed or its answer is no decision."""


@dataclass
class _Block:
    """Answers since the last difference, of one comparison."""

    candidate: list[float] = field(default_factory=list)
    incumbent: list[float] = field(default_factory=list)

    def difference(self) -> float | None:
        """Returns the difference and begins anew, once both versions have answered."""
        if not (self.candidate and self.incumbent):
            return None
        found = sum(self.candidate) / len(self.candidate) - sum(self.incumbent) / len(self.incumbent)
        self.candidate.clear()
        self.incumbent.clear()
        return found


class Watch:
    """The comparisons of one stage, while it runs.

    Args:
        plan: What is compared, and with which tolerance.
        comparisons: Those of a stage that was interrupted. Answers of an open block are lost then, at random.
    """

    def __init__(self, plan: RolloutPlan, comparisons: Iterable[Comparison] = ()) -> None:
        self._plan = plan
        self._comparisons = {(entry.metric, entry.group): entry for entry in comparisons} or {
            key: Comparison(metric=key[0], group=key[1]) for key in plan.compared
        }
        self._blocks = {key: _Block() for key in self._comparisons}

    def pair(self, candidate: Answer, incumbent: Answer, *, groups: tuple[frozenset[str], ...]) -> None:
        """Takes both answers to one request.

        Args:
            candidate: The candidate's.
            incumbent: The incumbent's.
            groups: By row, the groups it belongs to, as ``attribute=group``.
        """
        for key, entry in self._comparisons.items():
            new, old = self._rate(candidate, key, groups), self._rate(incumbent, key, groups)
            self._count(key, new=new is not None, old=old is not None)
            if new is not None and old is not None:
                self._add(key, entry.running, new - old)

    def single(self, answer: Answer, *, by_candidate: bool, groups: tuple[frozenset[str], ...]) -> None:
        """Takes the answer of the version that a request was sent to."""
        for key, entry in self._comparisons.items():
            rate = self._rate(answer, key, groups)
            if rate is None:
                continue
            self._count(key, new=by_candidate, old=not by_candidate)
            block = self._blocks[key]
            (block.candidate if by_candidate else block.incumbent).append(rate)
            difference = block.difference()
            if difference is not None:
                self._add(key, entry.running, difference)

    def comparisons(self) -> tuple[Comparison, ...]:
        """Returns what was seen so far, with its bounds."""
        error = self._plan.error_of_one
        return tuple(
            entry.model_copy(
                update={
                    "lower": bound(entry.running, error=error, side="above"),
                    "upper": bound(entry.running, error=error, side="below"),
                }
            )
            for entry in self._comparisons.values()
        )

    def harmed(self) -> tuple[Comparison, ...]:
        """Returns the comparisons in which the candidate is worse than the tolerance allows."""
        return tuple(entry for entry in self._comparisons.values() if is_harmed(entry, self._plan))

    def _rate(
        self, answer: Answer, key: tuple[RolloutMetric, str | None], groups: tuple[frozenset[str], ...]
    ) -> float | None:
        """Returns the rate that a request contributes to a comparison; ``None``: nothing."""
        metric, group = key
        if metric == "error_rate":
            return float(answer.failed)
        if metric == "slow_rate":
            return float(answer.milliseconds > self._plan.latency_limit_milliseconds)
        if group is None:
            outcomes = list(answer.favourable)
        else:
            outcomes = [chosen for chosen, of_row in zip(answer.favourable, groups, strict=False) if group in of_row]
        return sum(outcomes) / len(outcomes) if outcomes else None

    def _count(self, key: tuple[RolloutMetric, str | None], *, new: bool, old: bool) -> None:
        entry = self._comparisons[key]
        counts = {
            "candidate_requests": entry.candidate_requests + new,
            "incumbent_requests": entry.incumbent_requests + old,
        }
        self._comparisons[key] = entry.model_copy(update=counts)

    def _add(self, key: tuple[RolloutMetric, str | None], running: RunningDifference, difference: float) -> None:
        changed = {"running": extended(running, [difference])}
        self._comparisons[key] = self._comparisons[key].model_copy(update=changed)


def is_harmed(comparison: Comparison, plan: RolloutPlan) -> bool:
    """Returns whether the evidence says that the candidate is worse than the tolerance allows."""
    evidence = log_evidence(
        comparison.running,
        mean=plan.tolerance.of(comparison.metric),
        side="below" if comparison.metric == "selection_rate" else "above",
    )
    return evidence >= plan.log_evidence_needed
