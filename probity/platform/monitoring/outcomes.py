"""Rates and errors of what was answered, by group, against those of the audited test rows.

A number counts as worse only when the whole interval of its change lies beyond the limit. The intervals of one kind of
one report hold jointly (Bonferroni over them); looking again every day is a new report, and a new chance of a false
alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from probity.audits.intervals import bonferroni, clopper_pearson, difference
from probity.audits.mean_intervals import mean_interval, mean_statistics
from probity.audits.task_rows import AnyRows
from probity.monitoring import Measure, MonitoringConfig

__all__ = ["Rate", "error_measures", "rate_measures", "slices"]

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rate:
    """A share of logged rows, and the same share of the audited ones."""

    name: str
    now: Flags
    """By logged row."""
    then: Flags
    """By audited row."""
    among_now: Flags | None = None
    """The logged rows of which it is the share; ``None``: all."""
    among_then: Flags | None = None
    by_group: bool = True
    """Whether groups are compared one by one, too."""


def rate_measures(
    kind: Literal["selection", "quality"],
    rates: Sequence[Rate],
    groups: Sequence[frozenset[str]],
    audited: AnyRows,
    *,
    limit: float,
    config: MonitoringConfig,
) -> list[Measure]:
    """Compares shares, overall and by group; a drop by more than the limit is beyond it.

    Args:
        kind: What the shares are about.
        rates: Each with one entry per logged row of ``groups``, and one per audited row.
        groups: By logged row, its groups as ``attribute=group``.
        audited: The scored test rows of the run.
        limit: The tolerated drop.
        config: Level and smallest group.
    """
    pairs = []
    for name, (now, then) in slices(groups, audited).items():
        for rate in rates:
            if not name or rate.by_group:
                of_now = now if rate.among_now is None else now & rate.among_now
                of_then = then if rate.among_then is None else then & rate.among_then
                pairs.append((f"{rate.name}{name}", rate.now[of_now], rate.then[of_then]))
    return [_drop(kind, *pair, limit=limit, config=config, together=len(pairs)) for pair in pairs]


def error_measures(
    errors: Floats, then: Floats, groups: Sequence[frozenset[str]], audited: AnyRows, *, config: MonitoringConfig
) -> list[Measure]:
    """Compares mean absolute errors, overall and by group, on the rows that feedback labelled.

    A rise by more than ``quality_drop`` of the audited mean is beyond the limit.

    Args:
        errors: By labelled row, the absolute error.
        then: By audited row, likewise.
        groups: By labelled row, its groups.
        audited: The scored test rows of the run.
        config: The limits.
    """
    pairs = [
        (f"mean_absolute_error{name}", errors[now], then[before])
        for name, (now, before) in slices(groups, audited).items()
    ]
    return [_rise(*pair, config=config, together=len(pairs)) for pair in pairs]


def slices(groups: Sequence[frozenset[str]], audited: AnyRows) -> Mapping[str, tuple[Flags, Flags]]:
    """Returns by name which logged and which audited rows are compared: all under ``""``, then group by group."""
    found = {"": (np.ones(len(groups), bool), np.ones(len(audited), bool))}
    joined = {group.split("=", 1)[0] for of_row in groups for group in of_row}
    for attribute, names in audited.names.items():
        if attribute not in joined:
            continue  # the group table does not speak of it
        for code, name in enumerate(names):
            of_group = np.array([f"{attribute}={name}" in of_row for of_row in groups], bool)
            found[f" of {attribute}={name}"] = (of_group, audited.groups[attribute] == code)
    return found


def _few(now: int, then: int, *, config: MonitoringConfig) -> str | None:
    """Returns why there is no verdict, if so. How many people a small group has is not told."""
    if min(now, then) >= config.min_group_size:
        return None
    return f"fewer than {config.min_group_size} {'logged' if now < config.min_group_size else 'audited'} rows"


def _drop(
    kind: Literal["selection", "quality"],
    name: str,
    now: Flags,
    then: Flags,
    *,
    limit: float,
    config: MonitoringConfig,
    together: int,
) -> Measure:
    few = _few(len(now), len(then), config=config)
    if few is not None:
        return Measure(kind=kind, of=name, limit=-limit, status="insufficient", reason=few)
    counts, totals = np.array([now.sum(), then.sum()]), np.array([len(now), len(then)])
    lower, upper = clopper_pearson(counts, totals, confidence=bonferroni(config.confidence, together))
    values = counts / totals
    low, high = difference((values[0], lower[0], upper[0]), (values[1], lower[1], upper[1]))
    return Measure(
        kind=kind,
        of=name,
        limit=-limit,
        n=len(now),
        status="beyond" if float(high) < -limit else "within",
        observed=float(values[0] - values[1]),
        lower=float(low),
        upper=float(high),
        reference=float(values[1]),
        reason=f"{values[0]:.3f} where the audited rows had {values[1]:.3f}",
    )


def _rise(name: str, now: Floats, then: Floats, *, config: MonitoringConfig, together: int) -> Measure:
    few = _few(len(now), len(then), config=config)
    means = [mean_statistics(values) for values in (now, then)]
    confidence = bonferroni(config.confidence, together)
    intervals = [None if found is None else mean_interval(found, confidence=confidence) for found in means]
    if few is not None or means[0] is None or means[1] is None or intervals[0] is None or intervals[1] is None:
        return Measure(kind="quality", of=name, status="insufficient", reason=few or "too few rows")
    limit = config.quality_drop * means[1].mean
    low, high = difference((means[0].mean, *intervals[0]), (means[1].mean, *intervals[1]))
    return Measure(
        kind="quality",
        of=name,
        limit=limit,
        n=len(now),
        status="beyond" if float(low) > limit else "within",
        observed=means[0].mean - means[1].mean,
        lower=float(low),
        upper=float(high),
        reference=means[1].mean,
        reason=f"{means[0].mean:.4g} where the audited rows had {means[1].mean:.4g}, in units of the label",
    )
