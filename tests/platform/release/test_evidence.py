"""Tests for probity.platform.release.evidence: what no longer counts when the gate decides again."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from probity.config import Rule
from probity.decision import GatePolicy
from probity.findings import AuditReport, Subject
from probity.history import HistoryEntry, Promoted
from probity.platform.release.evidence import expired_audits, outdated_comparison

CANDIDATE, EARLIER, LATER, ROWS = (f"sha256:{letter * 64}" for letter in "abcd")
NO_REGRESSION = Rule(name="no regression", metric="auc", change_from_baseline_at_least=-0.01)
FLOOR = Rule(name="floor", metric="auc", at_least=0.8)


def policy(*rules):
    return GatePolicy(rules=rules, decision_threshold=0.5, attributes={}, required_reports=("baseline",))


def promoted(model, version=7):
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    event = Promoted(at=at, by="kim", run="another", version=version, claims=ROWS)
    return HistoryEntry(number=1, event=event, model=model, keyid="k", digest=ROWS)


def run(against, *, release=None):
    """A finished run whose baseline audit compared with this model."""
    status = "complete" if against else "not_applicable"
    subject = Subject(model=CANDIDATE, examples=ROWS, baseline=against)
    report = AuditReport(audit="baseline", status=status, subject=subject, reasons=("none was released",))
    return SimpleNamespace(
        reports=lambda: {"baseline": report}, release=lambda: release, model=lambda: SimpleNamespace(digest=CANDIDATE)
    )


@pytest.mark.parametrize(("against", "seen"), [(None, "no release"), (EARLIER, "another release")])
def test_a_comparison_does_not_count_once_another_model_is_live(against, seen):
    """While the run waited, another one was released; or the live version's folder was gone when it was audited."""
    found = outdated_comparison(run(against), policy(FLOOR, NO_REGRESSION), [promoted(LATER)])
    assert list(found) == ["baseline"]
    assert "version 7 is live" in found["baseline"]
    assert seen in found["baseline"]


@pytest.mark.parametrize(
    ("folder", "rules", "history"),
    [
        (run(None), (NO_REGRESSION,), []),
        (run(EARLIER), (NO_REGRESSION,), [promoted(EARLIER)]),
        (run(EARLIER), (NO_REGRESSION,), [promoted(EARLIER), promoted(CANDIDATE, 8)]),
        (run(EARLIER), (FLOOR,), [promoted(LATER)]),
        (run(EARLIER, release="itself"), (NO_REGRESSION,), [promoted(LATER)]),
    ],
    ids=["first release", "still live", "the candidate is live", "no rule compares", "released already"],
)
def test_a_comparison_counts_while_what_it_saw_is_live(folder, rules, history):
    assert outdated_comparison(folder, policy(*rules), history) == {}


def test_evidence_that_may_expire_and_has_no_date_does_not_count():
    asked = policy(FLOOR).model_copy(update={"expires_after_days": {"fairness": 30}})
    undated = SimpleNamespace(id="r", receipts=list)
    assert list(expired_audits(undated, asked, ((), ()), now=datetime(2026, 1, 1, tzinfo=UTC))) == ["fairness"]
