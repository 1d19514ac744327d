"""Regulatory tables: numbers by hand, against fairlearn and SciPy, and what must stay visible."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from fairlearn import metrics as fairlearn
from scipy import stats

from probity.audit_plan import AuditsConfig
from probity.audits import regulatory
from probity.audits.regulatory import RegulatoryAudit
from probity.audits.scoring import ScoredRows
from probity.audits.testing import AuditContract
from probity.data import MISSING_GROUP, SensitiveAttribute
from probity.digest import digest_bytes
from probity.errors import AuditError
from probity.findings import Subject

SUBJECT = Subject(model=digest_bytes(b"model"), examples=digest_bytes(b"examples"))


class TestContract(AuditContract):
    def make_audit(self):
        return RegulatoryAudit()


def rows_of(*groups):
    """Rows of groups, each given as ((sex, race), selected, of)."""
    scores, sex, race = [], [], []
    for (first, second), selected, of in groups:
        scores += [0.9] * selected + [0.1] * (of - selected)
        sex += [first] * of
        race += [second] * of
    names = {"sex": ("f", "m", "x", MISSING_GROUP), "race": ("a", "b")}
    codes = {
        "sex": np.array([names["sex"].index(value) for value in sex], np.int32),
        "race": np.array([names["race"].index(value) for value in race], np.int32),
    }
    return ScoredRows(
        scores=np.array(scores, np.float32), labels=np.zeros(len(scores), bool), groups=codes, names=names
    )


ROWS = rows_of(
    (("f", "a"), 30, 100),
    (("f", "b"), 20, 100),
    (("m", "a"), 60, 100),
    (("m", "b"), 50, 100),
    (("x", "a"), 1, 3),
    ((MISSING_GROUP, "a"), 7, 9),
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the tables on rows without a model: the reasons for predictions have tests of their own."""

    def no_model(evidence):
        raise AuditError("model", seen="no model here", allowed="one", remedy="train one")

    monkeypatch.setattr(regulatory, "find_reasons", no_model)

    def run(rows=ROWS, *, favourable="positive", minimum=20):
        attributes = tuple(SensitiveAttribute(name=n, column=n, groups=groups) for n, groups in rows.names.items())
        evidence = SimpleNamespace(
            dataset=SimpleNamespace(
                name="<people>",
                sensitive=attributes,
                slices=lambda: ((), ("sex",), ("race",), ("sex", "race")),
                favourable_outcome=favourable,
            ),
            scored=rows,
            settings=AuditsConfig(min_group_size=minimum),
            subject=SUBJECT,
        )
        return RegulatoryAudit().run(evidence, workdir=tmp_path)

    return run


def value(report, finding):
    return report.find(f"regulatory/{finding}").estimate.value


def test_rates_and_impact_ratios_by_hand(run):
    report = run()
    assert value(report, "favourable_rate/sex=f@0.5") == 50 / 200
    assert value(report, "favourable_rate/sex=m@0.5") == 110 / 200
    assert value(report, "impact_ratio/sex=m@0.5") == 1.0
    assert value(report, "impact_ratio/sex=f@0.5") == pytest.approx(50 / 110)
    assert value(report, "impact_ratio/sex=f,race=b@0.5") == pytest.approx(20 / 60)


def test_selection_rates_equal_fairlearns(run):
    report, known = run(), ROWS.groups["sex"] != 3
    names = np.array(ROWS.names["sex"])[ROWS.groups["sex"]]
    frame = fairlearn.MetricFrame(
        metrics=fairlearn.selection_rate,
        y_true=ROWS.labels[known],
        y_pred=(ROWS.scores > 0.5)[known],
        sensitive_features=names[known],
    )
    for group, rate in frame.by_group.items():
        assert value(report, f"favourable_rate/sex={group}@0.5") == pytest.approx(rate, abs=1e-12)


def test_the_scoring_rate_is_the_share_above_the_median_of_all(run):
    draw = np.random.default_rng(2)
    rows = ScoredRows(
        scores=draw.random(400).astype(np.float32),
        labels=np.zeros(400, bool),
        groups={"sex": draw.integers(0, 2, 400).astype(np.int32), "race": draw.integers(0, 2, 400).astype(np.int32)},
        names=ROWS.names,
    )
    report = run(rows)
    above = rows.scores > np.median(rows.scores)
    rates = [above[rows.groups["sex"] == i].mean() for i in (0, 1)]
    assert [value(report, f"scoring_rate/sex={name}") for name in "fm"] == pytest.approx(rates)
    assert value(report, "scoring_impact_ratio/sex=f") == pytest.approx(rates[0] / max(rates))


def test_fishers_test_is_scipys_and_knows_equal_rates_from_different_ones(run):
    report = run()
    expected = stats.fisher_exact([[50, 150], [110, 90]]).pvalue
    assert value(report, "four_fifths_p_value/sex=f@0.5") == pytest.approx(expected)
    assert value(report, "four_fifths_p_value/sex=f@0.5") < 1e-6
    assert report.find("regulatory/four_fifths_p_value/sex=m@0.5") is None
    assert value(report, "four_fifths_p_value/race=b@0.5") > 0.01


def test_people_of_unknown_category_are_counted_and_in_no_ratio(run, tmp_path):
    report = run()
    assert value(report, f"example_count/sex={MISSING_GROUP}") == 9
    assert report.find(f"regulatory/impact_ratio/sex={MISSING_GROUP}@0.5") is None
    assert "unknown category, in no ratio: 9." in (tmp_path / "tables.html").read_text()


def test_a_category_below_two_percent_is_shown_and_marked(run, tmp_path):
    tiny = run().find("regulatory/impact_ratio/sex=x@0.5")
    assert tiny.evidence == "insufficient"
    assert "less than 2%" in tiny.reason
    assert tiny.estimate.value == pytest.approx((1 / 3) / (110 / 200))
    empty = run().find("regulatory/favourable_rate/sex=x,race=b@0.5")
    assert empty.estimate.value is None
    assert "no people" in empty.reason


def test_where_the_negative_prediction_benefits_a_person_it_is_the_one_that_selects(run):
    report = run(favourable="negative")
    assert value(report, "favourable_rate/sex=f@0.5") == 150 / 200
    assert value(report, "impact_ratio/sex=f@0.5") == 1.0


def test_no_selection_at_all_has_no_ratio(run):
    nobody = rows_of((("f", "a"), 0, 50), (("m", "b"), 0, 50))
    report = run(nobody)
    assert value(report, "favourable_rate/sex=f@0.5") == 0.0
    assert report.find("regulatory/impact_ratio/sex=f@0.5") is None


def test_the_interval_of_an_impact_ratio_holds_the_truth(run):
    held = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        rows = rows_of((("f", "a"), draw.binomial(200, 0.3), 200), (("m", "a"), draw.binomial(300, 0.5), 300))
        estimate = run(rows).find("regulatory/impact_ratio/sex=f@0.5").estimate
        held += estimate.lower <= 0.6 <= estimate.upper
    assert held >= 180


def test_every_number_of_the_page_names_its_finding_and_nothing_is_claimed(run, tmp_path):
    report = run()
    page = (tmp_path / "tables.html").read_text()
    cited = set(re.findall(r"<code>(regulatory/[^<]+)</code>", page))
    known = {finding.id.replace("<", "&lt;").replace(">", "&gt;") for finding in report.findings}
    assert cited <= known
    assert {name for name in known if "impact_ratio" in name} <= cited
    assert "below four fifths" in page
    assert "&lt;people&gt;" in page
    for word in ("complies", "compliant", "compliance", "legal"):
        assert word not in page.lower()
