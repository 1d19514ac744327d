"""The strict parser and the JSON form that every record shares."""

import json
import math
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from probity.digest import digest_bytes, digest_json
from probity.record import Digest, Number, Record, Sensitive, Slug


class Thing(Record):
    number: Number = 0.0
    """A number."""
    plain: float = 0.0
    maybe: Number | None = None
    many: tuple[Number, ...] = ()
    name: Slug = "a"
    digest: Digest | None = None
    aliased: int = Field(default=1, alias="alias")
    secret: Annotated[int, Sensitive] = 0


@given(st.floats(allow_nan=False), st.lists(st.floats(allow_nan=False), max_size=3))
def test_every_number_survives_strict_json(number, many):
    thing = Thing(number=number, maybe=number, many=tuple(many))
    text = json.dumps(thing.to_json(), allow_nan=False)
    assert Thing.from_json(json.loads(text)) == thing


def test_infinity_has_one_spelling():
    value = Thing(number=math.inf, maybe=-math.inf, many=(math.inf,)).to_json()
    assert (value["number"], value["maybe"], value["many"]) == ("Infinity", "-Infinity", ["Infinity"])


@pytest.mark.parametrize("field", ["number", "plain", "maybe"])
@pytest.mark.parametrize("nan", [math.nan, "NaN", "nan", -math.nan])
def test_nan_is_refused_however_it_comes(field, nan):
    with pytest.raises(ValidationError):
        Thing.from_json({field: nan})


def test_nan_inside_a_list_is_refused():
    with pytest.raises(ValidationError):
        Thing.from_json({"many": [1.0, math.nan]})


@pytest.mark.parametrize("value", [math.inf, "Infinity", -math.inf])
def test_a_plain_float_is_finite(value):
    with pytest.raises(ValidationError):
        Thing.from_json({"plain": value})


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="nmber"):
        Thing.from_json({"nmber": 1.0})


def test_a_record_cannot_be_changed():
    thing = Thing()
    with pytest.raises(ValidationError, match="frozen"):
        thing.number = 1.0


@pytest.mark.parametrize("value", [None, 1, "text", [], [1], True])
def test_what_is_no_mapping_is_refused(value):
    with pytest.raises(ValidationError):
        Thing.from_json(value)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "a\\b", "/a", "-a", "_a", "a b", "a\n", "a\x00", "é", "a" * 65, "a.b"]
)
def test_a_slug_is_one_harmless_path_component(name):
    with pytest.raises(ValidationError):
        Thing(name=name)


@pytest.mark.parametrize("name", ["a", "A9", "a-b_c", "9", "a" * 64])
def test_usual_names_are_slugs(name):
    assert Thing(name=name).name == name


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "sha256:" + "g" * 64, "sha256:" + "A" * 64, "md5:" + "0" * 64, "sha256:" + "0" * 63,
     "sha256:" + "0" * 65, "sha256:" + "0" * 64 + "\n"],
)  # fmt: skip
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(ValidationError):
        Thing(digest=text)


def test_our_own_digests_are_digests():
    assert Thing(digest=digest_bytes(b"")).digest == digest_bytes(b"")


def test_the_json_form_uses_the_names_of_the_file():
    assert Thing.from_json({"alias": 3}).to_json()["alias"] == 3


def test_the_record_digest_is_that_of_the_json_form():
    thing = Thing(number=math.inf)
    assert thing.record_digest() == digest_json(thing.to_json())
    assert thing.record_digest() != Thing().record_digest()


def test_a_string_under_a_field_is_its_description():
    assert Thing.model_fields["number"].description == "A number."
