"""Answers of TensorFlow Serving's REST API, in every form."""

import json

import pytest

from probity.platform.rollout.answers import read_answer, scores_of
from probity.rollout import RolloutPlan

PLAN = RolloutPlan(model_name="m", incumbent=1, candidate=2, decision_threshold=0.5)


@pytest.mark.parametrize(
    "body",
    [
        {"predictions": [[0.25], [0.75]]},
        {"predictions": [0.25, 0.75]},
        {"predictions": [{"scores": [0.25]}, {"scores": [0.75]}]},
        {"outputs": [[0.25], [0.75]]},
        {"outputs": {"scores": [[0.25], [0.75]]}},
        {"results": [0.25, 0.75]},
        {"results": [[["yes", 0.25]], [["yes", 0.75]]]},
    ],
)
def test_every_form_of_one_score_for_a_row(body):
    assert scores_of(json.dumps(body).encode()) == ((0.25,), (0.75,))
    answer = read_answer(PLAN, status=200, body=json.dumps(body).encode(), milliseconds=3.0)
    assert (answer.failed, answer.favourable, answer.milliseconds) == (False, (False, True), 3.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b'{"predictions": [[0.1, 0.9]]}',
        b'{"predictions": [[0.1], [0.1, 0.9]]}',
        b'{"predictions": [[[0.1, 0.9]]]}',
        b'{"results": [[["no", 0.1], ["yes", 0.9]]]}',
        b'{"other": 1}',
    ],
)
def test_other_answers_have_no_outcome_and_are_no_failure(body):
    answer = read_answer(PLAN, status=200, body=body, milliseconds=1.0)
    assert (answer.failed, answer.favourable) == (False, ())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (None, b""),
        (400, b'{"error": ""}'),
        (503, b""),
        (200, b'{"predictions": [NaN]}'),
        (200, b'{"predictions": [null]}'),
    ],
)
def test_failures(status, body):
    assert read_answer(PLAN, status=status, body=body, milliseconds=1.0).failed


def test_the_favourable_outcome_may_be_the_negative_one_and_the_threshold_is_strict():
    plan = PLAN.model_copy(update={"favourable_outcome": "negative"})
    body = b'{"predictions": [0.5, 0.6]}'
    assert read_answer(PLAN, status=200, body=body, milliseconds=1.0).favourable == (False, True)
    assert read_answer(plan, status=200, body=body, milliseconds=1.0).favourable == (True, False)


CLASSES = RolloutPlan(
    model_name="m",
    incumbent=1,
    candidate=2,
    task="multiclass",
    decision_threshold=None,
    classes=("no", "later", "yes"),
    favourable=("later", "yes"),
)


@pytest.mark.parametrize(
    "body",
    [
        {"predictions": [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.4, 0.4, 0.2]]},
        {"predictions": [{"scores": [0.5, 0.25, 0.25]}, {"scores": [0.25, 0.5, 0.25]}, {"scores": [0.4, 0.4, 0.2]}]},
        {"outputs": {"scores": [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.4, 0.4, 0.2]]}},
        {"results": [[["0", top], ["1", mid], ["2", low]] for top, mid, low in ((5, 2, 2), (2, 5, 2), (4, 4, 2))]},
    ],
)
def test_the_class_with_the_highest_score_is_favourable_or_not_and_the_first_of_equal_ones_counts(body):
    answer = read_answer(CLASSES, status=200, body=json.dumps(body).encode(), milliseconds=1.0)
    assert (answer.failed, answer.favourable) == (False, (False, True, False))


def test_one_score_that_is_no_number_is_a_failure_of_the_whole_answer():
    assert read_answer(CLASSES, status=200, body=b'{"predictions": [[0.1, NaN, 0.9]]}', milliseconds=1.0).failed


@pytest.mark.parametrize("body", [b'{"predictions": [[0.3, 0.7]]}', b'{"predictions": [0.3]}'])
def test_scores_of_other_classes_are_no_outcome(body):
    answer = read_answer(CLASSES, status=200, body=body, milliseconds=1.0)
    assert (answer.failed, answer.favourable) == (False, ())


def test_without_a_word_on_who_benefits_only_the_server_is_compared():
    for changes in ({"task": "regression"}, {"task": "multiclass", "classes": ("a", "b")}):
        plan = RolloutPlan(model_name="m", incumbent=1, candidate=2, decision_threshold=None, **changes)
        assert plan.compared == (("error_rate", None), ("slow_rate", None))
        assert read_answer(plan, status=200, body=b'{"predictions": [7.5]}', milliseconds=1.0).favourable == ()
        with pytest.raises(ValueError, match="compared by favourable outcomes"):
            RolloutPlan.model_validate({**plan.to_json(), "groups": ["sex=Female"]})


def test_a_number_is_decided_at_the_threshold_that_was_given():
    plan = RolloutPlan(model_name="m", incumbent=1, candidate=2, task="regression", decision_threshold=40.0)
    assert read_answer(plan, status=200, body=b'{"predictions": [39.5, 40.5]}', milliseconds=1.0).favourable == (
        False,
        True,
    )
