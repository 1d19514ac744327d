"""Which rules can be checked, and so be asked for."""

import math

import pytest

from probity.config_file import parse_config
from tests.configs import MINIMAL, refused, with_rules


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, "none"),
        ({"at_least": 0.5, "at_most": 0.9}, "at_least, at_most"),
        ({"at_least": math.nan}, "NaN"),
        ({"gap_at_most": 0.1}, "across"),
        ({"ratio_at_least": 0.8}, "across"),
        ({"at_least": 0.5, "across": "sex"}, "across"),
        ({"gap_at_most": 0.1, "across": "sex", "slice": {"sex": "Female"}}, "not both"),
        ({"gap_at_most": 0.1, "across": "sxe"}, "did you mean 'sex'"),
        ({"at_least": 0.5, "slice": {"sxe": "Female"}}, "did you mean 'sex'"),
        ({"gap_at_most": 0.1, "across": ["sex", "age"]}, "intersection"),
        ({"at_least": 0.5, "slice": {"sex": "Female", "age": "<25"}}, "intersection"),
        ({"at_least": 0.5, "threshold": 0.3}, "audits.thresholds"),
        ({"at_least": 0.5, "threshold": 1.0}, "less than 1"),
        ({"ratio_at_least": 1.5, "across": "sex"}, "1"),
        ({"gap_at_most": -0.1, "across": "sex"}, "0"),
        ({"gap_at_most": math.inf, "across": "sex"}, "finite"),
        ({"metric": "acuracy", "at_least": 0.5}, "did you mean 'accuracy'"),
        ({"metric": "mean_abs_shap", "at_least": 0.5}, "unknown metric"),
        ({"metric": "auc", "at_least": 0.5, "threshold": 0.5}, "rates only"),
        ({"metric": "log_loss", "change_from_baseline_at_least": -0.1}, "use change_from_baseline_at_most"),
        ({"metric": "false_positive_rate", "change_from_unmitigated_at_least": 0}, "unmitigated_at_most"),
        ({"metric": "auc", "change_from_baseline_at_most": 0.1}, "use change_from_baseline_at_least"),
        ({"metric": "representation_ratio", "at_least": 0.8}, "give a slice"),
        ({"metric": "representation_ratio", "gap_at_most": 0.8, "across": "sex"}, "give a slice"),
        ({"metric": "representation_ratio", "at_least": 0.8, "slice": {"sex": "Female"}}, "reference"),
        ({"metric": "edge_case_accuracy", "at_least": 1}, "name it under audits.edge_cases"),
        ({"metric": "edge_case_accuracy", "at_least": 1, "slice": {"sex": "Female"}}, "a fixed list"),
        ({"metric": "edge_case_accuracy", "gap_at_most": 0, "across": "sex"}, "a fixed list"),
        ({"metric": "edge_case_accuracy", "change_from_baseline_at_least": 0}, "a fixed list"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_checked_is_refused(rule, words):
    whole = {"name": "r", "metric": "accuracy", **rule}
    assert words in str(refused(with_rules(whole, sensitive=["sex", "race", "age"], intersections=[["sex", "race"]])))


def test_two_rules_with_one_name_are_refused():
    rule = {"name": "r", "metric": "auc", "at_least": 0.5}
    assert "twice" in str(refused(with_rules(rule, rule)))


def test_limits_that_are_meant():
    rules = [
        {"name": "any epsilon", "metric": "epsilon", "at_most": "Infinity"},
        {"name": "reversed", "metric": "accuracy", "across": ["race", "sex"], "gap_at_most": 0.0},
        {"name": "cell", "metric": "accuracy", "slice": {"sex": "Female", "race": "White"}, "at_least": 0.0},
    ]
    config = parse_config(with_rules(*rules, sensitive=["sex", "race"], intersections=[["sex", "race"]]))
    assert config.gate.rules[0].at_most == math.inf
    assert parse_config(MINIMAL).gate.rules == ()
