"""Release numbers: other data, other hyper-parameters, another architecture."""

from __future__ import annotations

import pytest

from probity.decision import Recipe, Release
from probity.digest import digest_bytes
from probity.platform.release.numbering import next_number

A, B = digest_bytes(b"a"), digest_bytes(b"b")


def released(number, recipe=None):
    return Release(
        run="r",
        model_name="m",
        version=1,
        path="p",
        model=A,
        card=A,
        decision=A,
        dataset=A,
        released_at="2026-01-01T00:00:00+00:00",
        number=number,
        recipe=recipe,
    )


OLD = Recipe(architecture="mlp", hyperparameters=A, data=A)


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({}, "2.3.5"),
        ({"data": B}, "2.3.5"),
        ({"hyperparameters": B}, "2.4.0"),
        ({"hyperparameters": B, "data": B}, "2.4.0"),
        ({"architecture": "logistic"}, "3.0.0"),
        ({"architecture": "logistic", "hyperparameters": B, "data": B}, "3.0.0"),
    ],
)
def test_the_largest_change_counts(change, number):
    assert next_number(OLD.model_copy(update=change), live=released("2.3.4", OLD)) == number


@pytest.mark.parametrize("live", [None, released(None), released(None, OLD), released("of another form", OLD)])
def test_the_first_one_and_one_after_releases_without_numbers(live):
    assert next_number(OLD, live=live) == "1.0.0"


def test_what_cannot_be_compared_starts_a_new_pipeline():
    assert next_number(OLD, live=released("4.5.6")) == "5.0.0"
    assert next_number(OLD, live=None, told=["1.0.0", "4.5.6"]) == "5.0.0"


WIDER = OLD.model_copy(update={"hyperparameters": B})
OTHER = OLD.model_copy(update={"architecture": "logistic"})


@pytest.mark.parametrize(
    ("taken_back", "recipe", "number"),
    [
        (OLD, OLD, "1.0.10"),  # not 1.0.9 again, and ten is more than nine
        (WIDER, OLD, "1.2.0"),  # other data than the live one, other layers than the highest one
        (WIDER, WIDER, "1.2.0"),
        (OTHER, OLD, "3.0.0"),
        (OTHER, OTHER, "3.0.0"),
    ],
)
def test_after_a_rollback_it_counts_on_from_the_highest_number_there_ever_was(taken_back, recipe, number):
    highest = {OLD: "1.0.9", WIDER: "1.1.0", OTHER: "2.0.0"}[taken_back]
    live = released("1.0.0", OLD)
    found = next_number(recipe, live=live, earlier=[live, released(highest, taken_back), live], told=["1.0.0", highest])
    assert found == number


def test_the_number_of_a_version_that_is_gone_is_known_from_the_history():
    live = released("1.0.0", OLD)
    assert next_number(OLD, live=live, earlier=[live], told=["1.0.0", "1.4.7"]) == "1.4.8"
