"""A worker that misbehaves: every mood of the fake one has its own error, and nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from probity.errors import (
    WorkerContractError,
    WorkerCrashError,
    WorkerNotReadyError,
    WorkerReportedError,
    WorkerTimeoutError,
)
from probity.trainers.worker import run_worker
from probity.trainers.worker_environments import WorkerEnvironment
from probity.trainers.worker_exchange import Exchange

FAKE = Path(__file__).parent / "fake_worker.py"
SHAPES = [(2, 1), (1,)]


class FakeEnvironment(WorkerEnvironment):
    """Always ready; its program is the fake worker."""

    def why_not_ready(self):
        return None

    def command(self, *arguments, program=None):
        return [sys.executable, str(FAKE), *arguments]


def npz(**arrays):
    content = BytesIO()
    np.savez(content, **arrays)
    return content.getvalue().hex()


def answer(weights=None, scores=None):
    given = weights if weights is not None else {"w0000": np.ones((2, 1), np.float32), "w0001": np.zeros(1, np.float32)}
    return {"weights.npz": npz(**given), "probe.npz": npz(scores=np.float32([0.25, 0.5]) if scores is None else scores)}


def exchange(folder):
    return Exchange(environment=FakeEnvironment(name="fake", folder=folder), folder=folder)


def ask(folder, mood, *, deadline_seconds=30.0, files=None, lines=None):
    made = exchange(folder)
    return made, made.ask(
        {"mood": mood, "files": answer() if files is None else files},
        seed=7,
        deadline_seconds=deadline_seconds,
        checkpoints=None,
        on_progress=(lambda line: None) if lines is None else lines.append,
    )


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_training_that_goes_well(tmp_path):
    lines = []
    made, result = ask(tmp_path, "succeed", lines=lines)
    assert [line["round"] for line in lines] == [1, 2, 3]
    assert result.body == {"rounds": 1}
    weights = made.weights(result, shapes=SHAPES)
    assert [array.shape for array in weights] == SHAPES
    made.require_probe(result, np.float32([0.25, 0.5]), tolerance=1e-6)


@pytest.mark.parametrize(
    ("mood", "error", "words"),
    [
        ("fail", WorkerReportedError, "no_clients: no client has any rows"),
        ("stumble", WorkerReportedError, "unexpected: RuntimeError"),
        ("crash", WorkerCrashError, "without a result"),
        ("leave", WorkerCrashError, "exit code 0 and without a result"),
        ("truncate", WorkerContractError, "not one of this contract version"),
        ("speak_another_version", WorkerContractError, "not one of this contract version"),
        ("say_nan", WorkerContractError, "not one of this contract version"),
        ("answer_another_request", WorkerContractError, "answers another request"),
        ("contradict", WorkerCrashError, "exit code 3 with a result that says ok"),
        ("change_afterwards", WorkerContractError, "not the file that result.json names"),
        ("babble", WorkerContractError, "no JSON object of finite numbers"),
    ],
)
def test_every_mood_has_its_error(mood, error, words, tmp_path):
    with pytest.raises(error, match=words) as caught:
        ask(tmp_path, mood)
    assert "Mallory" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"w0000": np.ones((2, 1), np.float32)}, "number or shapes"),
        ({"w0000": np.ones((1, 2), np.float32), "w0001": np.zeros(1, np.float32)}, "number or shapes"),
        ({"w0000": np.float32([[np.nan], [1]]), "w0001": np.zeros(1, np.float32)}, "not finite"),
        ({"w0000": np.float32([[np.inf], [1]]), "w0001": np.zeros(1, np.float32)}, "not finite"),
        ({"w0000": np.ones((2, 1), np.int64), "w0001": np.zeros(1, np.float32)}, "something else than real numbers"),
    ],
)
def test_weights_that_cannot_be_the_models(weights, words, tmp_path):
    made, result = ask(tmp_path, "succeed", files=answer(weights))
    with pytest.raises(WorkerContractError, match=words):
        made.weights(result, shapes=SHAPES)


def test_a_pickle_is_not_loaded(tmp_path):
    evil = {"weights.npz": npz(w0000=np.array([print], object)), "probe.npz": answer()["probe.npz"]}
    made, result = ask(tmp_path, "succeed", files=evil)
    with pytest.raises(WorkerContractError, match="cannot be read"):
        made.weights(result, shapes=SHAPES)


@pytest.mark.parametrize("scores", [np.float32([0.25, 0.6]), np.float32([0.25]), np.float32([0.25, np.nan])])
def test_a_model_that_does_not_match_its_probe(scores, tmp_path):
    made, result = ask(tmp_path, "succeed", files=answer(scores=scores))
    with pytest.raises(WorkerContractError, match="scores"):
        made.require_probe(result, np.float32([0.25, 0.5]), tolerance=1e-6)


def test_a_deadline_ends_the_worker_and_what_it_started(tmp_path):
    with pytest.raises(WorkerTimeoutError, match="no result within 1 seconds"):
        ask(tmp_path, "hang_with_a_child", deadline_seconds=1)
    for name in ("pid", "child"):
        assert not is_running((tmp_path / name).read_text())


def test_a_child_that_outlives_a_good_worker_is_ended(tmp_path):
    ask(tmp_path, "leave_a_child")
    assert not is_running((tmp_path / "child").read_text())


def test_what_a_worker_starts_can_be_interrupted_in_a_background_job_too(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells start background jobs
    try:
        ask(tmp_path, "interrupt_a_child")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom test_worker_exchange import ask\nask(Path(sys.argv[2]), 'hang_with_a_child')\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)]
    parent = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    pids = [wait_for(tmp_path / "child"), wait_for(tmp_path / "pid")]
    assert all(map(is_running, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(200):
        if not any(map(is_running, pids)):
            return
        time.sleep(0.05)
    pytest.fail("processes of the worker outlived the parent")


def wait_for(path):
    for _ in range(600):
        if path.is_file() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError("the worker did not start")


def test_a_program_that_does_not_start_is_not_ready(tmp_path):
    class Absent(FakeEnvironment):
        def command(self, *arguments, program=None):
            return [sys.executable, "-I", "-m", "no_such_worker", *arguments]

    made = Exchange(environment=Absent(name="fake", folder=tmp_path), folder=tmp_path)
    with pytest.raises(WorkerNotReadyError, match="probity workers sync fake") as caught:
        made.ask({}, seed=1, deadline_seconds=30, checkpoints=None, on_progress=lambda line: None)
    assert caught.value.exit_code == 5


def test_the_request_names_every_file_and_nothing_else(tmp_path):
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / "000000.npz").write_bytes(b"rows")
    ask(tmp_path, "succeed")
    request = json.loads((tmp_path / "request.json").read_text())
    assert list(request["files"]) == ["clients/000000.npz"]


def test_misleading_variables_do_not_reach_the_child(tmp_path, monkeypatch):
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON"):
        monkeypatch.setenv(name, "/nowhere")
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    code = run_worker(
        [sys.executable, "-I", "-c", script], log=tmp_path / "log", deadline_seconds=30, watch=lambda: None
    )  # fmt: skip
    seen = json.loads((tmp_path / "log").read_text())
    assert code == 0
    assert not {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON"} & set(seen)
    assert seen["PROBITY_WORKER_PARENT"] == str(os.getpid())
