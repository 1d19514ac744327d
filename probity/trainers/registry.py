"""Trainers by name, through the entry-point group ``probity.trainers``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probity import plugins
from probity.config_file import parse_settings as parse
from probity.errors import PluginError
from probity.trainers.base import Trainer, TrainerSettings

__all__ = ["GROUP", "load", "names", "parse_settings"]

GROUP = "probity.trainers"


def names() -> tuple[str, ...]:
    """Returns the names of the installed trainers, sorted."""
    return plugins.names(GROUP)


def load(name: str) -> Trainer:
    """Returns the trainer of this name; only this one is imported.

    Raises:
        UnknownPluginError: If there is none; the message lists the known ones.
        DuplicatePluginError: If two distributions offer it.
        MissingExtraError: If one of its imports is not installed.
        PluginError: If what the entry point names is not a trainer of this name.
    """
    trainer: Trainer = plugins.load(GROUP, name)()
    complete = callable(getattr(trainer, "train", None)) and hasattr(trainer, "settings_type")
    if getattr(trainer, "name", None) != name or not complete:
        raise PluginError(
            f"plug-in {name!r} of {GROUP}",
            seen=f"a {type(trainer).__name__} that is not a trainer of this name",
            allowed="a class with name, settings_type and train, as in probity.trainers.base",
            remedy="tell its author; probity.trainers.testing has the suite it must pass",
        )
    return trainer


def parse_settings(trainer: Trainer, given: Mapping[str, Any]) -> TrainerSettings:
    """Parses what the config says beside the trainer's name.

    Raises:
        ConfigError: If a key is unknown or a setting wrong.
    """
    return parse(trainer.settings_type, given, origin=f"trainer {trainer.name}")
