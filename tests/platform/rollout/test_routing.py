"""A router in its process: told to whoever started it, ended by a signal or by the rollout, its state kept."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from probity.errors import ConfigError
from probity.platform.rollout.control import Rollout, ask_to_stop
from probity.platform.rollout.router import Router
from probity.platform.rollout.routing import route
from probity.rollout import RolloutPlan, RolloutState
from probity.storage import read_record

PLAN = RolloutPlan(model_name="m", incumbent=1, candidate=2)
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.rollout.json"


def routed(path, *, port=0, until_decided=False, report=lambda state, where: None):
    rollout = Rollout(PLAN, path=path, tell=lambda *_: None)
    router = Router(rollout, incumbent=NOWHERE, candidate=NOWHERE, tick_seconds=0.02)
    return route(router, rollout, host="127.0.0.1", port=port, until_decided=until_decided, report=report)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_the_same_rollout_goes_on_later(path, number):
    told = []

    def report(state, where):
        told.append((state.stage, where.port > 0, where.grpc_port))
        os.kill(os.getpid(), number)

    assert routed(path, report=report).status == "running"
    assert told == [("shadow", True, None)]
    assert routed(path, report=report).stage == "shadow"  # the lock was given back
    assert read_record(path, RolloutState).status == "running"


def test_it_ends_with_the_rollout_if_asked_to_and_the_end_is_told(path):
    told = []

    def report(state, where):
        told.append(state.status)
        ask_to_stop(path, "enough")

    assert routed(path, until_decided=True, report=report).status == "stopped"
    assert told == ["running", "stopped"]


def test_after_the_end_it_routes_on_for_those_who_still_ask(path):
    told = []

    def report(state, where):
        told.append(state.status)
        if state.status == "running":
            ask_to_stop(path, "enough")
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    assert routed(path, report=report).status == "stopped"
    assert told == ["running", "stopped"]


def test_a_port_that_is_taken_is_one_message_and_nothing_stays_locked(path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot be listened on"):
            routed(path, port=taken.getsockname()[1])
    Rollout(PLAN, path=path, tell=lambda *_: None).close()
