"""What may be said of data: roles, splits, groups and shares that do not contradict each other."""

import pytest

from tests.configs import MINIMAL, merged, refused, with_data


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (with_data(sensitive=["sex", "sex"]), "twice"),
        (with_data(exclude=["a", "a"]), "twice"),
        (with_data(intersections=[["sex", "race"]], sensitive=["sex"]), "race"),
        (with_data(intersections=[["sex", "sexx"]], sensitive=["sex"]), "did you mean 'sex'"),
        (with_data(intersections=[["sex", "sex"]], sensitive=["sex"]), "two different"),
        (with_data(intersections=[[]], sensitive=["sex"]), "two different"),
        (with_data(exclude=["y"]), "exclude"),
        (with_data(sensitive=["y"]), "sensitive"),
        (with_data(sensitive=["sex"], exclude=["sex"]), "excluded"),
        (with_data(privacy_unit={"column": "y"}), "same column"),
        (with_data(privacy_unit={"column": "id"}, exclude=["id"]), "exclude"),
        (with_data(privacy_unit={"column": "id"}, sensitive=["id"]), "sensitive"),
        (with_data(split={"train": 1, "eval": 1}), "test"),
        (with_data(split={"train": 0, "eval": 1, "test": 1}), "train"),
        (with_data(source={"train": "a", "eval": "b"}), "test"),
        (with_data(sensitive=[{"column": "a", "bins": []}]), "ascending"),
        (with_data(sensitive=[{"column": "a", "bins": [2, 1]}]), "ascending"),
        (with_data(sensitive=[{"column": "a", "bins": [1, 1]}]), "ascending"),
        (with_data(sensitive=[{"column": "a", "name": "../x"}]), "pattern"),
    ],
)  # fmt: skip
def test_roles_that_contradict_each_other_are_refused(value, words):
    assert words in str(refused(value))


@pytest.mark.parametrize(
    ("reference", "words"),
    [({}, "at least one"), ({"Female": 0.0}, "above 0"), ({"Female": 0.7, "Male": 0.4}, "more than 1")],
)
def test_shares_of_a_reference_are_shares(reference, words):
    sensitive = [{"column": "sex", "reference": reference}]
    assert words in str(refused(merged(data={**MINIMAL["data"], "sensitive": sensitive})))
