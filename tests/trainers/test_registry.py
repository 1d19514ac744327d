"""Trainers are found by name, and their settings are parsed by their own class."""

import pytest

from probity import plugins
from probity.errors import ConfigError, PluginError, UnknownPluginError
from probity.trainers import registry
from probity.trainers.plain import PlainSettings, PlainTrainer


def test_the_plain_trainer_is_installed():
    assert "plain" in registry.names()
    assert isinstance(registry.load("plain"), PlainTrainer)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownPluginError, match="plain"):
        registry.load("plane")


def test_settings_are_the_trainers_own():
    trainer = registry.load("plain")
    assert registry.parse_settings(trainer, {"epochs": 3}) == PlainSettings(epochs=3)
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        registry.parse_settings(trainer, {"epoch": 3})
    with pytest.raises(ConfigError, match="noise_multiplier"):
        registry.parse_settings(trainer, {"noise_multiplier": 1.0})


def test_what_is_no_trainer_of_that_name_is_refused(monkeypatch):
    class Other(PlainTrainer):
        name = "other"

    for wrong in (Other, dict):
        monkeypatch.setattr(plugins, "load", lambda group, name, wrong=wrong: wrong)
        with pytest.raises(PluginError, match="not a trainer of this name"):
            registry.load("plain")
