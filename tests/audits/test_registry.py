"""Audits by name: what is not an audit is refused when it is chosen."""

from __future__ import annotations

import pytest

from probity import plugins
from probity.audits import registry
from probity.audits.fairness import FairnessAudit
from probity.errors import PluginError, UnknownPluginError


class Nameless:
    def run(self, evidence, *, workdir):
        raise NotImplementedError


class NoRun:
    name = "chosen"


def test_names_are_those_of_the_entry_points():
    assert registry.names() == plugins.names("probity.audits")


def test_unknown_audit():
    with pytest.raises(UnknownPluginError):
        registry.load("no-such-audit")


def test_an_instance_is_returned(monkeypatch):
    monkeypatch.setattr(plugins, "load", lambda group, name: FairnessAudit)
    assert isinstance(registry.load("fairness"), FairnessAudit)


@pytest.mark.parametrize("kind", [Nameless, NoRun])
def test_what_is_no_audit_is_refused(monkeypatch, kind):
    monkeypatch.setattr(plugins, "load", lambda group, name: kind)
    with pytest.raises(PluginError, match="chosen"):
        registry.load("chosen")
