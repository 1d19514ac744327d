"""The search for a threshold against a naive loop over the eval rows."""

from types import SimpleNamespace

import numpy as np
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits.testing import make_evidence
from probity.decision import GatePolicy
from probity.errors import ConfigError
from probity.platform.thresholds import search
from probity.rule import Rule

FLOOR = Rule(name="floor", metric="auc", at_least=0.5)
GAP = Rule(name="gap", metric="selection_rate", across="sex", gap_at_most=0.05)
RECALL = Rule(name="recall", metric="true_positive_rate", slice={"sex": "Female"}, at_least=0.5)
FIXED = Rule(name="fixed", metric="accuracy", at_least=0.1, threshold=0.5)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(tmp_path_factory.mktemp("evidence"), rows=500)


def folder(evidence, tmp_path, rules):
    link = tmp_path / "07_model"
    if not link.exists():
        link.symlink_to(evidence.model_folder)
    config = SimpleNamespace(
        gate=SimpleNamespace(rules=rules), audits=AuditsConfig(min_group_size=20, decision_threshold=0.5)
    )
    return SimpleNamespace(
        path=tmp_path,
        config=lambda: config,
        dataset=lambda: evidence.dataset,
        examples=lambda: evidence.examples,
        model=lambda: evidence.model,
    )


def policy(rules, judged_by="estimate"):
    names = {"sex": ("Female", "Male")}
    return GatePolicy(rules=rules, decision_threshold=0.5, attributes=names, required_reports=(), judged_by=judged_by)


def test_each_threshold_is_judged_as_a_loop_over_the_rows_judges_it(evidence, tmp_path):
    rules = (FLOOR, RECALL, FIXED)
    found = search(folder(evidence, tmp_path, rules), policy=policy(rules))
    from probity.audits.scoring import score

    rows = score(evidence.model_folder, dataset=evidence.dataset, examples=evidence.examples, split="eval")
    women = rows.groups["sex"] == 0
    assert found.untouched == ("floor", "fixed")
    assert found.rows == len(rows)
    for candidate in found.candidates:
        chosen = rows.scores.astype(float) > candidate.threshold
        recall = chosen[women & rows.labels].mean()
        assert candidate.outcomes == {"recall": "pass" if recall >= 0.5 else "fail"}
        assert candidate.costs["accuracy"] == pytest.approx((chosen == rows.labels).mean())
        assert candidate.costs["selection_rate"] == pytest.approx(chosen.mean())
    assert found.current.threshold == 0.5
    assert found.proposal.satisfies
    best = max(candidate.costs["accuracy"] for candidate in found.satisfying)
    assert found.proposal.costs["accuracy"] == best


def test_judged_by_the_interval_fewer_thresholds_satisfy(evidence, tmp_path):
    rules = (RECALL,)
    by_value, by_interval = (
        {c.threshold for c in search(folder(evidence, tmp_path, rules), policy=policy(rules, by)).satisfying}
        for by in ("estimate", "interval")
    )
    assert by_interval < by_value


def test_a_rule_on_a_change_is_no_question_of_the_threshold(evidence, tmp_path):
    change = Rule(name="change", metric="accuracy", slice={"sex": "Female"}, change_from_unmitigated_at_least=-0.1)
    found = search(folder(evidence, tmp_path, (RECALL, change)), policy=policy((RECALL, change)))
    assert found.untouched == ("change",)


def test_joint_intervals_decide_where_the_policy_asks_for_them(evidence, tmp_path):
    rules = (RECALL, Rule(name="accurate", metric="accuracy", at_least=0.5))
    alone, together = (
        {c.threshold for c in search(folder(evidence, tmp_path, rules), policy=policy(rules, by)).satisfying}
        for by in ("interval", "joint_interval")
    )
    assert together < alone


def test_where_no_threshold_will_do_the_nearest_is_named(evidence, tmp_path):
    impossible = Rule(name="impossible", metric="accuracy", at_least=0.999)
    rules = (impossible, RECALL)
    found = search(folder(evidence, tmp_path, rules), policy=policy(rules))
    assert found.satisfying == ()
    assert not found.proposal.satisfies
    assert found.proposal.outcomes["recall"] == "pass"


def test_gaps_are_judged_too(evidence, tmp_path):
    found = search(folder(evidence, tmp_path, (GAP,)), policy=policy((GAP,)))
    # Everybody is selected at 0: no gap there, though a group without rows makes no verdict possible.
    assert {outcome for c in found.candidates for outcome in c.outcomes.values()} <= {
        "pass", "fail", "insufficient_evidence",
    }  # fmt: skip
    assert np.all([c.outcomes["gap"] != "pass" for c in found.candidates])  # sex=Unseen has no rows


def test_without_a_rule_on_a_rate_or_eval_rows_there_is_nothing_to_look_for(evidence, tmp_path):
    with pytest.raises(ConfigError, match="no rule on a rate"):
        search(folder(evidence, tmp_path, (FLOOR,)), policy=policy((FLOOR,)))
    empty = folder(evidence, tmp_path, (RECALL,))
    files = {name: entry for name, entry in evidence.examples.files.items() if name != "eval"}
    empty.examples = lambda: SimpleNamespace(files=files)
    with pytest.raises(ConfigError, match="eval"):
        search(empty, policy=policy((RECALL,)))
