"""The vocabulary: one term for one thing, and the terms that scripts rely on."""

import re

import pytest

from probity.metric import METRICS, Direction, MetricKind, metric

PROMISED = [
    "accuracy",
    "auc",
    "log_loss",
    "precision",
    "true_positive_rate",
    "false_positive_rate",
    "true_negative_rate",
    "false_negative_rate",
    "selection_rate",
    "calibration_error",
    "example_count",
    "epsilon",
    "delta",
    "membership_auc",
    "membership_advantage",
    "audited_epsilon_lower_bound",
    "representation_ratio",
]

PROMISED_FOR_EVERY_TASK = ["model_size_bytes", "serving_latency_p95_ms"]

PROMISED_FOR_OUTCOMES = ["edge_case_accuracy", "edge_case_count"]  # no number is an outcome that must come out

PROMISED_FOR_OTHER_TASKS = [
    "mean_absolute_error",
    "root_mean_squared_error",
    "mean_squared_error",
    "mean_absolute_percentage_error",
    "r_squared",
    "mean_residual",
    "mean_prediction",
    "favourable_rate",
]


def test_the_promised_metrics_can_be_gated_and_no_others():
    gateable = {name: entry for name, entry in METRICS.items() if entry.gateable}
    assert sorted(gateable) == sorted(
        PROMISED + PROMISED_FOR_OTHER_TASKS + PROMISED_FOR_EVERY_TASK + PROMISED_FOR_OUTCOMES
    )
    assert sorted(name for name, entry in gateable.items() if "binary" in entry.tasks) == sorted(
        PROMISED + PROMISED_FOR_EVERY_TASK + PROMISED_FOR_OUTCOMES
    )


def test_every_entry_is_filed_under_its_name_and_defined():
    for name, entry in METRICS.items():
        assert entry.name == name
        assert re.fullmatch(r"[a-z]+(_[a-z]+|_p\d+)*", name)
        assert len(entry.definition) > 5


def test_complementary_rates_point_in_opposite_directions():
    for one, other in (("true_positive_rate", "false_negative_rate"), ("true_negative_rate", "false_positive_rate")):
        assert {metric(one).direction, metric(other).direction} == {
            Direction.HIGHER_IS_BETTER,
            Direction.LOWER_IS_BETTER,
        }


def test_selecting_more_people_is_neither_better_nor_worse():
    assert metric("selection_rate").direction is Direction.NEITHER


def test_rates_are_what_needs_a_threshold():
    rates = {name for name, entry in METRICS.items() if entry.kind is MetricKind.RATE}
    assert rates == {name for name in PROMISED if name.endswith("_rate")} | {"accuracy", "precision"}


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        metric("acuracy")
