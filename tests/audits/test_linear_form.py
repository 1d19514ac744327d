"""Affine outputs are recognised by what the model answers, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from probity.audits import linear_form
from probity.audits.linear_form import find_linear_form
from tests.audits.networks import draw, outputs

FEATURES = outputs(a=3, b=1)
WIDTHS = {"a_xf": 3, "b_xf": 1}
WEIGHTS = {"a_xf": np.array([0.5, -2.0, 3.0]), "b_xf": np.array([-0.25])}


def affine(inputs):
    return 0.75 + sum(inputs[name].astype(float) @ weights for name, weights in WEIGHTS.items())


def find(predict, rows=None):
    rows = draw(FEATURES, 50, seed=1) if rows is None else rows
    return find_linear_form(predict, samples=(rows, draw(FEATURES, 10, seed=2)), widths=WIDTHS, seed=3)


def test_weights_and_intercept_are_read_off():
    form = find(affine)
    assert form.intercept == pytest.approx(0.75)
    for name, weights in WEIGHTS.items():
        assert form.weights[name] == pytest.approx(weights)
    rows = draw(FEATURES, 20, seed=9)
    assert form(rows) == pytest.approx(affine(rows))
    assert form.error < 1e-9


def test_a_constant_is_affine():
    form = find(lambda inputs: np.full(len(inputs["a_xf"]), -1.5))
    assert form.intercept == -1.5
    assert not form.weights["a_xf"].any()


@pytest.mark.parametrize(
    "bend",
    [
        lambda x: 1e-2 * x["a_xf"][:, 0] * x["b_xf"][:, 0],  # an interaction
        lambda x: np.maximum(x["a_xf"][:, 0] - 30.0, 0.0),  # flat wherever there are rows
        lambda x: 1e-3 * np.sin(20.0 * x["b_xf"][:, 0]),  # small, and 0 at the origin
        lambda x: np.where(x["a_xf"][:, 0] > 50.0, np.nan, 0.0),
    ],
    ids=["interaction", "far away", "ripple", "not a number"],
)
def test_what_bends_anywhere_is_not_affine(bend):
    assert find(lambda inputs: affine(inputs) + bend(inputs)) is None


def test_without_rows_random_inputs_decide():
    nothing = draw(FEATURES, 0, seed=1)
    assert find_linear_form(affine, samples=(nothing,), widths=WIDTHS, seed=3) is not None
    assert find_linear_form(lambda x: affine(x) ** 2, samples=(nothing,), widths=WIDTHS, seed=3) is None


def test_wide_inputs_are_read_off_in_blocks(monkeypatch):
    monkeypatch.setattr(linear_form, "_PROBE_ROWS", 3)
    assert find(affine).weights["b_xf"] == pytest.approx(WEIGHTS["b_xf"])
