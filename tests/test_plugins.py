"""Entry points: found by name, imported when chosen, and clear when something is wrong."""

import sys
from importlib.metadata import EntryPoint

import pytest

from probity import plugins
from probity.errors import DuplicatePluginError, MissingExtraError, UnknownPluginError

GROUP = "probity.tests"


@pytest.fixture
def installed(monkeypatch):
    entries = []

    def found(*, group, name=None):
        return [entry for entry in entries if entry.group == group and name in (None, entry.name)]

    monkeypatch.setattr(plugins, "entry_points", found)

    def install(name, value):
        entries.append(EntryPoint(name=name, value=value, group=GROUP))

    return install


def test_no_plugin_at_all(installed):
    assert plugins.names(GROUP) == ()
    with pytest.raises(UnknownPluginError) as caught:
        plugins.load(GROUP, "plain")
    assert "none is installed" in str(caught.value)


def test_names_are_sorted_and_single(installed):
    installed("b", "json:loads")
    installed("a", "json:dumps")
    installed("a", "json:dumps")
    assert plugins.names(GROUP) == ("a", "b")


def test_the_chosen_plugin_is_loaded(installed):
    import json

    installed("a", "json:dumps")
    assert plugins.load(GROUP, "a") is json.dumps


def test_an_unknown_name_lists_the_known_ones(installed):
    installed("dp_sgd", "json:loads")
    installed("plain", "json:dumps")
    with pytest.raises(UnknownPluginError) as caught:
        plugins.load(GROUP, "plian")
    assert caught.value.allowed == "dp_sgd, plain"
    assert "plian" in caught.value.argument


def test_two_distributions_with_one_name_are_refused(installed):
    installed("a", "json:loads")
    installed("a", "json:dumps")
    with pytest.raises(DuplicatePluginError):
        plugins.load(GROUP, "a")


def test_the_same_entry_point_seen_twice_is_no_conflict(installed):
    # An editable install beside an egg-info folder lists one distribution's entry points twice.
    installed("a", "json:dumps")
    installed("a", "json:dumps")
    assert plugins.load(GROUP, "a")


def test_a_missing_import_is_named_and_only_when_chosen(installed, tmp_path, monkeypatch):
    (tmp_path / "probity_broken_plugin.py").write_text("import surely_not_installed_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed("broken", "probity_broken_plugin:Thing")
    assert plugins.names(GROUP) == ("broken",)
    assert "probity_broken_plugin" not in sys.modules
    with pytest.raises(MissingExtraError) as caught:
        plugins.load(GROUP, "broken")
    assert "surely_not_installed_anywhere" in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_our_own_trainers_are_declared_like_anybody_elses():
    assert "plain" in plugins.names("probity.trainers")
