"""Differences between groups for several classes and for numbers, against fairlearn."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from sklearn import metrics

from probity.audits import r_squared
from probity.audits.fairness import FairnessAudit
from probity.audits.intervals import difference, wilson
from probity.audits.task_rows import ClassifiedRows, PredictedRows
from probity.findings import AuditReport
from tests.audits.task_evidence import CLASSES, draw_table, light_evidence, rows_of


@pytest.fixture(autouse=True)
def _few_replicates(monkeypatch):
    """Intervals of R2 are tried elsewhere."""
    monkeypatch.setattr(r_squared, "_REPLICATES", 50)


def run(task, rows, **more):
    return FairnessAudit().run(light_evidence(task, rows, **more), workdir=None)


@pytest.fixture(scope="module")
def rows():
    return {task: rows_of(task, draw_table(task, 600)) for task in ("multiclass", "regression")}


def names_of(rows, attribute):
    return np.array(rows.names[attribute])[rows.groups[attribute]]


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        ("mean_absolute_error", metrics.mean_absolute_error),
        ("root_mean_squared_error", metrics.root_mean_squared_error),
        ("r_squared", metrics.r2_score),
        ("mean_residual", lambda y, p: np.mean(p - y)),
    ],
)
def test_gaps_and_ratios_of_a_regression_agree_with_fairlearn(metric, function, rows):
    scored = rows["regression"]
    frame = MetricFrame(
        metrics=function,
        y_true=scored.labels,
        y_pred=scored.predictions.astype(np.float64),
        sensitive_features=names_of(scored, "region"),
    )
    report = run("regression", scored)
    gap = report.find(f"fairness/{metric}/gap/region")
    assert gap.estimate.value == pytest.approx(frame.difference(), rel=1e-6)
    assert gap.estimate.lower <= gap.estimate.value <= gap.estimate.upper
    assert (gap.neutral, gap.direction) == (0.0, "lower_is_better")
    ratio = report.find(f"fairness/{metric}/ratio/region")
    if metric in ("r_squared", "mean_residual"):
        assert ratio is None  # numbers that may be negative have no ratio
    else:
        assert ratio.estimate.value == pytest.approx(frame.ratio(), rel=1e-6)


@pytest.mark.parametrize("place", range(3))
def test_gaps_of_the_rates_of_a_class_agree_with_fairlearn(place, rows):
    scored = rows["multiclass"]
    report = run("multiclass", scored, minimum=5)
    frame = MetricFrame(
        metrics={"true_positive_rate": metrics.recall_score, "selection_rate": lambda y, p: np.mean(p)},
        y_true=scored.labels == place,
        y_pred=scored.chosen == place,
        sensitive_features=names_of(scored, "sex"),
    )
    for metric in ("true_positive_rate", "selection_rate"):
        for comparison, expected in (("gap", frame.difference()), ("ratio", frame.ratio())):
            found = report.find(f"fairness/{metric}/{comparison}/class={CLASSES[place]}/sex")
            assert found.label_class == CLASSES[place]
            assert found.estimate.value == pytest.approx(expected[metric])


def test_of_two_groups_the_interval_is_newcombes(rows):
    scored = rows["multiclass"]
    own, hits = scored.labels == 1, scored.chosen == 1
    counts = [
        [(own & hits & (scored.groups["sex"] == g)).sum(), (own & (scored.groups["sex"] == g)).sum()] for g in (0, 1)
    ]
    bounds = [(x / n, *wilson(x, n, confidence=0.95)) for x, n in counts]
    larger, smaller = sorted(bounds, reverse=True)
    lower, upper = difference(larger, smaller)
    found = run("multiclass", scored, minimum=5).find("fairness/true_positive_rate/gap/class=low/sex").estimate
    assert (found.lower, found.upper) == (pytest.approx(max(0.0, float(lower))), pytest.approx(float(upper)))


def test_small_and_empty_groups_are_named_and_left_out(rows):
    found = run("regression", rows["regression"], minimum=100).find("fairness/mean_absolute_error/gap/region")
    assert found.evidence == "insufficient"
    assert "region=Isle (fewer than 100 rows)" in found.reason
    assert found.estimate.value is not None


def test_one_measurable_group_gives_no_value(rows):
    found = run("regression", rows["regression"], minimum=280).find("fairness/mean_residual/gap/region")
    assert (found.estimate.value, found.evidence) == (None, "insufficient")
    assert found.reason.startswith("fewer than two groups can be measured")


def test_the_favourable_classes_are_compared_as_one(rows):
    scored = rows["multiclass"]
    report = run("multiclass", scored, favourable=("high", "middle"))
    rates = [np.isin(scored.chosen, [0, 2])[scored.groups["sex"] == g].mean() for g in (0, 1)]
    assert report.find("fairness/favourable_rate/gap/sex").estimate.value == pytest.approx(abs(rates[0] - rates[1]))
    assert any("high, middle" in reason for reason in report.reasons)
    assert run("multiclass", scored).find("fairness/favourable_rate/gap/sex") is None


def test_the_report_says_which_way_a_residual_hurts(rows):
    evidence = light_evidence("regression", rows["regression"])
    assert any(
        "A higher prediction benefits" in reason for reason in FairnessAudit().run(evidence, workdir=None).reasons
    )
    evidence.dataset = evidence.dataset.model_copy(update={"favourable_outcome": "negative"})
    assert any(
        "A lower prediction benefits" in reason for reason in FairnessAudit().run(evidence, workdir=None).reasons
    )


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_the_report_survives_its_json_form_and_has_no_groups_without_attributes(task, rows):
    report = run(task, rows[task])
    assert AuditReport.from_json(report.to_json()) == report
    evidence = light_evidence(task, rows[task])
    evidence.dataset = evidence.dataset.model_copy(update={"sensitive": (), "intersections": ()})
    assert FairnessAudit().run(evidence, workdir=None).status == "not_applicable"


def test_one_label_for_all_gives_reasons_and_no_exception():
    table = draw_table("multiclass", 60)
    rows = rows_of("multiclass", table)
    one = ClassifiedRows(**{**vars(rows), "labels": np.zeros(60, np.int32)})
    found = run("multiclass", one, minimum=2).find("fairness/true_positive_rate/gap/class=low/sex")
    assert "no row has the label of this class" in found.reason
    numbers = rows_of("regression", draw_table("regression", 60))
    flat = PredictedRows(**{**vars(numbers), "labels": np.full(60, 5.0)})
    assert "all labels are equal" in run("regression", flat, minimum=2).find("fairness/r_squared/gap/sex").reason
