"""The state machine: forwards one stage at a time, back from anywhere, and final ends."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.platform.rollout.comparison import Answer, Watch
from probity.platform.rollout.stages import ended, moved, seen, started, waiting_for
from probity.rollout import RolloutPlan, RolloutState

NOW = datetime(2026, 1, 2, tzinfo=UTC)
GOOD, BAD = Answer(failed=False, milliseconds=1, favourable=(True,)), Answer(failed=True, milliseconds=1)
WOMEN = (frozenset({"sex=Female"}),)
PLAN = RolloutPlan(
    model_name="m", incumbent=1, candidate=2, groups=("sex=Female",), requests_per_stage=100, requests_per_group=10
)


def after(state, *, answers, candidate=GOOD, groups=WOMEN):
    watch = Watch(state.plan)
    for _ in range(answers):
        watch.pair(candidate, GOOD, groups=groups)
    return seen(state, watch.comparisons())


def test_a_rollout_without_harm_goes_through_every_stage():
    state, shares = started(PLAN, now=NOW), []
    while state.status == "running":
        shares.append((state.stage, state.candidate_share))
        state = moved(after(state, answers=100), now=NOW)
    assert shares == [("shadow", 0.0), ("1%", 0.01), ("10%", 0.1), ("50%", 0.5), ("100%", 1.0)]
    assert (state.status, state.candidate_share) == ("completed", 1.0)
    assert [entry.to for entry in state.transitions] == ["shadow", "1%", "10%", "50%", "100%", "completed"]
    assert len(state.evidence) == 5


@pytest.mark.parametrize("step", range(5))
def test_harm_rolls_back_from_any_stage(step):
    state = started(PLAN, now=NOW)
    for _ in range(step):
        state = moved(after(state, answers=100), now=NOW)
    state = moved(after(state, answers=100, candidate=BAD), now=NOW)
    assert (state.status, state.candidate_share) == ("rolled_back", 0.0)
    assert "error_rate rose by 1.000" in state.transitions[-1].reason
    assert "0.01 is tolerated" in state.transitions[-1].reason
    assert moved(after(state, answers=100), now=NOW).status == "rolled_back"


def test_too_few_answers_stay():
    state = after(started(PLAN, now=NOW), answers=99)
    assert moved(state, now=NOW) == state
    assert waiting_for(state) == ("99 of 100 answers of the candidate",)


def test_a_group_that_nobody_sees_keeps_the_rollout_where_it_is():
    state = after(started(PLAN, now=NOW), answers=500, groups=(frozenset(),))
    assert moved(state, now=NOW).stage == "shadow"
    assert waiting_for(state) == ("0 of 10 requests of sex=Female",)


def test_a_group_that_was_met_in_the_shadow_counts_later():
    state = moved(after(started(PLAN, now=NOW), answers=100), now=NOW)
    assert waiting_for(after(state, answers=100, groups=(frozenset(),))) == ()


def test_a_final_state_is_final():
    stopped = ended(started(PLAN, now=NOW), "stopped", reason="on second thoughts", now=NOW)
    assert ended(stopped, "completed", reason="", now=NOW) is stopped
    assert moved(stopped, now=NOW) is stopped
    assert stopped.candidate_share == 0.0


@given(st.lists(st.tuples(st.sampled_from(["good", "bad", "none"]), st.booleans()), max_size=12))
@settings(max_examples=25, deadline=None)
def test_whatever_is_seen_and_whenever_it_is_killed_the_path_is_one_of_the_machine(events):
    state = started(PLAN, now=NOW)
    for kind, killed in events:
        answers = 0 if kind == "none" else 100
        state = moved(after(state, answers=answers, candidate=BAD if kind == "bad" else GOOD), now=NOW)
        if killed:
            state = RolloutState.from_json(state.to_json())
    path = [entry.to for entry in state.transitions]
    stages = [name for name in path if name in PLAN.steps]
    assert stages == list(PLAN.steps[: len(stages)])
    assert len(path) - len(stages) <= 1
    assert "rolled_back" not in path or "bad" in [kind for kind, _ in events]
