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
    assert scores_of(json.dumps(body).encode()) == (0.25, 0.75)
    answer = read_answer(PLAN, status=200, body=json.dumps(body).encode(), milliseconds=3.0)
    assert (answer.failed, answer.favourable, answer.milliseconds) == (False, (False, True), 3.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b'{"predictions": [[0.1, 0.9]]}',
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
