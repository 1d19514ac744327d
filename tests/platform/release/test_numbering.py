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
    assert next_number(OLD.model_copy(update=change), after=released("2.3.4", OLD)) == number


@pytest.mark.parametrize("after", [None, released(None), released("4.5.6")])
def test_the_first_one_and_one_after_releases_without_numbers(after):
    assert next_number(OLD, after=after) == "1.0.0"
