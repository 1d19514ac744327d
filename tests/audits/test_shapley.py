"""Shapley values of plain functions: against the definition, against the axioms, and of what must be nothing."""

from __future__ import annotations

import numpy as np
import pytest

from probity.audits import shapley
from probity.audits.shapley import enumerate_shapley, sample_shapley
from tests.audits.networks import brute_force, draw, outputs, row_of

FEATURES = outputs(a=2, b=1, c=1, unused=1)
GROUPS = [[feature.name] for feature in FEATURES]


def interacting(inputs):
    a, b, c = inputs["a_xf"].astype(float), inputs["b_xf"][:, 0], inputs["c_xf"][:, 0]
    return np.tanh(a[:, 0] * b) + a[:, 1] * b * c + np.maximum(c, 0.2)


@pytest.fixture
def rows():
    return draw(FEATURES, 5, seed=1)


@pytest.fixture
def background():
    return draw(FEATURES, 7, seed=2)


def test_enumeration_is_the_definition(rows, background):
    found = enumerate_shapley(interacting, rows, background=background, groups=GROUPS)
    assert found.shape == (5, 4)
    for i in range(5):
        assert found[i] == pytest.approx(brute_force(interacting, row_of(rows, i), background), abs=1e-12)
    assert np.abs(found[:, :3]).max() > 0.1


def test_the_axioms_hold(rows, background):
    found = enumerate_shapley(interacting, rows, background=background, groups=GROUPS)
    gained = interacting(rows) - interacting(background).mean()
    assert found.sum(axis=1) == pytest.approx(gained, abs=1e-12)
    assert (found[:, 3] == 0).all()

    def symmetric(inputs):
        return inputs["b_xf"][:, 0].astype(float) * inputs["c_xf"][:, 0]

    twins = {**rows, "c_xf": rows["b_xf"]}
    same = {**background, "c_xf": background["b_xf"]}
    found = enumerate_shapley(symmetric, twins, background=same, groups=GROUPS)
    assert found[:, 1] == pytest.approx(found[:, 2], abs=1e-12)


def test_players_of_several_inputs_move_together(rows, background):
    """Two inputs of one column are one player: its value is the sum of both where they do not interact with others."""
    joined = enumerate_shapley(
        interacting, rows, background=background, groups=[["a_xf", "b_xf", "c_xf"], ["unused_xf"]]
    )
    assert joined[:, 0] == pytest.approx(interacting(rows) - interacting(background).mean(), abs=1e-12)


def test_one_player_and_one_background_row_is_a_difference(rows, background):
    one = {name: values[:1] for name, values in background.items()}
    everything = [[feature.name for feature in FEATURES]]
    for method in (enumerate_shapley, lambda *a, **k: sample_shapley(*a, **k, seed=1)):
        found = method(interacting, rows, background=one, groups=everything)
        assert found[:, 0] == pytest.approx(interacting(rows) - interacting(one), abs=1e-12)


def test_a_row_explained_against_itself_has_nothing_to_explain(rows):
    one = {name: values[:1] for name, values in rows.items()}
    assert enumerate_shapley(interacting, one, background=one, groups=GROUPS) == pytest.approx(np.zeros((1, 4)))


def test_sampling_converges_to_enumeration(rows, background):
    few = {name: values[:2] for name, values in rows.items()}
    repeated = {name: np.tile(values, (600, 1)) for name, values in background.items()}
    exact = enumerate_shapley(interacting, few, background=background, groups=GROUPS)
    found = sample_shapley(interacting, few, background=repeated, groups=GROUPS, seed=7)
    assert found == pytest.approx(exact, abs=0.06)
    assert (found[:, 3] == 0.0).all()


def test_sampling_adds_up_whatever_the_draws(rows, background):
    for seed in range(3):
        found = sample_shapley(interacting, rows, background=background, groups=GROUPS, seed=seed)
        assert found.sum(axis=1) == pytest.approx(interacting(rows) - interacting(background).mean(), abs=1e-12)


def test_asking_in_parts_changes_nothing(rows, background, monkeypatch):
    whole = enumerate_shapley(interacting, rows, background=background, groups=GROUPS)
    drawn = sample_shapley(interacting, rows, background=background, groups=GROUPS, seed=3)
    monkeypatch.setattr(shapley, "_ASKED_ROWS", 2 * 7 * 16)
    again = enumerate_shapley(interacting, rows, background=background, groups=GROUPS)
    assert again == pytest.approx(whole, abs=1e-12)
    assert sample_shapley(interacting, rows, background=background, groups=GROUPS, seed=3) == pytest.approx(drawn)
