"""Candidate against baseline on the same rows: naive differences, the row bootstrap, coverage and limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probity.audit_plan import AuditsConfig
from probity.audits.baseline import compare_with_baseline
from probity.audits.measures import SCORES
from probity.audits.scoring import ScoredRows
from probity.audits.slices import RATES, confusion, rate_counts, score_metrics
from probity.digest import digest_bytes
from probity.errors import AuditError
from probity.findings import Subject

SUBJECT = Subject(model=digest_bytes(b"model"), examples=digest_bytes(b"examples"))
SETTINGS = AuditsConfig(min_group_size=20)
OVERALL = AuditsConfig(thresholds=())


def drawn(n=800, *, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.beta(1.2, 1.8, n)
    labels = rng.random(n) < scores
    sex = rng.integers(0, 2, n).astype(np.int32)
    moved = np.clip(scores + np.random.default_rng(seed + 1).normal(0, noise, n), 0, 1) if noise else scores
    return ScoredRows(
        scores=moved.astype(np.float32),
        labels=labels,
        groups={"sex": sex, "race": (np.arange(n) % 50 == 0).astype(np.int32)},
        names={"sex": ("F", "M", "Unseen"), "race": ("A", "Rare")},
    )


def compare(candidate, baseline, **changes):
    given = {"subject": SUBJECT, "settings": SETTINGS, "seed": 5, **changes}
    return compare_with_baseline(candidate, baseline, **given)


def test_without_a_release_there_is_nothing_to_compare():
    report = compare(drawn(), None)
    assert (report.status, report.audit) == ("not_applicable", "baseline")
    assert "no model has been released" in report.reasons[0]


def test_every_change_is_candidate_minus_baseline():
    candidate, baseline = drawn(), drawn(noise=0.2)
    report = compare(candidate, baseline, intersections=[("sex", "race")])
    assert report.status == "complete"
    for grouping in ((), ("sex",), ("race",), ("sex", "race")):
        both = (candidate, baseline)
        tables = [confusion(rows, groupings=[grouping], thresholds=(0.25, 0.5, 0.75))[grouping] for rows in both]
        scores = [score_metrics(rows, groupings=[grouping])[grouping] for rows in both]
        for group, slice_ in enumerate(tables[0].slices):
            name = ",".join(f"{key}={value}" for key, value in slice_.items()) or "overall"
            for place, threshold in enumerate((0.25, 0.5, 0.75)):
                for metric in RATES:
                    found = report.find(f"baseline/{metric}/change/{name}@{threshold:g}").estimate
                    parts = [[x[group, place] for x in rate_counts(metric, table)] for table in tables]
                    if parts[0][1] and parts[1][1]:
                        expected = parts[0][0] / parts[0][1] - parts[1][0] / parts[1][1]
                        assert found.value == pytest.approx(expected, abs=1e-12)
                        assert found.lower <= found.value <= found.upper
                    else:
                        assert found.value is None
            pair = [entry[group] for entry in scores]
            for metric in SCORES:
                found = report.find(f"baseline/{metric}/change/{name}").estimate
                values = [value_of(metric, entry) for entry in pair]
                if None in values:
                    assert found.value is None
                else:
                    assert found.value == pytest.approx(values[0] - values[1], abs=1e-9)


def value_of(metric, entry):
    if metric == "auc":
        return None if entry.auc is None else float(entry.auc.values[0])
    return getattr(entry, metric)


def test_precision_interval_is_that_of_a_bootstrap_of_the_rows():
    candidate, baseline = drawn(400), drawn(400, noise=0.3)
    found = compare(candidate, baseline).find("baseline/precision/change/overall@0.5").estimate
    rng, replicates = np.random.default_rng(1), []
    decisions = [rows.scores > 0.5 for rows in (candidate, baseline)]
    for _ in range(3000):
        weights = rng.poisson(1.0, 400)
        first, second = ((weights * d * candidate.labels).sum() / (weights * d).sum() for d in decisions)
        replicates.append(first - second)
    low, high = np.quantile(replicates, [0.025, 0.975])
    assert found.lower == pytest.approx(2 * found.value - high, abs=0.006)
    assert found.upper == pytest.approx(2 * found.value - low, abs=0.006)


def test_calibration_interval_covers_the_truth():
    held, repeats = 0, 100
    rng = np.random.default_rng(3)
    middle = (np.arange(10) + 0.5) / 10
    for _ in range(repeats):
        bins = rng.integers(0, 10, 500)
        labels = rng.random(500) < middle[bins]
        # The candidate is calibrated; the baseline says the next higher bin, which is 0.1 too much in eight of ten
        # bins and, where two bins meet in the last, 0.05 on average.
        pair = [
            replace(drawn(500), scores=scores.astype(np.float32), labels=labels)
            for scores in (middle[bins], middle[np.minimum(bins + 1, 9)])
        ]
        found = compare(*pair, settings=OVERALL).find("baseline/calibration_error/change/overall")
        held += found.estimate.lower <= -0.09 <= found.estimate.upper
    assert held / repeats >= 0.9  # 95 % less two standard errors


def test_pairing_makes_the_interval_narrow():
    candidate, baseline = drawn(), drawn(noise=0.02)
    report = compare(candidate, baseline)
    for metric in ("auc", "log_loss"):
        estimate = report.find(f"baseline/{metric}/change/overall").estimate
        assert estimate.upper - estimate.lower < 0.03  # two separate AUC intervals are 0.06 wide each


def test_same_model_changes_nothing():
    report = compare(drawn(), drawn())
    for finding in report.findings:
        if finding.estimate.value is not None:
            assert finding.estimate.value == 0.0
            assert finding.estimate.lower <= 0 <= finding.estimate.upper


def test_worse_model_is_found_and_equal_ones_rarely_accused():
    accused = found = 0
    for seed in range(20):
        sharp, blunt, other = drawn(seed=seed, noise=0.05), drawn(seed=seed, noise=0.4), drawn(seed=seed)
        twin = replace(other, scores=np.clip(other.scores + noise(seed, 0.05), 0, 1))
        worse = compare(blunt, sharp, settings=OVERALL).find("baseline/auc/change/overall").estimate
        equal = compare(twin, sharp, settings=OVERALL).find("baseline/auc/change/overall").estimate
        found += worse.upper < 0
        accused += equal.upper < 0
    assert found >= 19
    assert accused <= 4  # 2.5 % of 20 expected


def noise(seed, scale):
    return np.random.default_rng(seed + 900).normal(0, scale, 800).astype(np.float32)


def test_small_empty_and_one_label_groups_are_insufficient():
    report = compare(drawn(), drawn(noise=0.1))
    small = report.find("baseline/accuracy/change/race=Rare@0.5")
    assert (small.evidence, small.reason) == ("insufficient", "fewer than 20 rows")
    assert small.estimate.value is not None
    empty = report.find("baseline/auc/change/sex=Unseen")
    assert (empty.evidence, empty.reason) == ("insufficient", "no rows")
    only = drawn(40)
    only = replace(only, labels=np.ones(40, bool))
    report = compare(only, only)
    assert report.find("baseline/auc/change/overall").reason == "no row has a negative label"
    assert report.find("baseline/false_positive_rate/change/overall@0.5").reason == "no row has a negative label"


def test_model_that_selects_nobody_has_no_precision():
    candidate = drawn()
    nobody = replace(candidate, scores=np.zeros(len(candidate), np.float32))
    finding = compare(candidate, nobody).find("baseline/precision/change/overall@0.5")
    assert finding.estimate.value is None
    assert "no row positive" in finding.reason


def test_no_rows():
    empty = drawn(0)
    report = compare(empty, empty)
    assert all(finding.reason == "no rows" for finding in report.findings)


@pytest.mark.parametrize("what", ["labels", "groups", "length"])
def test_other_rows_are_refused(what):
    candidate, baseline = drawn(), drawn()
    if what == "labels":
        baseline = replace(baseline, labels=~baseline.labels)
    elif what == "groups":
        baseline = replace(baseline, groups={**baseline.groups, "sex": 1 - baseline.groups["sex"]})
    else:
        baseline = drawn(700)
    with pytest.raises(AuditError, match="rows of two models"):
        compare(candidate, baseline)


def test_auc_change_is_scikit_learns():
    candidate, baseline = drawn(), drawn(noise=0.3)
    expected = roc_auc_score(candidate.labels, candidate.scores) - roc_auc_score(baseline.labels, baseline.scores)
    assert compare(candidate, baseline).find("baseline/auc/change/overall").estimate.value == pytest.approx(expected)


def test_a_precision_that_rests_on_few_selected_rows_is_no_evidence():
    candidate, other = drawn(n=1000), drawn(n=1000)
    few = np.full(1000, 0.1, np.float32)
    few[np.flatnonzero(candidate.labels)[:2]] = 0.9
    report = compare(replace(candidate, scores=few), replace(other, scores=few[::-1].copy()))
    finding = report.find("baseline/precision/change/overall@0.5")
    assert finding.evidence == "insufficient"
    assert "predicts positive" in finding.reason


def test_a_change_of_auc_is_certain_for_the_same_scores_only():
    rows = drawn()
    same = compare(rows, rows).find("baseline/auc/change/overall")
    assert (same.estimate.value, same.estimate.lower, same.estimate.upper) == (0.0, 0.0, 0.0)
    assert same.evidence == "sufficient"
    perfect = np.where(rows.labels, 0.9, 0.1).astype(np.float32)
    other = np.where(rows.labels, 0.8, 0.3).astype(np.float32)
    found = compare(replace(rows, scores=perfect), replace(rows, scores=other)).find("baseline/auc/change/overall")
    assert found.estimate.value == 0.0
    assert found.estimate.lower < 0.0 < found.estimate.upper
