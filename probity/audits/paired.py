"""Two models asked about the same people: what changed, in every rate and score metric of every slice, with intervals.

The comparison is paired: what the two models have in common cancels, and the interval of the change is far narrower
than two intervals side by side would suggest.

======================  =========================================  =====================================================
change in               interval                                   source
======================  =========================================  =====================================================
auc                     paired DeLong                              DeLong et al. 1988, eq. 6
rates over all rows,    Newcombe's score interval for paired       Newcombe 1998b, method 10
positives or negatives  proportions
precision               Poisson bootstrap of the rows: the two     Chamandy et al. 2012; Davison and Hinkley 1997,
                        have different denominators                section 5.2.1 (basic interval)
log_loss                normal, on the rows' differences           large sample
calibration_error       bounds by the triangle inequality and      :func:`probity.audits.intervals.absolute_sum`
                        convexity, errors drawn jointly
======================  =========================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from probity.audit_plan import AuditsConfig
from probity.audits.auc import compare_auc, delong
from probity.audits.intervals import bonferroni, compare_rates, normal_mean
from probity.audits.measures import NO_WIDTH, joint_interval
from probity.audits.scoring import ScoredRows
from probity.audits.slices import (
    CALIBRATION_BINS,
    RATES,
    calibration_bins,
    exact_threshold,
    members_of,
    residuals_of,
    row_losses,
    undefined_reason,
)
from probity.errors import AuditError
from probity.findings import Estimate, Finding, JointInterval, finding_id
from probity.metric import metric as vocabulary

__all__ = ["paired_changes"]

_REPLICATES = 2000

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Change:
    """Candidate minus other in one slice."""

    value: float | None
    bounds: tuple[float, float] | None
    method: str
    n: int
    undefined: str | None = None
    fewest: int | None = None
    """Rows that the model which selects fewer of them selects, where that is what a metric rests on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """What the comparison needs of the rows of one slice; every array has shape (rows,)."""

    labels: Bools
    scores: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
    """Candidate, other."""
    losses: tuple[Floats, Floats]
    residuals: tuple[Floats, Floats]
    bins: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]

    def __len__(self) -> int:
        return len(self.labels)


def paired_changes(
    candidate: ScoredRows,
    other: ScoredRows,
    *,
    audit: str,
    settings: AuditsConfig,
    seed: int,
    intersections: Sequence[tuple[str, ...]] = (),
    joint_statements: int = 1,
) -> Iterator[Finding]:
    """Yields the change in every rate at every threshold and in every score metric: candidate minus other.

    Overall, for every group of every attribute, and for every group of ``intersections``.

    Args:
        candidate: The rows as the candidate scores them.
        other: The same rows, in the same order, as the other model scores them.
        audit: Whose findings they are.
        settings: Thresholds, minimum group size, confidence.
        seed: Of the bootstrap.
        intersections: Combinations of attributes to compare as well.
        joint_statements: For how many statements intervals are made that hold together.

    Raises:
        AuditError: If the two are not about the same rows.
    """
    _require_same_rows(candidate, other)
    everything = _rows(candidate, other)
    joint_level = bonferroni(settings.confidence, joint_statements)
    for grouping in ((), *((name,) for name in candidate.names), *intersections):
        for slice_, members in members_of(candidate, grouping):
            rows = _take(everything, members)
            alone = _changes(rows, settings.all_thresholds, confidence=settings.confidence, seed=seed)
            together = alone
            if joint_statements > 1:
                together = _changes(rows, settings.all_thresholds, confidence=joint_level, seed=seed)
            identical = np.array_equal(rows.scores[0], rows.scores[1])
            finding = partial(
                _finding, audit=audit, slice_=slice_, rows=len(rows), settings=settings, identical=identical
            )
            for (metric, threshold), change in alone.items():
                wider = together[metric, threshold].bounds or (None, None)
                joint = joint_interval(*wider, statements=joint_statements)
                yield finding(metric, change, threshold=threshold, joint=joint)


def _require_same_rows(candidate: ScoredRows, other: ScoredRows) -> None:
    same = np.array_equal(candidate.labels, other.labels) and candidate.groups.keys() == other.groups.keys()
    if not same or any(not np.array_equal(codes, other.groups[name]) for name, codes in candidate.groups.items()):
        raise AuditError(
            "rows of two models",
            seen="labels or groups that differ",
            allowed="the same test rows in the same order, each scored by both models",
            remedy="score both models on the same test split",
        )


def _rows(candidate: ScoredRows, other: ScoredRows) -> _Rows:
    return _Rows(
        labels=candidate.labels,
        scores=(candidate.scores, other.scores),
        losses=(row_losses(candidate), row_losses(other)),
        residuals=(residuals_of(candidate), residuals_of(other)),
        bins=(calibration_bins(candidate), calibration_bins(other)),
    )


def _take(rows: _Rows, members: npt.NDArray[np.intp]) -> _Rows:
    return _Rows(
        labels=rows.labels[members],
        scores=(rows.scores[0][members], rows.scores[1][members]),
        losses=(rows.losses[0][members], rows.losses[1][members]),
        residuals=(rows.residuals[0][members], rows.residuals[1][members]),
        bins=(rows.bins[0][members], rows.bins[1][members]),
    )


def _changes(
    rows: _Rows, thresholds: Sequence[float], *, confidence: float, seed: int
) -> dict[tuple[str, float | None], _Change]:
    """Returns the change of every metric, by metric and threshold."""
    found: dict[tuple[str, float | None], _Change] = {}
    for threshold in thresholds:
        point = exact_threshold(threshold)
        decisions = (rows.scores[0] > point, rows.scores[1] > point)
        for metric in RATES:
            if metric == "precision":
                change = _precision_change(rows.labels, decisions, confidence=confidence, seed=seed)
            else:
                change = _rate_change(metric, rows.labels, decisions, confidence=confidence)
            found[metric, threshold] = change
    found["auc", None] = _auc_change(rows, confidence=confidence)
    found["log_loss", None] = _loss_change(rows, confidence=confidence)
    found["calibration_error", None] = _calibration_change(rows, confidence=confidence, seed=seed)
    return found


def _finding(
    metric: str,
    change: _Change,
    *,
    audit: str,
    threshold: float | None,
    slice_: dict[str, str],
    rows: int,
    settings: AuditsConfig,
    joint: JointInterval | None,
    identical: bool,
) -> Finding:
    reason = change.undefined
    size = rows if change.fewest is None else change.fewest
    if reason is None and size < settings.min_group_size:
        reason = f"fewer than {settings.min_group_size} rows"
        reason += "" if change.fewest is None else " that one of the models predicts positive"
    lower, upper = change.bounds if change.bounds is not None else (None, None)
    if reason is None and lower == upper and not identical:
        reason = NO_WIDTH
    return Finding(
        id=finding_id(audit, metric, slice_=slice_, comparison="change", threshold=threshold),
        metric=metric,
        slice=slice_,
        comparison="change",
        threshold=threshold,
        estimate=Estimate(
            value=change.value,
            lower=lower,
            upper=upper,
            confidence=None if lower is None else settings.confidence,
            method=change.method,
            n=change.n,
        ),
        joint=joint,
        direction=vocabulary(metric).direction,
        neutral=0.0,
        evidence="sufficient" if reason is None else "insufficient",
        reason=reason,
    )


def _auc_change(rows: _Rows, *, confidence: float) -> _Change:
    both = delong(np.stack(rows.scores), rows.labels)
    if both is None:
        missing = "positive" if not rows.labels.any() else "negative"
        why = f"no row has a {missing} label" if len(rows) else "no rows"
        return _Change(value=None, bounds=None, method="delong_paired", n=len(rows), undefined=why)
    if np.array_equal(*rows.scores):  # one model, so there is nothing to be uncertain of
        return _Change(value=0.0, bounds=(0.0, 0.0), method="delong_paired", n=len(rows))
    value, lower, upper = compare_auc(both, confidence=confidence)
    return _Change(value=value, bounds=(lower, upper), method="delong_paired", n=len(rows))


def _loss_change(rows: _Rows, *, confidence: float) -> _Change:
    if not len(rows):
        return _Change(value=None, bounds=None, method="normal_paired", n=0, undefined="no rows")
    apart = rows.losses[0] - rows.losses[1]
    value, variance = float(apart.mean()), float(apart.var(ddof=1)) if len(rows) > 1 else 0.0
    bounds = normal_mean(value, variance=variance, n=len(rows), confidence=confidence)
    return _Change(value=value, bounds=bounds, method="normal_paired", n=len(rows))


def _rate_change(metric: str, labels: Bools, decisions: tuple[Bools, Bools], *, confidence: float) -> _Change:
    """Compares a rate whose denominator does not depend on the model: both rates are over the same rows."""
    method = "newcombe_paired"
    among, hit = _trials(metric, labels, decisions)
    n = int(among.sum())
    if n == 0:
        return _Change(
            value=None, bounds=None, method=method, n=0, undefined=undefined_reason(metric, rows=len(labels))
        )
    value, lower, upper = compare_rates(hit[0][among], hit[1][among], confidence=confidence)
    return _Change(value=value, bounds=(lower, upper), method=method, n=n)


def _trials(metric: str, labels: Bools, decisions: tuple[Bools, Bools]) -> tuple[Bools, tuple[Bools, Bools]]:
    """Returns which rows are trials of a rate, and which of them succeed under candidate and other."""
    first, second = decisions
    everyone = np.ones(len(labels), bool)
    if metric == "accuracy":
        return everyone, (first == labels, second == labels)
    if metric == "selection_rate":
        return everyone, (first, second)
    among = labels if metric in ("true_positive_rate", "false_negative_rate") else ~labels
    selected = metric in ("true_positive_rate", "false_positive_rate")
    return among, (first == selected, second == selected)


def _precision_change(labels: Bools, decisions: tuple[Bools, Bools], *, confidence: float, seed: int) -> _Change:
    """Compares the two precisions by a Poisson bootstrap of the rows.

    Rows matter only through label and both decisions, so the weights of the rows of one of the eight cells add up to
    one Poisson number with the cell's count as its mean: a replicate costs eight draws, however many rows there are.
    """
    method = "basic_bootstrap_paired"
    counts = np.bincount(labels * 4 + decisions[0] * 2 + decisions[1], minlength=8)
    n = int((decisions[0] | decisions[1]).sum())
    value = _precision_of(counts[None, :])[0]
    if not np.isfinite(value):
        why = "one of the models predicts no row positive" if len(labels) else "no rows"
        return _Change(value=None, bounds=None, method=method, n=n, undefined=why)
    replicates = _precision_of(np.random.default_rng(seed).poisson(counts, (_REPLICATES, 8)))
    bounds = _basic_interval(float(value), replicates[np.isfinite(replicates)], confidence=confidence)
    fewest = min(int(decision.sum()) for decision in decisions)
    return _Change(value=float(value), bounds=bounds, method=method, n=n, fewest=fewest)


def _precision_of(counts: npt.NDArray[np.int64]) -> Floats:
    """Returns the change in precision for counts of shape (replicates, 8); not finite where one is undefined."""
    cells = counts.reshape(-1, 2, 2, 2).astype(np.float64)  # label, candidate's decision, other's decision
    chosen, right = cells.sum(axis=1), cells[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        first = right[:, 1, :].sum(axis=1) / chosen[:, 1, :].sum(axis=1)
        second = right[:, :, 1].sum(axis=1) / chosen[:, :, 1].sum(axis=1)
    change: Floats = first - second
    return change


def _calibration_change(rows: _Rows, *, confidence: float, seed: int) -> _Change:
    """Compares the calibration errors by the argument of :func:`probity.audits.intervals.absolute_sum`.

    With residual sums ``s = m + e`` of candidate (c) and other (b), the change ``sum|m_c| - sum|m_b|`` is at least
    the measured one minus ``sum|e_c| - sum(sign(m_b) e_b)``, and at most the measured one plus the same with the models
    exchanged. The errors are drawn jointly, with the covariance of a Poisson bootstrap of the rows.
    """
    method = "l1_bounds_paired"
    if not len(rows):
        return _Change(value=None, bounds=None, method=method, n=0, undefined="no rows")
    cells = np.zeros((len(rows), 2 * CALIBRATION_BINS))
    every = np.arange(len(rows))
    for model in (0, 1):
        cells[every, model * CALIBRATION_BINS + rows.bins[model]] = rows.residuals[model]
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((_REPLICATES, 2 * CALIBRATION_BINS)) @ _symmetric_root(cells.T @ cells)
    errors = noise.reshape(-1, 2, CALIBRATION_BINS)
    absolute = np.abs(errors).sum(axis=2)
    sums = cells.sum(axis=0).reshape(2, CALIBRATION_BINS)
    signed = (errors * np.sign(sums)).sum(axis=2)
    level = 0.5 + confidence / 2
    below = max(0.0, float(np.quantile(absolute[:, 0] - signed[:, 1], level)))
    above = max(0.0, float(np.quantile(absolute[:, 1] - signed[:, 0], level)))
    change = float(np.abs(sums[0]).sum() - np.abs(sums[1]).sum())
    n = len(rows)
    bounds = (max(-1.0, (change - below) / n), min(1.0, (change + above) / n))
    return _Change(value=change / n, bounds=bounds, method=method, n=n)


def _symmetric_root(covariance: Floats) -> Floats:
    """Returns the square root that is symmetric.

    It is unique, unlike others: rounding, which the order of rows decides, cannot turn the draws into other ones.
    """
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root


def _basic_interval(value: float, replicates: Floats, *, confidence: float) -> tuple[float, float]:
    """Returns the basic bootstrap interval, cut at -1 and 1, widened to the value where its bias moved it past."""
    if not len(replicates):
        return -1.0, 1.0
    tail = (1 - confidence) / 2
    low, high = (float(edge) for edge in np.quantile(replicates, [tail, 1 - tail]))
    return min(value, max(-1.0, 2 * value - high)), max(value, min(1.0, 2 * value - low))
