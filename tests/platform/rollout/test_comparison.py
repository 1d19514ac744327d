"""Answers become differences: pairs in the shadow, blocks in a canary."""

import pytest

from probity.platform.rollout.comparison import Answer, Watch, is_harmed
from probity.rollout import RolloutPlan

PLAN = RolloutPlan(model_name="m", incumbent=1, candidate=2, groups=("sex=Female", "sex=Male"))
WOMAN, MAN = frozenset({"sex=Female"}), frozenset({"sex=Male"})


def answer(*favourable, failed=False, milliseconds=5.0):
    return Answer(failed=failed, milliseconds=milliseconds, favourable=favourable)


def named(watch):
    return {entry.name: entry for entry in watch.comparisons()}


def test_a_pair_is_one_difference_of_each_rate():
    watch = Watch(PLAN)
    watch.pair(answer(False, True), answer(True, True, milliseconds=500), groups=(WOMAN, MAN))
    found = named(watch)
    assert found["selection_rate of sex=Female"].running.mean == -1.0
    assert found["selection_rate of sex=Male"].running.mean == 0.0
    assert found["selection_rate"].running.mean == -0.5  # the request is the unit: its rows are one observation
    assert found["slow_rate"].running.mean == -1.0
    assert found["error_rate"].running.mean == 0.0


def test_a_request_without_the_group_says_nothing_about_it():
    watch = Watch(PLAN)
    watch.pair(answer(True), answer(True), groups=(WOMAN,))
    assert named(watch)["selection_rate of sex=Male"].running.n == 0
    assert named(watch)["selection_rate of sex=Male"].candidate_requests == 0


def test_a_failed_answer_is_an_error_and_no_outcome():
    watch = Watch(PLAN)
    watch.pair(answer(failed=True), answer(True), groups=(WOMAN,))
    found = named(watch)
    assert found["error_rate"].running.mean == 1.0
    assert found["selection_rate"].running.n == 0
    assert found["selection_rate"].incumbent_requests == 1


def test_a_block_ends_when_both_have_answered():
    watch = Watch(PLAN)
    for chosen in (True, False, True, True):
        watch.single(answer(chosen), by_candidate=False, groups=(WOMAN,))
    assert named(watch)["selection_rate"].running.n == 0
    watch.single(answer(False), by_candidate=True, groups=(WOMAN,))
    assert named(watch)["selection_rate"].running.mean == -0.75
    watch.single(answer(True), by_candidate=True, groups=(WOMAN,))  # the next block has begun
    assert named(watch)["selection_rate"].running.n == 1
    assert named(watch)["selection_rate"].candidate_requests == 2


def test_an_interrupted_stage_goes_on_where_it_was():
    watch = Watch(PLAN)
    for _ in range(30):
        watch.pair(answer(False), answer(True), groups=(WOMAN,))
    again = Watch(PLAN, watch.comparisons())
    assert again.comparisons() == watch.comparisons()
    again.pair(answer(False), answer(True), groups=(WOMAN,))
    assert named(again)["selection_rate"].running.n == 31


@pytest.mark.parametrize(
    ("worse", "better", "metric"),
    [
        (answer(False), answer(True), "selection_rate"),
        (answer(failed=True), answer(True), "error_rate"),
        (answer(True, milliseconds=300), answer(True), "slow_rate"),
    ],
)
def test_harm_has_a_direction(worse, better, metric):
    harmed, unharmed = Watch(PLAN), Watch(PLAN)
    for _ in range(100):
        harmed.pair(worse, better, groups=(MAN,))
        unharmed.pair(better, worse, groups=(MAN,))
    assert metric in {entry.metric for entry in harmed.harmed()}
    assert not unharmed.harmed()


def test_harm_is_a_bound_beyond_the_tolerance():
    watch = Watch(PLAN)
    for number in range(200):
        watch.pair(answer(number % 10 > 0), answer(True), groups=(WOMAN,))
        entry = named(watch)["selection_rate"]
        assert is_harmed(entry, PLAN) == (entry.upper <= -PLAN.tolerance.selection_drop)
