"""Gaps and ratios between groups: closed forms, fairlearn, coverage, and groups that cannot be measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fairlearn import metrics as fairlearn
from scipy.stats import binomtest

from probity.audit_plan import AuditsConfig
from probity.audits.comparison import NO_GUARANTEE, compare
from probity.audits.fairness import FairnessAudit
from probity.audits.intervals import difference
from probity.audits.measures import rate_measures
from probity.audits.scoring import ScoredRows
from probity.audits.slices import Confusion
from probity.audits.testing import AuditContract
from probity.data import SensitiveAttribute
from probity.digest import digest_bytes
from probity.findings import Subject

SUBJECT = Subject(model=digest_bytes(b"model"), examples=digest_bytes(b"examples"))


@pytest.fixture(autouse=True)
def no_curves(request, monkeypatch):
    """The curves have tests of their own; drawing them for each of these would be slow."""
    if "Contract" not in request.node.nodeid:
        monkeypatch.setattr("probity.audits.fairness.write_curves", lambda *_, **__: None)


class TestFairnessContract(AuditContract):
    def make_audit(self):
        return FairnessAudit()


def scored(scores, labels, **groups):
    names = {name: tuple(sorted(set(values))) for name, values in groups.items()}
    codes = {
        name: np.array([names[name].index(value) for value in values], np.int32) for name, values in groups.items()
    }
    return ScoredRows(scores=np.asarray(scores, np.float32), labels=np.asarray(labels, bool), groups=codes, names=names)


def run(rows, *, intersections=(), names=None, settings=None, favourable="positive", joint_statements=1):
    if names:
        rows = ScoredRows(scores=rows.scores, labels=rows.labels, groups=rows.groups, names={**rows.names, **names})
    attributes = tuple(SensitiveAttribute(name=name, column=name, groups=groups) for name, groups in rows.names.items())
    slices = ((), *((attribute.name,) for attribute in attributes), *intersections)
    evidence = SimpleNamespace(
        dataset=SimpleNamespace(sensitive=attributes, slices=lambda: slices, favourable_outcome=favourable),
        scored=rows,
        settings=settings or AuditsConfig(min_group_size=10),
        seed=1,
        joint_statements=joint_statements,
        subject=SUBJECT,
    )
    return FairnessAudit().run(evidence, workdir=Path("unused"))


def counted(*groups):
    """Rows of groups given as (name, positives selected, positives, negatives selected, negatives)."""
    scores, labels, names = [], [], []
    for name, tp, positives, fp, negatives in groups:
        scores += [0.9] * tp + [0.1] * (positives - tp) + [0.9] * fp + [0.1] * (negatives - fp)
        labels += [True] * positives + [False] * negatives
        names += [name] * (positives + negatives)
    return scored(scores, labels, sex=names)


TWO = (("F", 30, 50, 10, 150), ("M", 80, 100, 40, 200))


def test_two_groups_give_newcombes_interval_on_exact_bounds():
    found = run(counted(*TWO)).find("fairness/true_positive_rate/gap/sex@0.5").estimate
    exact = [binomtest(k, n).proportion_ci(0.95, method="exact") for k, n in ((30, 50), (80, 100))]
    lower, upper = ([getattr(bounds, name) for bounds in exact] for name in ("low", "high"))
    low, high = difference((0.8, lower[1], upper[1]), (0.6, lower[0], upper[0]))
    assert found.value == pytest.approx(0.2)
    assert (found.lower, found.upper) == (pytest.approx(float(low)), pytest.approx(float(high)))
    assert found.n == 150
    assert found.method == "mover_clopper_pearson"


def test_ratio_is_smallest_over_largest():
    finding = run(counted(*TWO)).find("fairness/selection_rate/ratio/sex@0.5")
    assert finding.estimate.value == pytest.approx((40 / 200) / (120 / 300))
    assert 0 < finding.estimate.lower < finding.estimate.value < finding.estimate.upper <= 1
    assert (finding.neutral, finding.direction) == (1.0, "higher_is_better")


@pytest.fixture(scope="module")
def random_rows():
    rng = np.random.default_rng(4)
    n = 3000
    scores = rng.random(n).astype(np.float32)
    return scored(scores, rng.random(n) < scores, sex=rng.choice(list("ab"), n), race=rng.choice(list("xyz"), n))


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.75])
def test_gaps_and_ratios_agree_with_fairlearn(random_rows, threshold):
    report = run(random_rows, intersections=(("sex", "race"),))
    predicted = random_rows.scores > threshold
    columns = {name: np.array(random_rows.names[name])[codes] for name, codes in random_rows.groups.items()}
    both = np.char.add(columns["sex"], columns["race"])
    for across, groups in (("sex", columns["sex"]), ("race", columns["race"]), ("sex*race", both)):
        given = {"y_true": random_rows.labels, "y_pred": predicted, "sensitive_features": groups}
        expected = {
            ("selection_rate", "gap"): fairlearn.demographic_parity_difference(**given),
            ("selection_rate", "ratio"): fairlearn.demographic_parity_ratio(**given),
            ("equalized_odds", "gap"): fairlearn.equalized_odds_difference(**given),
        }
        frame = fairlearn.MetricFrame(
            metrics={
                "true_positive_rate": fairlearn.true_positive_rate,
                "false_positive_rate": fairlearn.false_positive_rate,
                "true_negative_rate": fairlearn.true_negative_rate,
                "false_negative_rate": fairlearn.false_negative_rate,
                "accuracy": lambda y_true, y_pred: np.mean(y_true == y_pred),
                "precision": lambda y_true, y_pred: np.mean(y_true[y_pred]),
            },
            **given,
        )
        expected |= {(name, "gap"): value for name, value in frame.difference().items()}
        expected |= {(name, "ratio"): value for name, value in frame.ratio().items()}
        for (metric, comparison), value in expected.items():
            finding = report.find(f"fairness/{metric}/{comparison}/{across}@{threshold:g}")
            assert finding.estimate.value == pytest.approx(value, abs=1e-12), finding.id
            assert finding.estimate.lower <= value <= finding.estimate.upper


def test_small_group_is_named_and_left_out_of_the_value_which_is_still_reported():
    rows = counted(*TWO, ("X", 0, 3, 3, 3))
    finding = run(rows).find("fairness/true_positive_rate/gap/sex@0.5")
    assert finding.evidence == "insufficient"
    assert "sex=X (fewer than 10 rows)" in finding.reason
    assert finding.estimate.value == pytest.approx(0.2)


def test_declared_group_without_rows_is_named():
    finding = run(counted(*TWO), names={"sex": ("F", "M", "Other")}).find("fairness/selection_rate/gap/sex@0.5")
    assert finding.evidence == "insufficient"
    assert "sex=Other (no rows)" in finding.reason
    assert finding.estimate.value == pytest.approx(0.2)


def test_undefined_rate_of_a_group_is_insufficient_not_zero():
    report = run(counted(*TWO, ("X", 0, 0, 5, 30)))
    tpr = report.find("fairness/true_positive_rate/gap/sex@0.5")
    assert tpr.evidence == "insufficient"
    assert "sex=X (no row has a positive label)" in tpr.reason
    assert tpr.estimate.value == pytest.approx(0.2)
    assert report.find("fairness/false_positive_rate/gap/sex@0.5").evidence == "sufficient"
    assert report.find("fairness/equalized_odds/gap/sex@0.5").evidence == "insufficient"


def test_one_measurable_group_gives_no_value():
    finding = run(counted(TWO[0])).find("fairness/accuracy/gap/sex@0.5")
    assert finding.estimate.value is None
    assert "fewer than two groups" in finding.reason


def test_ratio_of_zeros_is_no_number_and_the_gap_is_zero():
    report = run(counted(("F", 0, 50, 0, 50), ("M", 0, 50, 0, 50)))
    assert report.find("fairness/selection_rate/gap/sex@0.5").estimate.value == 0.0
    ratio = report.find("fairness/selection_rate/ratio/sex@0.5")
    assert ratio.estimate.value is None
    assert ratio.evidence == "insufficient"


def test_without_sensitive_attributes_it_is_not_applicable():
    assert run(scored([0.1, 0.9], [False, True])).status == "not_applicable"


@pytest.mark.parametrize(
    ("favourable", "rate"), [("positive", "true_positive_rate"), ("negative", "true_negative_rate")]
)
def test_report_says_which_rate_is_equal_opportunity(favourable, rate):
    report = run(counted(*TWO), favourable=favourable)
    assert NO_GUARANTEE in report.reasons
    assert any(f"equal opportunity is read from {rate}" in reason for reason in report.reasons)


def _coverage(rates, *, size, repeats=400):
    rng = np.random.default_rng(11)
    truth = max(rates) - min(rates)
    held = excluded = 0
    settings = AuditsConfig(min_group_size=10, thresholds=())
    for _ in range(repeats):
        groups = [(f"g{i}", int(rng.binomial(size, rate)), size, 0, 0) for i, rate in enumerate(rates)]
        estimate = _selection_gap(groups, settings)
        held += estimate.lower <= truth <= estimate.upper
        excluded += estimate.lower > 0
    return held / repeats, excluded / repeats


def _selection_gap(groups, settings):
    selected, total = (np.array([group[place] for group in groups])[:, None] for place in (1, 2))
    nothing = np.zeros_like(selected)
    counts = Confusion(
        grouping=("g",),
        slices=tuple({"g": group[0]} for group in groups),
        thresholds=(0.5,),
        tp=selected,
        fp=nothing,
        tn=nothing,
        fn=total - selected,
    )
    measure = partial(rate_measures, "selection_rate", counts, threshold=0.5, exact=True)
    return compare(measure, "gap", settings, confidence=settings.confidence).extremes


@pytest.mark.parametrize("rates", [(0.3, 0.3), (0.3, 0.3, 0.3, 0.3, 0.3), (0.2, 0.3, 0.35), (0.05, 0.5)])
def test_interval_holds_the_true_gap_at_the_stated_rate(rates):
    held, _ = _coverage(rates, size=200)
    assert held >= 0.93  # 95 % less three standard errors of 400 repeats, 3 * 0.011


def test_equal_groups_are_rarely_called_different_and_different_ones_often():
    _, false_alarms = _coverage((0.3, 0.3, 0.3, 0.3), size=200)
    _, found = _coverage((0.2, 0.3, 0.4, 0.3), size=200)
    assert false_alarms <= 0.07
    assert found >= 0.9


def test_joint_bounds_are_those_of_the_shared_level_and_are_absent_for_a_single_rule():
    alone = run(counted(*TWO)).find("fairness/selection_rate/gap/sex@0.5")
    together = run(counted(*TWO), joint_statements=5).find("fairness/selection_rate/gap/sex@0.5")
    stricter = run(counted(*TWO), settings=AuditsConfig(min_group_size=10, confidence=0.99))
    expected = stricter.find("fairness/selection_rate/gap/sex@0.5").estimate  # 0.99 = 1 - 0.05 / 5
    assert alone.joint is None
    assert together.estimate == alone.estimate
    assert together.joint.statements == 5
    assert (together.joint.lower, together.joint.upper) == pytest.approx((expected.lower, expected.upper), abs=1e-12)


def test_equal_accuracy_can_hide_twice_the_false_alarms():
    """As in the COMPAS scores (Angwin et al. 2016): right equally often, wrong in opposite directions."""
    # name, selected positives, positives, selected negatives, negatives: 780 of 1,000 are right in both groups.
    rows = counted(("black", 480, 540, 160, 460), ("white", 240, 380, 80, 620))
    report = run(rows)
    accuracy = report.find("fairness/accuracy/gap/sex@0.5").estimate
    alarms = report.find("fairness/false_positive_rate/gap/sex@0.5").estimate
    assert accuracy.value == pytest.approx(0.0, abs=1e-12)
    assert accuracy.lower == 0.0
    assert alarms.value == pytest.approx(160 / 460 - 80 / 620)
    assert alarms.lower > 0.15
    ratio = report.find("fairness/false_positive_rate/ratio/sex@0.5").estimate
    assert ratio.upper < 0.5  # at least twice as often
    assert report.find("fairness/equalized_odds/gap/sex@0.5").estimate.lower > 0.15


def test_names_of_groups_and_the_order_of_rows_change_nothing():
    renamed = {"F": "z", "M": "a"}
    rows = counted(*TWO)
    order = np.random.default_rng(3).permutation(len(rows))
    names = [renamed[rows.names["sex"][code]] for code in rows.groups["sex"][order]]
    other = scored(rows.scores[order], rows.labels[order], sex=names)
    mine, theirs = ({entry.id: entry for entry in run(each).findings} for each in (rows, other))
    assert mine.keys() == theirs.keys()
    for name, finding in mine.items():
        for part in ("value", "lower", "upper", "n"):
            assert getattr(theirs[name].estimate, part) == pytest.approx(getattr(finding.estimate, part), abs=1e-12)


def test_every_row_twice_keeps_the_values_and_narrows_the_intervals():
    rows = counted(*TWO)
    twice = scored(
        np.tile(rows.scores, 2),
        np.tile(rows.labels, 2),
        sex=[rows.names["sex"][code] for code in rows.groups["sex"]] * 2,
    )
    mine, theirs = ({entry.id: entry.estimate for entry in run(each).findings} for each in (rows, twice))
    for name, estimate in mine.items():
        assert theirs[name].value == pytest.approx(estimate.value, abs=1e-12), name
        assert theirs[name].upper - theirs[name].lower <= estimate.upper - estimate.lower + 1e-12, name


def test_a_constant_prediction_has_no_gap_where_nobody_is_selected_and_no_precision():
    rows = counted(("F", 0, 50, 0, 150), ("M", 0, 100, 0, 200))
    report = run(rows)
    assert report.find("fairness/selection_rate/gap/sex@0.5").estimate.value == 0.0
    assert report.find("fairness/selection_rate/ratio/sex@0.5").evidence == "insufficient"  # 0 over 0
    assert report.find("fairness/precision/gap/sex@0.5").evidence == "insufficient"
    assert report.find("fairness/auc/gap/sex").estimate.value == pytest.approx(0.0)
