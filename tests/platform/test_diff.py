"""Two models of the same rows: differences, what may be said of them, and runs that cannot be compared."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest

from probity.audit_plan import AuditsConfig
from probity.audits.scoring import ScoredRows
from probity.audits.two_models import compare_models
from probity.digest import digest_bytes, digest_file
from probity.errors import DataError, DigestMismatchError
from probity.findings import Subject
from probity.platform.diff import diff, judge, words
from probity.platform.diff_plot import draw
from probity.runs import SCORED_ROWS

SUBJECT = Subject(model=digest_bytes(b"model"), examples=digest_bytes(b"examples"))
SETTINGS = AuditsConfig(min_group_size=20, thresholds=())


def rows(shift=0.0, *, n=2000, seed=1, for_women=0.0):
    rng = np.random.default_rng(seed)
    labels, women = rng.random(n) < 0.4, rng.random(n) < 0.5
    noise = rng.normal(size=n)
    other = np.random.default_rng(seed + 100).normal(size=n) * (shift + for_women * women)
    scores = 1 / (1 + np.exp(-(2.0 * labels - 1.0 + noise + other)))
    return ScoredRows(
        scores=scores.astype(np.float32),
        labels=labels,
        groups={"sex": (~women).astype(np.int32)},
        names={"sex": ("F", "M", "none")},
    )


def compared(candidate, reference):
    report = compare_models(candidate, reference, subject=SUBJECT, settings=SETTINGS, seed=1)
    return report, {finding.id: finding for finding in report.findings}


def test_a_model_is_no_different_from_itself():
    report, found = compared(rows(), rows())
    for finding in found.values():
        if finding.comparison == "change" and finding.estimate.value is not None:
            assert finding.estimate.value == pytest.approx(0.0, abs=1e-12)
            assert finding.estimate.lower <= 0.0 <= finding.estimate.upper
    assert found["comparison/mcnemar_p_value/overall@0.5"].estimate.value == 1.0
    assert {entry.verdict for entry in judge(report, threshold=0.5)} <= {"no evidence", "too small to say"}


def test_a_noisier_model_is_worse_and_mcnemar_is_the_binomial_test():
    worse, better = rows(1.5), rows()
    report, found = compared(worse, better)
    right = [(each.scores > 0.5) == each.labels for each in (worse, better)]
    only, other = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    assert found["comparison/mcnemar_p_value/overall@0.5"].estimate.value == pytest.approx(
        binomtest(only, only + other).pvalue
    )
    assert found["comparison/accuracy/change/overall@0.5"].estimate.value == pytest.approx((only - other) / len(worse))
    verdicts = {words(entry.finding): entry.verdict for entry in judge(report, threshold=0.5)}
    assert verdicts["auc"] == "worse"
    assert verdicts["log_loss"] == "worse"
    assert verdicts["accuracy at 0.5"] == "worse"


def test_whoever_lost_is_named_and_gaps_are_compared():
    report, found = compared(rows(for_women=2.5), rows())
    named = {words(entry.finding): entry.verdict for entry in judge(report, threshold=0.5)}
    assert named["accuracy, sex=F at 0.5"] == "worse"
    assert "accuracy, sex=M at 0.5" not in named
    gap = found["comparison/accuracy/change/sex@0.5"]
    assert gap.estimate.value > 0.05
    assert gap.evidence == "insufficient"  # the group without rows cannot be compared
    assert named["gap of accuracy across sex at 0.5"] == "too small to say"


@pytest.mark.heavy
def test_an_interval_of_a_change_of_gap_holds_at_least_as_often_as_it_says():
    held = 0
    for i in range(200):
        candidate, reference = rows(n=400, seed=1000 + i), rows(0.8, n=400, seed=1000 + i)
        for each in (candidate, reference):
            object.__setattr__(each, "names", {"sex": ("F", "M")})
        _, found = compared(candidate, reference)
        estimate = found["comparison/selection_rate/change/sex@0.5"].estimate
        # Sex has nothing to do with either score: the true gaps, and their change, are 0.
        held += estimate.lower <= 0.0 <= estimate.upper
    assert held / 200 >= 0.95


def folder(path, scored, *, examples=b"examples", name="run"):
    target = path / name
    (target / "08_audits").mkdir(parents=True)
    scored.write(target / SCORED_ROWS)
    files = {"test": SimpleNamespace(digest=digest_bytes(examples))}
    receipt = SimpleNamespace(outputs={SCORED_ROWS: digest_file(target / SCORED_ROWS)})
    return SimpleNamespace(
        id=name,
        path=target,
        examples=lambda: SimpleNamespace(files=files),
        dataset=lambda: SimpleNamespace(task="binary", intersections=()),
        config=lambda: SimpleNamespace(audits=SETTINGS, seed=1),
        model=lambda: SimpleNamespace(digest=digest_bytes(b"model")),
        receipt=lambda stage: receipt,
    )


def test_runs_on_other_rows_or_without_scores_or_with_edited_ones_are_refused(tmp_path):
    one = folder(tmp_path, rows(), name="one")
    other = folder(tmp_path, rows(), examples=b"other", name="other")
    with pytest.raises(DataError, match="other test rows"):
        diff(one, reference=other)
    edited = folder(tmp_path, rows(), name="edited")
    rows(1.0).write(edited.path / SCORED_ROWS)
    with pytest.raises(DigestMismatchError):
        diff(edited, reference=one)
    absent = folder(tmp_path, rows(), name="absent")
    (absent.path / SCORED_ROWS).unlink()
    with pytest.raises(DataError, match="no scored test rows"):
        diff(one, reference=absent)


def test_two_runs_are_compared_and_drawn(tmp_path):
    one, two = folder(tmp_path, rows(), name="one"), folder(tmp_path, rows(1.5), name="two")
    report = diff(two, reference=one)
    draw(tmp_path / "changes.svg", {"two": judge(report, threshold=0.5)}, reference="one")
    text = (tmp_path / "changes.svg").read_text()
    assert "Changes from one" in text
    assert "log_loss" in text
