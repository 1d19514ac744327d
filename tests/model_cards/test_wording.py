import math

import pytest

from probity.model_cards.wording import rule_text, value_text
from probity.rule import Rule


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (None, "auc", "\N{EN DASH}"),
        (math.inf, "epsilon", "∞"),
        (0.0, "auc", "0"),
        (0.12345, "auc", "0.123"),
        (-0.5, "auc", "\N{MINUS SIGN}0.500"),
        (7.6e-6, "additivity_error", "7.6e-06"),
        (9768.0, "example_count", "9,768"),
        (12.0, "example_count", "12"),
        (12345.6, "log_loss", "12,346"),
    ],
)
def test_value_text(value, metric, text):
    assert value_text(value, metric) == text


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"metric": "auc", "at_least": 0.88}, "AUC at least 0.88"),
        ({"metric": "epsilon", "at_most": 3}, "epsilon at most 3"),
        (
            {"metric": "selection_rate", "across": ["sex", "race"], "ratio_at_least": 0.8, "threshold": 0.5},
            "selection rate at threshold 0.5: ratio across sex \N{MULTIPLICATION SIGN} race at least 0.8",
        ),
        (
            {"metric": "auc", "change_from_baseline_at_least": -0.01},
            "AUC: change from the released model at least -0.01",
        ),
        (
            {"metric": "accuracy", "slice": {"sex": "F"}, "change_from_unmitigated_at_least": -0.02},
            "accuracy for F: change from the model without mitigation at least -0.02",
        ),
        ({"metric": "accuracy", "slice": {"sex": "F"}, "at_least": 0.7}, "accuracy for F at least 0.7"),
    ],
)
def test_rule_text(rule, text):
    assert rule_text(Rule(name="r", **rule)) == text
