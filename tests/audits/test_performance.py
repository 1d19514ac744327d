"""The performance audit with real TFMA on a real SavedModel, and what happens when the two engines disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probity.audit_plan import AuditsConfig
from probity.audits import evaluation, performance
from probity.audits.evaluation import OfficialRate, OfficialSlice, quantised
from probity.audits.intervals import wilson
from probity.audits.performance import TOLERANCE, PerformanceAudit, largest_difference
from probity.audits.slices import RATES, confusion
from probity.audits.testing import AuditContract, make_evidence
from probity.errors import AuditError


class TestPerformanceContract(AuditContract):
    def make_audit(self):
        return PerformanceAudit()

    @pytest.mark.heavy  # as the next one: each is one more run of TFMA
    def test_order_of_rows_does_not_matter(self, evidence, report, tmp_path):
        super().test_order_of_rows_does_not_matter(evidence, report, tmp_path)

    @pytest.mark.heavy
    def test_three_rows_give_a_report(self, evidence, tmp_path):
        super().test_three_rows_give_a_report(evidence, tmp_path)

    @pytest.mark.parametrize("label", ["yes", pytest.param("no", marks=pytest.mark.heavy)])
    def test_rows_of_one_label_give_a_report(self, label, evidence, tmp_path):
        super().test_rows_of_one_label_give_a_report(label, evidence, tmp_path)

    @pytest.fixture(scope="class")
    def evidence(self, tmp_path_factory):
        """With one threshold: TFMA's time grows with them, and it runs six times here."""
        settings = AuditsConfig(min_group_size=20, thresholds=(0.5,))
        return make_evidence(tmp_path_factory.mktemp("evidence"), rows=240, settings=settings)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(tmp_path_factory.mktemp("evidence"), rows=1000)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("workdir")


@pytest.fixture(scope="module")
def report(evidence, workdir):
    return PerformanceAudit().run(evidence, workdir=workdir)


def test_tfma_and_the_engine_agree(report):
    assert report.status == "complete", report.reasons
    difference = report.find("performance/engine_difference/overall").estimate
    assert 0 <= difference.value <= TOLERANCE
    assert difference.n == 1000


def test_tfma_result_can_be_loaded_by_tfma(report, workdir):
    import tensorflow_model_analysis as tfma

    result = tfma.load_eval_result(str(workdir / "tfma"))
    found = dict(result.slicing_metrics)
    overall = found[()][""][""]
    assert overall["auc"]["doubleValue"] == pytest.approx(
        report.find("performance/auc/overall").estimate.value, abs=1e-3
    )
    assert overall["example_count"]["doubleValue"] == 1000
    assert len(overall["confusion_matrix_at_thresholds"]["confusionMatrixAtThresholds"]["matrices"]) == 3
    assert (("age_band", ">=50"),) in found
    assert (("sex", "(missing)"),) in found
    rate = overall["fairness_indicators_metrics/positive_rate@0.50"]["doubleValue"]
    assert rate == pytest.approx(report.find("performance/selection_rate/overall@0.5").estimate.value)


def test_every_metric_of_every_declared_slice_is_there(evidence, report):
    names = evidence.scored.names
    slices = [{}] + [{name: group} for name, groups in names.items() for group in groups]
    slices += [{"sex": sex, "race": race} for sex in names["sex"] for race in names["race"]]
    thresholds = evidence.settings.all_thresholds
    rates = [finding for finding in report.findings if finding.threshold is not None]
    scores = [finding for finding in report.findings if finding.threshold is None]
    assert len(rates) == len(slices) * len(RATES) * len(thresholds)
    assert len(scores) == len(slices) * 4 + 1
    for finding in rates + scores:
        assert finding.slice in slices


def test_values_are_counted_rows_with_wilson_intervals(evidence, report):
    rows = evidence.scored
    group = rows.groups["sex"] == rows.names["sex"].index("Female")
    positives = group & rows.labels
    hits = int((positives & (rows.scores > 0.5)).sum())
    estimate = report.find("performance/true_positive_rate/sex=Female@0.5").estimate
    lower, upper = wilson(hits, positives.sum(), confidence=0.95)
    assert (estimate.value, estimate.n) == (hits / positives.sum(), positives.sum())
    assert (estimate.lower, estimate.upper) == (float(lower), float(upper))
    auc = report.find("performance/auc/sex=Female").estimate
    assert auc.value == pytest.approx(roc_auc_score(rows.labels[group], rows.scores[group]))
    assert auc.lower < auc.value < auc.upper


def test_empty_and_small_groups_stay_visible(report):
    empty = report.find("performance/true_positive_rate/sex=Unseen@0.5")
    assert (empty.evidence, empty.reason, empty.estimate.value) == ("insufficient", "no rows", None)
    count = report.find("performance/example_count/sex=Unseen")
    assert (count.evidence, count.estimate.value) == ("insufficient", 0)
    small = report.find("performance/accuracy/sex=Female,race=Rare@0.5")
    assert (small.evidence, small.reason) == ("insufficient", "fewer than 20 rows")
    assert small.estimate.value is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: replace(
            entry, rates=(replace(entry.rates[0], value=entry.rates[0].value + 1e-4), *entry.rates[1:])
        ),
        lambda entry: replace(entry, rates=(replace(entry.rates[0], value=None), *entry.rates[1:])),
        lambda entry: replace(entry, auc=entry.auc - 1e-4),
        lambda entry: replace(entry, example_count=entry.example_count - 1),
    ],
)
def test_disagreement_fails_the_audit(evidence, tmp_path, monkeypatch, change):
    official = agreeing(evidence)
    monkeypatch.setattr(performance, "evaluate", lambda *args, **kwargs: official)
    assert PerformanceAudit().run(evidence, workdir=tmp_path).status == "complete"
    key = frozenset({("race", "A")})
    official[key] = change(official[key])
    report = PerformanceAudit().run(evidence, workdir=tmp_path)
    assert report.status == "failed"
    assert "race=A" in report.reasons[0]
    assert report.find("performance/engine_difference/overall").estimate.value > TOLERANCE
    assert report.find("performance/auc/overall").estimate.value is not None


def test_a_slice_that_only_one_engine_has_fails_the_audit(evidence):
    counts = confusion(
        evidence.scored, groupings=evidence.dataset.slices(), thresholds=evidence.settings.all_thresholds
    )
    official = agreeing(evidence)
    assert largest_difference(official, evidence, counts=counts)[0] <= TOLERANCE
    extra = {**official, frozenset({("sex", "Unseen")}): official[frozenset()]}
    assert largest_difference(extra, evidence, counts=counts)[0] == float("inf")
    del official[frozenset({("race", "Rare")})]
    assert largest_difference(official, evidence, counts=counts) == (float("inf"), "example_count of race=Rare")


def with_first_rate(entry, value):
    return replace(entry, rates=(replace(entry.rates[0], value=value), *entry.rates[1:]))


def agreeing(evidence):
    """What TFMA would say, made from the rows one slice at a time."""
    rows, official = evidence.scored, {}
    columns = {name: np.array(rows.names[name], object)[codes] for name, codes in rows.groups.items()}
    for grouping in evidence.dataset.slices():
        keys = list(zip(*(columns[name] for name in grouping), strict=True)) if grouping else [()] * len(rows)
        for key in set(keys):
            inside = np.array([entry == key for entry in keys])
            labels, scores = rows.labels[inside], rows.scores[inside].astype(float)
            rates = tuple(
                OfficialRate(source="accuracy", metric="accuracy", threshold=t, value=np.mean((scores > t) == labels))
                for t in evidence.settings.all_thresholds
            )
            both = 0 < labels.sum() < len(labels)
            auc = roc_auc_score(labels, quantised(rows.scores[inside])) if both else None
            pairs = frozenset(zip(grouping, key, strict=True))
            official[pairs] = OfficialSlice(example_count=int(inside.sum()), auc=auc, rates=rates)
    return official


def bare(evidence):
    """The same rows without any attribute, at one threshold: what TFMA is fastest with."""
    return replace(
        evidence,
        dataset=evidence.dataset.model_copy(update={"sensitive": (), "intersections": ()}),
        scored=replace(evidence.scored, groups={}, names={}),
        settings=AuditsConfig(thresholds=(), decision_threshold=0.3),
    )


@pytest.fixture(scope="module")
def bare_run(evidence, tmp_path_factory):
    """The report on such rows, and what TFMA found in them: it asks the exported model, and is given no scores."""
    official = []

    def evaluate(*arguments, **named):
        official.append(evaluation.evaluate(*arguments, **named))
        return official[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(performance, "evaluate", evaluate)
        return PerformanceAudit().run(bare(evidence), workdir=tmp_path_factory.mktemp("bare")), official[0]


def test_other_scores_than_the_exported_models_fail_the_audit(evidence, bare_run, tmp_path, monkeypatch):
    monkeypatch.setattr(performance, "evaluate", lambda *_, **__: bare_run[1])
    moved = np.where(evidence.scored.scores > 0.9, np.float32(0.1), evidence.scored.scores)
    other = bare(replace(evidence, scored=replace(evidence.scored, scores=moved)))
    assert PerformanceAudit().run(other, workdir=tmp_path).status == "failed"
    assert PerformanceAudit().run(bare(evidence), workdir=tmp_path).status == "complete"


def test_one_threshold_and_no_attribute(bare_run):
    report, _ = bare_run
    assert report.status == "complete", report.reasons
    assert {finding.threshold for finding in report.findings} == {None, 0.3}
    assert not any(finding.slice for finding in report.findings)


def test_model_that_tfma_cannot_load_is_an_audit_error_without_its_text(evidence, tmp_path):
    (tmp_path / "model" / "saved_model").mkdir(parents=True)
    with pytest.raises(AuditError, match="TensorFlow Model Analysis"):
        PerformanceAudit().run(replace(evidence, model_folder=tmp_path / "model"), workdir=tmp_path)


def test_quantised_scores_keep_order_and_merge_only_close_ones():
    scores = np.sort(np.random.default_rng(0).random(5000).astype(np.float32))
    scores = np.concatenate([[0.0], scores, [1.0]]).astype(np.float32)
    steps = quantised(scores)
    assert (np.diff(steps) >= 0).all()
    merged = np.diff(steps) == 0
    assert (np.diff(scores.astype(float))[merged] < 2.1e-4).all()
    assert steps[-1] > steps[-2]


def test_logging_is_as_before_after_an_error(evidence, tmp_path):
    import logging

    before = logging.root.manager.disable
    with pytest.raises(AuditError):
        evaluation.evaluate(
            tmp_path,
            tmp_path / "absent",
            labels=evidence.scored.labels,
            codes={},
            names={},
            groupings=[()],
            thresholds=[0.5],
            output=tmp_path / "out",
        )
    assert logging.root.manager.disable == before
