"""Whole rollouts in many simulated worlds, decided after every single request, without a server and without a clock.

The rules are those of :mod:`probity.platform.rollout`: stages, blocks and pairs, counts, evidence. They are written a
second time here, over arrays, because the rollout's own code takes one request at a time and a plan from the shadow to
100 % takes a hundred thousand; :func:`one_by_one` does it with the rollout's own code, and a test has both agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from probity.platform.rollout.comparison import Answer, Watch
from probity.platform.rollout.sequential import _BETS, _COSTS
from probity.platform.rollout.stages import moved, seen, started
from probity.rollout import RolloutPlan

SLOW, QUICK = 1e6, 0.0
_FIRST = 256


@dataclass(frozen=True, kw_only=True)
class World:
    """What two versions do with people.

    Attributes:
        rates: By group, the share of favourable outcomes of the incumbent.
        drops: By group, how much smaller the candidate's share is; 0 where nothing is said.
        disagreement: Share of people about whom two trainings of one architecture disagree by chance.
        failing: Share of requests that fail, of the candidate and of the incumbent.
        slow: Share of requests that are slow, likewise.
    """

    rates: dict[str, float]
    drops: dict[str, float]
    disagreement: float = 0.03
    failing: tuple[float, float] = (0.01, 0.01)
    slow: tuple[float, float] = (0.02, 0.02)


@dataclass(frozen=True)
class Requests:
    """Some requests of a stage: who asks, whether the candidate answers alone, and what each version does or would do.

    Arrays of shape (requests,); ``*_of`` by version, the candidate first.
    """

    group: np.ndarray
    by_candidate: np.ndarray
    chosen_of: tuple[np.ndarray, np.ndarray]
    failed_of: tuple[np.ndarray, np.ndarray]
    slow_of: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class End:
    """How a rollout ended: ``completed`` or ``rolled_back``, at which stage, for which comparisons, after how many
    requests."""

    status: str
    stage: str
    harmed: frozenset[tuple[str, str | None]]
    requests: int


def ask(generator: np.random.Generator, plan: RolloutPlan, world: World, *, step: int, number: int) -> Requests:
    """Returns the next requests of a stage."""
    names = list(world.rates)
    group = generator.integers(len(names), size=number)
    rate, drop = (np.array([table.get(name, 0.0) for name in names])[group] for table in (world.rates, world.drops))
    old = generator.random(number) < rate
    again = generator.random(number) < rate
    new = np.where(generator.random(number) < world.disagreement, again, old)
    new &= generator.random(number) >= drop / rate
    failed, slow = (
        tuple(generator.random(number) < share for share in shares) for shares in (world.failing, world.slow)
    )
    by_candidate = generator.random(number) < plan.candidate_share(step)
    return Requests(group, by_candidate, (new, old), failed, slow)


def rolled_out(
    plan: RolloutPlan, world: World, requests_of: Callable[[int, int], Requests], *, usual: bool = False
) -> End:
    """Returns the end of a rollout that is decided after every request.

    Args:
        plan: What is watched.
        world: What the versions do.
        requests_of: Returns that many requests of a stage; asked again, for more, if they are too few for the stage.
        usual: Whether each comparison is judged by a one-sided 95 % interval for a fixed number of differences, read
            all the time from the fiftieth difference on, instead of the rollout's evidence.
    """
    met, asked = dict.fromkeys(plan.groups, 0), 0
    for step, stage in enumerate(plan.steps):
        share = plan.candidate_share(step)
        paired = share in (0.0, 1.0)
        missing = max((plan.requests_per_group - number for number in met.values()), default=0)
        size = int(1.2 * max(plan.requests_per_stage, missing * len(world.rates)) / (share or 1.0)) + _FIRST
        requests = requests_of(step, size)
        while (end := _end_of_stage(plan, world, requests, paired=paired, met=met)) is None:
            size *= 2
            requests = requests_of(step, size)
        first = {
            key: found
            for key in plan.compared
            if (found := _first_harm(plan, world, requests, key, paired=paired, until=end, usual=usual)) is not None
        }
        if first:
            harm = min(first.values())
            keys = frozenset(key for key, position in first.items() if position == harm)
            return End("rolled_back", stage, keys, asked + harm + 1)
        asked += end + 1
        for name in plan.groups:
            met[name] += int(_counts(world, requests, name, paired=paired)[: end + 1].sum())
    return End("completed", plan.steps[-1], frozenset(), asked)


def one_by_one(plan: RolloutPlan, world: World, stages: list[Requests]) -> End:
    """Returns the end of a rollout with these requests, by the rollout's own code."""
    now, asked = datetime(2026, 1, 1, tzinfo=UTC), 0
    state, names = started(plan, now=now), list(world.rates)
    for step, requests in enumerate(stages):
        watch = Watch(plan)
        for number in range(len(requests.group)):
            groups = (frozenset({names[requests.group[number]]}),)
            new, old = (_answer(requests, version, number) for version in (0, 1))
            if plan.candidate_share(step) in (0.0, 1.0):
                watch.pair(new, old, groups=groups)
            else:
                by_candidate = bool(requests.by_candidate[number])
                watch.single(new if by_candidate else old, by_candidate=by_candidate, groups=groups)
            asked += 1
            state = moved(seen(state, watch.comparisons()), now=now)
            if state.status != "running":
                harmed = frozenset((entry.metric, entry.group) for entry in watch.harmed())
                return End(state.status, state.stage, harmed, asked)
            if state.step != step:
                break
    raise AssertionError("too few requests for this plan")


def _answer(requests: Requests, version: int, number: int) -> Answer:
    failed = bool(requests.failed_of[version][number])
    return Answer(
        failed=failed,
        milliseconds=SLOW if requests.slow_of[version][number] else QUICK,
        favourable=() if failed else (bool(requests.chosen_of[version][number]),),
    )


def _counts(world: World, requests: Requests, group: str | None, *, paired: bool) -> np.ndarray:
    """Whether each request counts as an answer of the candidate to a group, or to anybody."""
    ours = np.ones(len(requests.group), bool) if paired else requests.by_candidate
    if group is None:
        return ours
    if group not in world.rates:
        return np.zeros(len(requests.group), bool)
    return ours & (requests.group == list(world.rates).index(group)) & ~requests.failed_of[0]


def _end_of_stage(
    plan: RolloutPlan, world: World, requests: Requests, *, paired: bool, met: dict[str, int]
) -> int | None:
    """Returns the position of the request after which a stage may be left, or ``None`` if there are too few."""
    needed = [(plan.requests_per_stage, _counts(world, requests, None, paired=paired))]
    needed += [(plan.requests_per_group - met[name], _counts(world, requests, name, paired=paired)) for name in met]
    last = 0
    for number, counts in needed:
        if number > 0:
            positions = np.flatnonzero(counts)
            if len(positions) < number:
                return None
            last = max(last, int(positions[number - 1]))
    return last


def _first_harm(
    plan: RolloutPlan,
    world: World,
    requests: Requests,
    key: tuple[str, str | None],
    *,
    paired: bool,
    until: int,
    usual: bool,
) -> int | None:
    """Returns the position of the request after which a comparison is harmed, if that is before the stage may end."""
    metric, group = key
    counted = slice(None, until + 1)
    mine = np.ones(until + 1, bool)
    if group is not None:
        mine = requests.group[counted] == list(world.rates).index(group)
    values = {"error_rate": requests.failed_of, "slow_rate": requests.slow_of, "selection_rate": requests.chosen_of}
    new, old = (entry[counted].astype(float) for entry in values[metric])
    has_new, has_old = mine.copy(), mine.copy()
    if metric == "selection_rate":
        has_new &= ~requests.failed_of[0][counted]
        has_old &= ~requests.failed_of[1][counted]
    if paired:
        positions = np.flatnonzero(has_new & has_old)
        differences = (new - old)[positions]
    else:
        ours = requests.by_candidate[counted]
        kept = np.flatnonzero(np.where(ours, has_new, has_old))
        ends, differences = _blocks(ours[kept], np.where(ours, new, old)[kept])
        positions = kept[ends]
    side = "below" if metric == "selection_rate" else "above"
    reached = (_usual if usual else _evidence)(plan, differences, mean=plan.tolerance.of(metric), side=side)
    return int(positions[reached.argmax()]) if reached.any() else None


def _blocks(ours: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where blocks end and their differences; a block ends as soon as both versions have answered in it."""
    changes = np.flatnonzero(ours[1:] != ours[:-1]) + 1
    following = np.append(changes, len(ours))[np.searchsorted(changes, np.arange(len(ours)), side="right")].tolist()
    starts, ends, start = [], [], 0
    while start < len(following) and following[start] < len(following):
        starts.append(start)
        ends.append(following[start])
        start = following[start] + 1
    first, last = np.array(starts, int), np.array(ends, int)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    difference = values[last] - (sums[last] - sums[first]) / np.maximum(last - first, 1)
    return last, np.where(ours[last], difference, -difference)


def _evidence(plan: RolloutPlan, differences: np.ndarray, *, mean: float, side: str) -> np.ndarray:
    """Whether the evidence suffices, after each difference."""
    x, numbers = (1 + differences) / 2, np.arange(1, len(differences) + 1)
    sums = np.cumsum(x)
    spread = np.cumsum((x - (0.5 + sums - x) / numbers) ** 2)
    signed = (sums - numbers * (1 + mean) / 2) * (-1 if side == "below" else 1)
    evidence = np.logaddexp.reduce(np.outer(_BETS, signed) - np.outer(_COSTS, spread), axis=0) - np.log(len(_BETS))
    return evidence >= plan.log_evidence_needed


def _usual(plan: RolloutPlan, differences: np.ndarray, *, mean: float, side: str) -> np.ndarray:
    numbers = np.arange(1, len(differences) + 1)
    means = np.cumsum(differences) / numbers
    variances = np.maximum(np.cumsum(differences**2) / numbers - means**2, 1e-6)
    beyond = (means - mean) * (-1 if side == "below" else 1)
    return (beyond > 1.645 * np.sqrt(variances / numbers)) & (numbers >= 50)
