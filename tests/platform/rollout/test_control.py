"""A running rollout: who is answered by whom, what is on disk, and what a killed process leaves."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from probity.errors import ConfigError, ReleaseError
from probity.platform.rollout.comparison import Answer
from probity.platform.rollout.control import Rollout, ask_to_stop, position
from probity.rollout import RolloutPlan, RolloutState
from probity.storage import read_record

PLAN = RolloutPlan(model_name="m", incumbent=1, candidate=2, requests_per_stage=20)
GOOD, BAD = Answer(failed=False, milliseconds=1, favourable=(True,)), Answer(failed=True, milliseconds=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.rollout.json"


def opened(path, told=None, plan=PLAN):
    return Rollout(
        plan, path=path, tell=lambda _, entry: told is not None and told.append(entry.to), now=lambda: datetime.now(UTC)
    )


def feed(rollout, candidate=GOOD, requests=20):
    for _ in range(requests):
        rollout.pair(rollout.state.stage, candidate, GOOD, groups=())


def test_shares_are_kept_and_nobody_goes_back(path):
    ids = [f"person-{number}" for number in range(5000)]
    places = [position(PLAN, tracking_id) for tracking_id in ids]
    for share in (0.01, 0.1, 0.5):
        assert abs(sum(place < share for place in places) / 5000 - share) < 0.02
    other = PLAN.model_copy(update={"candidate": 3})
    assert sum((position(other, name) < 0.1) != (place < 0.1) for name, place in zip(ids, places, strict=True)) > 500


def test_in_the_shadow_the_incumbent_answers_and_everything_is_copied(path):
    rollout = opened(path)
    assert not any(rollout.answers_from_candidate(str(number)) for number in range(100))
    assert all(rollout.is_copied(str(number)) for number in range(100))
    feed(rollout)
    rollout.tick()
    assert rollout.state.stage == "1%"
    assert not any(rollout.is_copied(str(number)) for number in range(100))
    rollout.close()


def test_the_state_is_on_disk_before_the_history_is_told(path):
    seen = []
    rollout = Rollout(
        PLAN, path=path, tell=lambda _, entry: seen.append((entry.to, read_record(path, RolloutState).status))
    )
    feed(rollout, BAD, 100)
    assert rollout.tick().status == "rolled_back"
    assert seen == [("shadow", "running"), ("rolled_back", "rolled_back")]
    assert not rollout.answers_from_candidate("anybody")
    assert not rollout.is_copied("anybody")
    rollout.close()


def test_whoever_opens_it_again_continues_and_tells_what_was_owed(path):
    first, told = opened(path), []
    feed(first)
    first.tick()
    first.close()
    again = opened(path, told)
    assert again.state.stage == "1%"
    assert told == ["shadow", "1%"]
    again.close()


def test_answers_of_an_earlier_stage_do_not_count(path):
    rollout = opened(path)
    feed(rollout)
    rollout.tick()
    rollout.pair("shadow", BAD, GOOD, groups=())
    rollout.tick()
    assert all(entry.candidate_requests == 0 for entry in rollout.state.evidence[-1].comparisons)
    rollout.close()


def test_another_plan_and_another_router_are_refused(path):
    rollout = opened(path)
    with pytest.raises(ConfigError, match="another process routes"):
        opened(path)
    rollout.close()
    with pytest.raises(ConfigError, match="another plan"):
        opened(path, plan=PLAN.model_copy(update={"requests_per_stage": 5}))
    opened(path).close()


def test_a_person_may_stop_it(path):
    rollout = opened(path)
    feed(rollout)
    ask_to_stop(path, "on second thoughts")
    assert rollout.tick().status == "stopped"
    assert rollout.state.transitions[-1].reason == "on second thoughts"
    rollout.close()


def test_a_history_that_does_not_take_it_is_told_again_and_holds_up_no_traffic(path):
    told, broken = [], [True]

    def tell(_, entry):
        if broken[0] and entry.to == "rolled_back":
            raise ReleaseError("history", seen="a full disk", allowed="space", remedy="make some")
        told.append(entry.to)

    rollout = Rollout(PLAN, path=path, tell=tell)
    feed(rollout, BAD, 100)
    with pytest.raises(ReleaseError):
        rollout.tick()
    assert rollout.state.status == "rolled_back"
    assert not rollout.answers_from_candidate("anybody")
    broken[0] = False
    rollout.tick()
    rollout.tick()
    assert told == ["shadow", "rolled_back"]
    rollout.close()


CHILD = """
import sys
from pathlib import Path
from probity.platform.rollout.control import Rollout
from probity.platform.rollout.comparison import Answer
from probity.rollout import RolloutPlan
plan = RolloutPlan(model_name="m", incumbent=1, candidate=2, requests_per_stage=20)
told = open(sys.argv[2], "a")
tell = lambda _, entry: (told.write(entry.at + " " + entry.to + chr(10)), told.flush())
rollout = Rollout(plan, path=Path(sys.argv[1]), tell=tell)
good = Answer(failed=False, milliseconds=1, favourable=(True,))
while rollout.state.status == "running":
    rollout.pair(rollout.state.stage, good, good, groups=())
    rollout.tick()
"""


def test_killed_again_and_again_it_arrives_and_the_history_holds_every_step(path, tmp_path):
    log, kills = tmp_path / "history", 0
    for patience in (0.0, 0.01, 0.02, 0.04, 0.08, 60.0):
        before = path.read_bytes() if path.exists() else b""
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(log)])
        while child.poll() is None and (path.read_bytes() if path.exists() else b"") == before:
            time.sleep(0.002)
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            kills += 1
        state = read_record(path, RolloutState)  # never half a file
        if state.status != "running":
            break
    assert kills >= 1
    assert state.status == "completed"
    told = [line.split() for line in log.read_text().splitlines()]
    assert {tuple(entry) for entry in told} == {(entry.at, entry.to) for entry in state.transitions}
    assert [entry.to for entry in state.transitions] == ["shadow", "1%", "10%", "50%", "100%", "completed"]
