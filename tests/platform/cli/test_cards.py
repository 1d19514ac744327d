"""``probity card``: RUN alone prints, ``publish`` is a dry run unless it is told otherwise."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from probity import run_publication
from probity.card import ModelCard
from probity.errors import ConfigError
from probity.model_cards.dialects import DIALECTS
from probity.model_cards.publication import Publication
from probity.platform import publishing
from probity.platform.cli import app, cards
from probity.platform.publishing import PublishedForm

FORMS = (
    PublishedForm(dialect="json", file="card.json", text="{}\n"),
    PublishedForm(dialect="dp-registry", file="dp_registry.yaml", text="a: 1\n", incomplete=("region: not stated",)),
)


@pytest.fixture(autouse=True)
def run(monkeypatch):
    """A run whose card is one line in every form, and a list of what was published where."""
    told = []
    publication = Publication(card=ModelCard.model_construct(run="r"))
    monkeypatch.setattr(cards, "workspace_at", lambda folder: SimpleNamespace(find=lambda name: name))
    monkeypatch.setattr(run_publication, "publication_of", lambda folder: publication)
    monkeypatch.setattr(publishing, "forms_of", lambda given: FORMS)
    monkeypatch.setattr(publishing, "publish_to_hub", lambda *given, **named: told.append(named) or "http://hub/1")
    written = {name: f"the card as {name}\n" for name in DIALECTS}
    monkeypatch.setattr(
        "probity.model_cards.dialects.DIALECTS",
        {name: SimpleNamespace(write=lambda given, text=text: text) for name, text in written.items()},
    )
    return told


def call(*arguments):
    return CliRunner().invoke(app, ["card", *arguments])


@pytest.mark.parametrize("arguments", [("latest",), ("print", "latest"), ("--format", "md", "latest")])
def test_a_run_alone_is_printed(arguments):
    assert call(*arguments).stdout == "the card as md\n"


@pytest.mark.parametrize("name", DIALECTS)
def test_every_form_can_be_asked_for(name, tmp_path):
    assert call("latest", "--format", name).stdout == f"the card as {name}\n"
    assert call("latest", "--format", name, "--out", str(tmp_path / "card")).stdout == ""
    assert (tmp_path / "card").read_text() == f"the card as {name}\n"


def test_the_formats_are_the_dialects():
    assert [entry.value for entry in cards.CardFormat] == list(DIALECTS)


@pytest.mark.parametrize("arguments", [("--help",), ("publish", "--help"), ("print", "--help")])
def test_help_has_an_example(arguments):
    assert "Example: probity card" in " ".join(call(*arguments).stdout.split())


def test_publishing_is_a_dry_run_unless_told(tmp_path, run):
    target = tmp_path / "published"
    answer = call("publish", "latest", "--to", str(target))
    assert (answer.exit_code, target.exists()) == (0, False)
    assert "dry run: nothing was written" in answer.stdout
    assert "draft: region: not stated" in answer.stdout
    call("publish", "latest", "--to", "huggingface", "--repo", "o/n")
    assert run == []
    answer = call("publish", "latest", "--to", str(target), "--yes")
    assert (answer.exit_code, (target / "card.json").read_text()) == (0, "{}\n")


def test_what_was_published_as_json(tmp_path):
    answer = json.loads(call("publish", "latest", "--to", str(tmp_path / "p"), "--json").stdout)
    assert (answer["published"], [entry["file"] for entry in answer["files"]]) == (
        False,
        ["card.json", "dp_registry.yaml"],
    )
    assert answer["files"][1]["incomplete"] == ["region: not stated"]


def test_the_hub_needs_a_repository(run):
    assert isinstance(call("publish", "latest", "--to", "huggingface", "--yes").exception, ConfigError)
    assert "http" not in call("publish", "latest", "--to", "huggingface", "--repo", "o/n", "--private", "--yes").stderr
    assert run == [{"repository": "o/n", "private": True}]
