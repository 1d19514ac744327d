import math

import pytest
from pydantic import ValidationError

from probity.card import CardNumber, NotAssessed, Numbers, Statement
from probity.metric import Direction

MEASURED = {
    "finding": "performance/auc/overall",
    "metric": "auc",
    "status": "measured",
    "value": 0.9,
    "lower": 0.88,
    "upper": 0.92,
    "n": 500,
    "direction": Direction.HIGHER_IS_BETTER,
}


def test_a_gap_needs_a_reason():
    with pytest.raises(ValidationError):
        NotAssessed(reason="")
    with pytest.raises(ValidationError):
        Statement(text=())
    with pytest.raises(ValidationError):
        Numbers(report="performance", numbers=())


@pytest.mark.parametrize("field", ["value", "n"])
def test_a_withheld_number_is_empty(field):
    empty = {**MEASURED, "value": None, "lower": None, "upper": None, "n": None, "status": "withheld", "reason": "few"}
    assert CardNumber(**empty).value is None
    with pytest.raises(ValidationError, match="no value, no interval and no n"):
        CardNumber(**{**empty, field: 1})


def test_a_measured_number_has_a_value():
    with pytest.raises(ValidationError, match="has a value"):
        CardNumber(**{**MEASURED, "value": None, "lower": None, "upper": None})


@pytest.mark.parametrize("status", ["insufficient", "withheld"])
def test_anything_but_measured_needs_a_reason(status):
    empty = {**MEASURED, "value": None, "lower": None, "upper": None, "n": None, "status": status}
    with pytest.raises(ValidationError, match="needs a reason"):
        CardNumber(**empty)


def test_an_infinite_number_survives_the_json_form():
    number = CardNumber(**{**MEASURED, "metric": "epsilon", "value": math.inf, "lower": None, "upper": None})
    assert number.to_json()["value"] == "Infinity"
    assert CardNumber.from_json(number.to_json()) == number


def test_nan_is_refused():
    with pytest.raises(ValidationError, match="NaN"):
        CardNumber(**{**MEASURED, "value": math.nan})
