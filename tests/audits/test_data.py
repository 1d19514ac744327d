"""The data audit."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from probity.audit_plan import AuditsConfig
from probity.audits.data import DataAudit
from probity.audits.testing import AuditContract, draw_rows, make_evidence
from probity.data import MISSING_GROUP


class TestDataAuditContract(AuditContract):
    def make_audit(self):
        return DataAudit()


def with_gaps(table):
    """Women's hours are missing twice as often as men's."""
    sex = table.column("sex").to_pylist()
    hours = [
        None if i % (3 if who == "Female" else 6) == 0 else value
        for i, (who, value) in enumerate(zip(sex, table.column("hours").to_pylist(), strict=True))
    ]
    return table.set_column(table.column_names.index("hours"), "hours", pa.array(hours, pa.float32()))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    import probity.audits.testing as kit

    folder = tmp_path_factory.mktemp("evidence")
    evidence = make_evidence(folder, rows=900)
    gaps = with_gaps(evidence.examples.table("test"))
    # The fixed model cannot score a gap; the audit looks at rows and labels only.
    path = evidence.examples.path("test")
    kit.write_table(path, gaps)
    from dataclasses import replace

    from probity.digest import digest_file

    entry = evidence.examples.files["test"].model_copy(update={"digest": digest_file(path)})
    examples = replace(evidence.examples, files={**evidence.examples.files, "test": entry})
    evidence = replace(evidence, examples=examples)
    return evidence, gaps, DataAudit().run(evidence, workdir=tmp_path_factory.mktemp("work"))


def mask(table, sex=None, race=None):
    rows = np.ones(table.num_rows, bool)
    for name, group in (("sex", sex), ("race", race)):
        if group is not None:
            wanted = None if group == MISSING_GROUP else group
            rows &= np.array([value == wanted for value in table.column(name).to_pylist()])
    return rows


def expect(report, finding, count, of):
    estimate = report.find(finding).estimate
    assert estimate.n == of
    assert estimate.value == pytest.approx(count / of)
    expected = binomtest(int(count), int(of)).proportion_ci(estimate.confidence, method="wilson")
    assert (estimate.lower, estimate.upper) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_missing_rates_by_hand(found):
    _, table, report = found
    gone = np.array([value is None for value in table.column("hours").to_pylist()])
    expect(report, "data/missing_rate/hours/overall", gone.sum(), 900)
    for group in ("Female", "Male", MISSING_GROUP):
        rows = mask(table, sex=group)
        expect(report, f"data/missing_rate/hours/sex={group}", gone[rows].sum(), rows.sum())
    women, men = (report.find(f"data/missing_rate/hours/sex={group}").estimate for group in ("Female", "Male"))
    assert women.lower > men.upper
    assert report.find("data/missing_rate/age/overall").estimate.value == 0.0
    assert report.find("data/missing_rate/age/age_band=<30") is None  # missing together with itself
    assert report.find("data/missing_rate/sex/overall") is None  # no feature


def test_shares_and_base_rates_by_hand(found):
    _, table, report = found
    positive = np.array(table.column("income").to_pylist()) == "yes"
    expect(report, "data/positive_label_rate/overall", positive.sum(), 900)
    for sex in ("Female", MISSING_GROUP):
        for race in ("A", "B"):
            rows = mask(table, sex=sex, race=race)
            expect(report, f"data/group_share/sex={sex},race={race}", rows.sum(), 900)
            expect(report, f"data/positive_label_rate/sex={sex},race={race}", positive[rows].sum(), rows.sum())
    shares = [entry for entry in report.findings if entry.metric == "group_share"]
    assert sum(entry.estimate.value for entry in shares if set(entry.slice) == {"sex"}) == pytest.approx(1)
    assert len(shares) == 4 + 3 + 3 + 4 * 3


def test_an_empty_group_stays_visible(found):
    _, _, report = found
    share = report.find("data/group_share/sex=Unseen")
    assert (share.estimate.value, share.estimate.n, share.evidence) == (0.0, 900, "insufficient")
    rate = report.find("data/positive_label_rate/sex=Unseen")
    assert (rate.estimate.value, rate.estimate.lower, rate.estimate.n) == (None, None, 0)
    assert rate.reason == "no row of the test split belongs to this group"
    assert report.find("data/missing_rate/hours/sex=Unseen").evidence == "insufficient"
    assert report.find("data/positive_label_rate/sex=Unseen,race=A").evidence == "insufficient"


def test_a_small_group_keeps_its_number_and_gives_no_verdict(found):
    evidence, table, report = found
    rows = int(mask(table, race="Rare").sum())
    assert 0 < rows < evidence.settings.min_group_size
    finding = report.find("data/positive_label_rate/race=Rare")
    assert finding.estimate.n == rows
    assert finding.evidence == "insufficient"
    assert finding.reason == f"{rows} rows, fewer than audits.min_group_size (20)"


def test_proxies(found):
    _, _, report = found
    age = report.find("data/proxy_strength/age/sex")
    assert age.across == ("sex",)
    assert age.neutral == 0.5
    assert age.estimate.lower < 0.6
    assert "of 4 groups left out" in age.reason
    assert report.find("data/proxy_strength/age/age_band") is None
    gaps = report.find("data/proxy_strength/hours/sex")
    assert gaps.estimate.value > age.estimate.value
    assert {entry.feature for entry in report.findings if entry.metric == "proxy_strength"} == {"age", "hours"}


def test_too_few_rows_for_any_proxy(tmp_path):
    evidence = make_evidence(tmp_path, table=draw_rows(30, seed=1), settings=AuditsConfig(min_group_size=100))
    report = DataAudit().run(evidence, workdir=tmp_path)
    strengths = [entry for entry in report.findings if entry.metric == "proxy_strength"]
    assert strengths
    assert all(entry.estimate.value is None and entry.evidence == "insufficient" for entry in strengths)
