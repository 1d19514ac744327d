"""Candidate minus the latest released model on the same rows, for whichever task: the comparison is paired.

======================  =========================================  =====================================================
change in               interval                                   source
======================  =========================================  =====================================================
mean errors, mean       Hall's interval of the mean of the rows'   :mod:`probity.audits.mean_intervals`
residual, log_loss      differences
root_mean_squared_      basic bootstrap of the rows                Davison and Hinkley 1997, section 5.2.1
error, r_squared
accuracy, rates of a    Newcombe's score interval for paired       Newcombe 1998b, method 10
class                   proportions
auc                     normal, on the rows' differences in        :func:`probity.audits.multiclass.macro_influence`
                        influence
======================  =========================================  =====================================================

The precision of a class has no change here: candidate and release choose different rows. A rule that asks for one finds
nothing and holds the release.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from probity.audit_plan import AuditsConfig
from probity.audits.baseline import NAME, compare_with_baseline
from probity.audits.intervals import bonferroni, compare_rates, normal_quantile
from probity.audits.mean_intervals import METHOD, mean_interval, mean_statistics
from probity.audits.measures import NO_WIDTH, joint_interval
from probity.audits.multiclass import ClassGroup, class_groups, macro_influence
from probity.audits.regression import NUMBERS, RegressionGroup, regression_groups
from probity.audits.scoring import ScoredRows
from probity.audits.task_rows import AnyRows, ClassifiedRows, PredictedRows
from probity.errors import AuditError
from probity.findings import AuditReport, Estimate, Finding, JointInterval, Subject, finding_id
from probity.metric import metric as vocabulary

__all__ = ["compare_rows", "task_changes"]

_LINEARISED = "influence_hall_paired"

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Change:
    """Candidate minus release in one slice."""

    metric: str
    value: float | None
    bounds: tuple[float, float] | None
    method: str
    n: int
    label_class: str | None = None
    undefined: str | None = None
    fewest: int | None = None
    """Rows of the class with the fewest in or outside it, where the metric is a mean over classes."""


def compare_rows(
    candidate: AnyRows,
    released: AnyRows | None,
    *,
    subject: Subject,
    settings: AuditsConfig,
    seed: int,
    intersections: Sequence[tuple[str, ...]] = (),
    joint_statements: int = 1,
) -> AuditReport:
    """Measures the change in every metric: candidate minus release, for every slice.

    Args:
        candidate: The test rows as the candidate scores them.
        released: The same rows, in the same order, as the latest released model scores them; ``None`` if there is none.
        subject: The candidate and the test split.
        settings: Thresholds, minimum group size, confidence.
        seed: Of the bootstrap.
        intersections: Combinations of attributes to compare as well.
        joint_statements: For how many statements intervals are made that hold together.

    Raises:
        AuditError: If the two are not about the same rows.
    """
    if isinstance(candidate, ScoredRows) and not isinstance(released, ClassifiedRows | PredictedRows):
        return compare_with_baseline(
            candidate,
            released,
            subject=subject,
            settings=settings,
            seed=seed,
            intersections=intersections,
            joint_statements=joint_statements,
        )
    if released is None:
        reason = "no model has been released under this name, so there is nothing to compare with"
        return AuditReport(audit=NAME, status="not_applicable", subject=subject, reasons=(reason,))
    findings = task_changes(
        candidate,
        released,
        audit=NAME,
        settings=settings,
        seed=seed,
        intersections=intersections,
        joint_statements=joint_statements,
    )
    return AuditReport(audit=NAME, status="complete", subject=subject, findings=tuple(findings))


def task_changes(
    candidate: AnyRows,
    other: AnyRows,
    *,
    audit: str,
    settings: AuditsConfig,
    seed: int,
    intersections: Sequence[tuple[str, ...]] = (),
    joint_statements: int = 1,
) -> Iterator[Finding]:
    """Yields the changes of several classes or of numbers, as :func:`probity.audits.paired.paired_changes` does of two.

    Args:
        candidate: The rows as the candidate scores them.
        other: The same rows, in the same order, as the other model scores them.
        audit: Whose findings they are.
        settings: Minimum group size, confidence.
        seed: Of the bootstrap.
        intersections: Combinations of attributes to compare as well.
        joint_statements: For how many statements intervals are made that hold together.

    Raises:
        AuditError: If the two are not about the same rows.
    """
    _require_same_rows(candidate, other)
    identical = np.array_equal(_answers(candidate), _answers(other))
    joint_level = bonferroni(settings.confidence, joint_statements)
    for grouping in ((), *((name,) for name in candidate.names), *intersections):
        alone = list(_slices(candidate, other, grouping, settings.confidence, seed=seed))
        together = alone
        if joint_statements > 1:
            together = list(_slices(candidate, other, grouping, joint_level, seed=seed))
        for (slice_, rows, changes), (_, _, wider) in zip(alone, together, strict=True):
            for change, wide in zip(changes, wider, strict=True):
                joint = joint_interval(*(wide.bounds or (None, None)), statements=joint_statements)
                yield _finding(audit, change, slice_, rows, settings, joint=joint, identical=identical)


def _answers(rows: AnyRows) -> npt.NDArray[np.float32]:
    return rows.predictions if isinstance(rows, PredictedRows) else rows.scores


def _require_same_rows(candidate: AnyRows, released: AnyRows) -> None:
    same = type(candidate) is type(released) and np.array_equal(candidate.labels, released.labels)
    if isinstance(candidate, ClassifiedRows) and isinstance(released, ClassifiedRows):
        same = same and candidate.classes == released.classes
    if (
        not same
        or candidate.groups.keys() != released.groups.keys()
        or any(not np.array_equal(codes, released.groups[name]) for name, codes in candidate.groups.items())
    ):
        raise AuditError(
            "rows of candidate and baseline",
            seen="labels, classes or groups that differ",
            allowed="the same test rows in the same order, each scored by both models",
            remedy="score both models on the same test split",
        )


def _slices(
    candidate: AnyRows, released: AnyRows, grouping: tuple[str, ...], level: float, *, seed: int
) -> Iterator[tuple[dict[str, str], int, list[_Change]]]:
    if isinstance(candidate, PredictedRows) and isinstance(released, PredictedRows):
        pairs = zip(
            regression_groups(candidate, grouping, seed=seed),
            regression_groups(released, grouping, seed=seed),
            strict=True,
        )
        for mine, theirs in pairs:
            changes = [_number_change(name, mine, theirs, confidence=level) for name in NUMBERS]
            yield mine.slice_, mine.rows, changes
    elif isinstance(candidate, ClassifiedRows) and isinstance(released, ClassifiedRows):
        both = zip(class_groups(candidate, grouping), class_groups(released, grouping), strict=True)
        for new, old in both:
            yield new.slice_, new.rows, list(_class_changes(new, old, candidate.classes, confidence=level))


def _finding(
    audit: str,
    change: _Change,
    slice_: dict[str, str],
    rows: int,
    settings: AuditsConfig,
    *,
    joint: JointInterval | None,
    identical: bool,
) -> Finding:
    reason = change.undefined
    # A rate of a class rests on the rows of its denominator, which can be few in a large group.
    size = rows if change.label_class is None else change.n
    size = size if change.fewest is None else change.fewest
    if reason is None and size < settings.min_group_size:
        reason = f"fewer than {settings.min_group_size} rows"
    lower, upper = change.bounds if change.bounds is not None else (None, None)
    if reason is None and lower == upper and not identical:
        reason = NO_WIDTH
    return Finding(
        id=finding_id(audit, change.metric, slice_=slice_, comparison="change", label_class=change.label_class),
        metric=change.metric,
        slice=slice_,
        comparison="change",
        label_class=change.label_class,
        estimate=Estimate(
            value=change.value,
            lower=lower,
            upper=upper,
            confidence=None if lower is None else settings.confidence,
            method=change.method,
            n=change.n,
        ),
        joint=joint,
        direction=vocabulary(change.metric).direction,
        neutral=0.0,
        evidence="sufficient" if reason is None else "insufficient",
        reason=reason,
    )


# --- numbers --------------------------------------------------------------------------------------------------------


def _number_change(metric: str, mine: RegressionGroup, theirs: RegressionGroup, *, confidence: float) -> _Change:
    if metric in ("root_mean_squared_error", "r_squared"):
        return _linearised_change(metric, mine, theirs, confidence=confidence)
    first, second = mine.contributions(metric), theirs.contributions(metric)
    if first is None or second is None:
        return _Change(metric=metric, value=None, bounds=None, method=METHOD, n=mine.rows, undefined="a label is 0")
    return _mean_change(metric, first - second, confidence=confidence)


def _mean_change(metric: str, differences: Floats, *, confidence: float) -> _Change:
    statistics = mean_statistics(differences)
    if statistics is None:
        return _Change(metric=metric, value=None, bounds=None, method=METHOD, n=0, undefined="no rows")
    bounds = mean_interval(statistics, confidence=confidence)
    return _Change(metric=metric, value=statistics.mean, bounds=bounds, method=METHOD, n=statistics.n)


def _linearised_change(metric: str, mine: RegressionGroup, theirs: RegressionGroup, *, confidence: float) -> _Change:
    """Compares what is no mean by the means of the rows' influences (the delta method)."""
    n = mine.rows
    if n == 0 or (metric == "r_squared" and mine.labels.min() == mine.labels.max()):
        why = "no rows" if n == 0 else "all labels are equal, so there is nothing to explain"
        return _Change(metric=metric, value=None, bounds=None, method=_LINEARISED, n=n, undefined=why)
    value, influence = _influence_of(metric, mine.residuals**2, theirs.residuals**2, mine.labels)
    # The influences are 0 on average, so with the value added their mean is the value.
    change = _mean_change(metric, value + influence, confidence=confidence)
    return replace(change, value=value, method=_LINEARISED)


def _influence_of(metric: str, first: Floats, second: Floats, labels: Floats) -> tuple[float, Floats]:
    """Returns the change in a metric and each row's influence on it, for squared residuals of shape (rows,)."""
    mine, theirs = float(first.mean()), float(second.mean())
    if metric == "root_mean_squared_error":
        roots = np.sqrt([mine, theirs])
        # An exact model has no error to be uncertain of.
        parts = [(x - m) / (2 * r) if r else x for x, m, r in zip((first, second), (mine, theirs), roots, strict=True)]
        return float(roots[0] - roots[1]), parts[0] - parts[1]
    squares = (labels - labels.mean()) ** 2
    spread = float(squares.mean())
    value = (theirs - mine) / spread
    return value, (second - first - (theirs - mine) - value * (squares - spread)) / spread


# --- classes --------------------------------------------------------------------------------------------------------


def _class_changes(
    mine: ClassGroup, theirs: ClassGroup, classes: tuple[str, ...], *, confidence: float
) -> Iterator[_Change]:
    first, second, labels = mine.scores.argmax(axis=1), theirs.scores.argmax(axis=1), mine.labels
    everyone = np.ones(mine.rows, np.bool_)
    yield _rate_change("accuracy", (first == labels, second == labels), everyone, confidence=confidence)
    yield _mean_change("log_loss", mine.losses - theirs.losses, confidence=confidence)
    yield _auc_change(mine, theirs, confidence=confidence)
    for place, name in enumerate(classes):
        hits, own = (first == place, second == place), labels == place
        for metric, among in (
            ("true_positive_rate", own),
            ("false_positive_rate", ~own),
            ("selection_rate", everyone),
        ):
            yield _rate_change(metric, hits, among, confidence=confidence, label_class=name)


def _rate_change(
    metric: str, hits: tuple[Bools, Bools], among: Bools, *, confidence: float, label_class: str | None = None
) -> _Change:
    n, method = int(among.sum()), "newcombe_paired"
    if n == 0:
        why = "no row of these labels" if len(among) else "no rows"
        return _Change(
            metric=metric, value=None, bounds=None, method=method, n=0, label_class=label_class, undefined=why
        )
    value, lower, upper = compare_rates(hits[0][among], hits[1][among], confidence=confidence)
    return _Change(metric=metric, value=value, bounds=(lower, upper), method=method, n=n, label_class=label_class)


def _auc_change(mine: ClassGroup, theirs: ClassGroup, *, confidence: float) -> _Change:
    first, second = macro_influence(mine.scores, mine.labels), macro_influence(theirs.scores, theirs.labels)
    n, method = mine.rows, "influence_paired"
    if first is None or second is None:
        why = "a class has no row" if n else "no rows"
        return _Change(metric="auc", value=None, bounds=None, method=method, n=n, undefined=why)
    value = first[0] - second[0]
    half = normal_quantile(confidence) * float(np.sqrt((first[1] - second[1]).var(ddof=1) / n))
    bounds = (max(-1.0, value - half), min(1.0, value + half))
    sizes = np.bincount(mine.labels, minlength=mine.scores.shape[1])
    fewest = int(np.minimum(sizes, n - sizes).min())
    return _Change(metric="auc", value=value, bounds=bounds, method=method, n=n, fewest=fewest)
