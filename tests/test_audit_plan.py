"""Which measurements can be asked for."""

import math

import pytest

from tests.configs import merged, refused


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (merged(audits={"thresholds": [1.0]}), "[0, 1)"),
        (merged(audits={"thresholds": [math.nan]}), ""),
        (merged(audits={"decision_threshold": math.nan}), ""),
        (merged(audits={"min_group_size": 1}), "2"),
        (merged(audits={"confidence": 0.5}), "0.5"),
        (merged(audits={"edge_cases": ""}), "at least 1 character"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(value, words):
    assert words in str(refused(value))
