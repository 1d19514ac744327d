"""What a whole config refuses, and its JSON form."""

import json
from collections.abc import Iterator
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from probity.config import RunConfig
from probity.config_file import parse_config
from probity.errors import ConfigError
from tests.configs import FULL, MINIMAL, merged, refused

OF_NUMBERS = {"data": {**MINIMAL["data"], "task": "regression"}}


def test_the_json_form_is_a_config_again():
    config = parse_config(yaml.safe_load(FULL))
    text = json.dumps(config.to_json(), allow_nan=False)
    assert RunConfig.from_json(json.loads(text)) == config
    assert parse_config(yaml.safe_load(yaml.safe_dump(config.to_json()))) == config


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (merged(audits={"edge_cases": "a.csv"}, model={"kind": "linear"}, **OF_NUMBERS), "a regression predicts"),
    ],
)  # fmt: skip
def test_sections_that_contradict_each_other_are_refused(value, words):
    assert words in str(refused(value))


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "/abs", "a\\b", "a\nb", "C:"])
@pytest.mark.parametrize("key", ["name", "serving", "trainer"])
def test_a_name_cannot_leave_its_folder(key, name):
    value = {"name": name, "serving": {"model_name": name}, "trainer": {"name": name}}[key]
    refused(merged(**{key: value}))


def sections(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yields a class of settings and those of its fields, to any depth."""
    yield kind
    for field in kind.model_fields.values():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and not get_args(inner) and issubclass(inner, BaseModel):
                yield from sections(inner)


def test_every_field_of_the_config_is_described_or_says_it_by_its_name():
    classes = set(sections(RunConfig))
    assert len(classes) > 15
    assert all(entry.__doc__ for entry in classes)


@pytest.mark.parametrize("url", ["postgresql://me:hunter2@host/db", "postgresql+psycopg://host/db?password=hunter2"])
def test_a_password_in_a_ledger_url_is_refused_without_being_repeated(url):
    with pytest.raises(ConfigError, match="PGPASSWORD") as caught:
        parse_config(merged(budget={"url": url}))
    assert "hunter2" not in str(caught.value)


def test_a_ledger_url_with_a_user_alone_is_fine():
    url = "postgresql+psycopg://me@host/db?sslmode=require"
    assert parse_config(merged(budget={"url": url})).budget.url == url
