"""What may take the place of what: two released versions that verify, judged as the candidate's card says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from probity.card import ModelCard
from probity.errors import ConfigError, ReleaseError, SignatureError
from probity.platform.release.project import Project
from probity.platform.release.push import push
from probity.platform.rollout import preparation
from probity.platform.rollout.preparation import prepare, project_of, set_aside
from probity.rollout import state_path
from tests.platform.conftest import make_config
from tests.platform.release.candidates import NOON, Candidate, keys_at


def card(task="binary", **data):
    chosen = SimpleNamespace(task=task, decision_threshold=0.3, favourable_outcome="negative")
    return ModelCard.model_construct(metrics=chosen, data=SimpleNamespace(**{"classes": (), "favourable": (), **data}))


CARD = card()


@pytest.fixture
def released(tmp_path, monkeypatch):
    """A project with the versions one, two and three, an hour apart."""
    read = []
    monkeypatch.setattr(preparation, "read_record", lambda path, kind: read.append(path) or CARD)
    project = Project(config=make_config(), root=tmp_path)
    keys, versions = keys_at(tmp_path), []
    for hours, name in enumerate(("one", "two", "three")):
        candidate = Candidate(tmp_path / name, content=name.encode(), run=name)
        moment = NOON + timedelta(hours=hours)
        arguments = candidate.push_arguments(now=lambda moment=moment: moment)
        versions.append(push(candidate.model, **arguments, base_path=project.base_path, keys=keys).version)
    return SimpleNamespace(project=project, versions=versions, read=read)


def folder(released, version):
    return released.project.base_path / "m" / str(version)


def test_threshold_and_favourable_outcome_are_those_of_the_candidates_card(released):
    one, _two, three = released.versions
    plan = prepare(released.project, candidate=three, incumbent=one, settings={"stages": (50, 100)})
    assert (plan.incumbent, plan.candidate, plan.stages) == (one, three, (50, 100))
    assert (plan.decision_threshold, plan.favourable_outcome) == (0.3, "negative")
    assert [path.parents[2].name for path in released.read] == [str(three)]


def test_the_classes_and_those_that_benefit_a_person_are_the_cards_too(released, monkeypatch):
    one, two, _ = released.versions
    several = card("multiclass", classes=("a", "b", "c"), favourable=("c",))
    monkeypatch.setattr(preparation, "read_record", lambda path, kind: several)
    plan = prepare(released.project, candidate=two, incumbent=one, settings={"groups": ("sex=Female",)})
    assert (plan.task, plan.classes, plan.favourable) == ("multiclass", ("a", "b", "c"), ("c",))
    assert (plan.decision_threshold, plan.decides) == (None, True)


def test_a_model_of_a_number_compares_groups_only_at_a_threshold_that_is_given(released, monkeypatch):
    one, two, _ = released.versions
    monkeypatch.setattr(preparation, "read_record", lambda path, kind: card("regression"))
    settings = {"groups": ("sex=Female",)}
    with pytest.raises(ConfigError, match="give --decision-threshold"):
        prepare(released.project, candidate=two, incumbent=one, settings=settings)
    plan = prepare(released.project, candidate=two, incumbent=one, settings={**settings, "decision_threshold": 40.0})
    assert ("selection_rate", "sex=Female") in plan.compared
    monkeypatch.setattr(preparation, "read_record", lambda path, kind: CARD)
    with pytest.raises(ConfigError, match="others decide as they were audited"):
        prepare(released.project, candidate=two, incumbent=one, settings={"decision_threshold": 40.0})


def test_the_incumbent_is_the_newest_other_version_unless_named(released):
    _one, two, three = released.versions
    assert prepare(released.project, candidate=three, incumbent=None, settings={}).incumbent == two
    assert prepare(released.project, candidate=two, incumbent=None, settings={}).incumbent == three


def test_what_was_not_released_takes_part_on_neither_side(released):
    one, _, three = released.versions
    for candidate, incumbent in ((7, one), (three, 7), (three, three)):
        with pytest.raises(ReleaseError, match="two different released versions"):
            prepare(released.project, candidate=candidate, incumbent=incumbent, settings={})


@pytest.mark.parametrize("side", ["candidate", "incumbent"])
def test_what_was_changed_since_it_was_signed_takes_part_on_neither_side(released, side):
    one, two, _ = released.versions
    (folder(released, two if side == "candidate" else one) / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(SignatureError, match=r"saved_model\.pb"):
        prepare(released.project, candidate=two, incumbent=one, settings={})


def test_a_plan_that_is_not_possible_names_its_option(released):
    one, two, _ = released.versions
    for settings, option in (({"stages": (50, 10)}, "--stages"), ({"shadow_share": 0.0}, "--shadow-share")):
        with pytest.raises(ConfigError, match=option):
            prepare(released.project, candidate=two, incumbent=one, settings=settings)


def test_the_config_has_to_be_that_of_the_model(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "name: a\ndata: {source: a.csv, label: {column: y}}\nmodel: {kind: logistic}\nserving: {model_name: m}\n"
    )
    assert project_of("m", path).root == tmp_path.resolve()
    with pytest.raises(ConfigError, match="about m"):
        project_of("n", path)


def test_an_earlier_rollout_is_set_aside_and_kept(released):
    path = state_path(released.project.base_path, released.project.model_name)
    set_aside(path, now=datetime(2026, 1, 1, tzinfo=UTC))  # nothing to set aside
    path.write_text("an earlier one")
    set_aside(path, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert not path.exists()
    assert path.with_name("m.rollout.until-20260101T000000Z.json").read_text() == "an earlier one"
