"""Rates of what was answered, by group, against those of the audited test rows.

A rate counts as worse only when the whole interval of its drop lies beyond the limit. The intervals of one report hold
jointly (Bonferroni over its rates); looking again every day is a new report, and a new chance of a false alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from probity.audits.intervals import bonferroni, clopper_pearson, difference
from probity.audits.scoring import ScoredRows
from probity.monitoring import Measure, MonitoringConfig

__all__ = ["quality_measures", "selection_measures"]

Flags = npt.NDArray[np.bool_]


def selection_measures(
    chosen: Flags,
    groups: Sequence[frozenset[str]],
    audited: ScoredRows,
    *,
    threshold: float,
    favourable_positive: bool,
    config: MonitoringConfig,
) -> list[Measure]:
    """Compares the share of favourable outcomes, overall and by group.

    Args:
        chosen: By logged row, whether the outcome was favourable.
        groups: By logged row, its groups as ``attribute=group``.
        audited: The scored test rows of the run.
        threshold: A score above it is the positive outcome.
        favourable_positive: Whether the positive outcome is the favourable one.
        config: The limits.
    """
    then = (audited.scores > threshold) == favourable_positive
    slices = _slices(groups, audited)
    rates = [(f"selection_rate{name}", chosen[now], then[before]) for name, (now, before) in slices.items()]
    return _drops("selection", rates, limit=config.selection_drop, config=config)


def quality_measures(
    predicted: Flags,
    actual: Flags,
    groups: Sequence[frozenset[str]],
    audited: ScoredRows,
    *,
    threshold: float,
    config: MonitoringConfig,
) -> list[Measure]:
    """Compares accuracy and true positive rate, overall and by group, on the rows that feedback labelled.

    Args:
        predicted: By labelled row, whether the positive class was predicted.
        actual: By labelled row, whether feedback says that it is the positive class.
        groups: By labelled row, its groups.
        audited: The scored test rows of the run.
        threshold: A score above it is the positive outcome.
        config: The limits.
    """
    then, rates = audited.scores > threshold, []
    for name, (now, before) in _slices(groups, audited).items():
        rates.append((f"accuracy{name}", (predicted == actual)[now], (then == audited.labels)[before]))
        rates.append(
            (f"true_positive_rate{name}", predicted[now & actual], then[before & audited.labels]),
        )
    return _drops("quality", rates, limit=config.quality_drop, config=config)


def _slices(groups: Sequence[frozenset[str]], audited: ScoredRows) -> Mapping[str, tuple[Flags, Flags]]:
    """Returns by name which logged and which audited rows are compared: all, then group by group."""
    found = {"": (np.ones(len(groups), bool), np.ones(len(audited), bool))}
    joined = {group.split("=", 1)[0] for of_row in groups for group in of_row}
    for attribute, names in audited.names.items():
        if attribute not in joined:
            continue  # the group table does not speak of it
        for code, name in enumerate(names):
            of_group = np.array([f"{attribute}={name}" in of_row for of_row in groups], bool)
            found[f" of {attribute}={name}"] = (of_group, audited.groups[attribute] == code)
    return found


def _drops(
    kind: str, rates: list[tuple[str, Flags, Flags]], *, limit: float, config: MonitoringConfig
) -> list[Measure]:
    return [_drop(kind, *rate, limit=limit, config=config, together=len(rates)) for rate in rates]


def _drop(
    kind: str, name: str, now: Flags, then: Flags, *, limit: float, config: MonitoringConfig, together: int
) -> Measure:
    smallest = config.min_group_size
    given = {"kind": kind, "of": name, "limit": -limit, "n": len(now)}
    if min(len(now), len(then)) < smallest:
        few = "logged" if len(now) < smallest else "audited"
        return Measure(**given, status="insufficient", reason=f"fewer than {smallest} {few} rows")
    counts, totals = np.array([now.sum(), then.sum()]), np.array([len(now), len(then)])
    lower, upper = clopper_pearson(counts, totals, confidence=bonferroni(config.confidence, together))
    values = counts / totals
    low, high = difference((values[0], lower[0], upper[0]), (values[1], lower[1], upper[1]))
    return Measure(
        **given,
        status="beyond" if float(high) < -limit else "within",
        observed=float(values[0] - values[1]),
        lower=float(low),
        upper=float(high),
        reference=float(values[1]),
        reason=f"{values[0]:.3f} where the audited rows had {values[1]:.3f}",
    )
