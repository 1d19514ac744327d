"""Environments of workers: ready only if they are what their locks say; exit code 5 and the command otherwise."""

import json

import pytest
from typer.testing import CliRunner

from probity.errors import WorkerNotReadyError
from probity.platform import diagnosis
from probity.platform.cli import app
from probity.trainers import worker_environments
from probity.trainers.worker_environments import VARIABLE, environment_of, environments, sync, workers_folder


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """A folder of workers with one that has never been synced."""
    root = tmp_path / "workers"
    for name, files in {"contract": ["pyproject.toml"], "fake": worker_environments._LOCKED}.items():
        (root / name).mkdir(parents=True)
        for file in files:
            (root / name / file).write_text("3.11\n")
    monkeypatch.setenv(VARIABLE, str(root))
    return root


@pytest.fixture
def tools(monkeypatch):
    """The commands that a sync would run; the venv's interpreter appears as uv would make it."""
    ran = []

    def run(command):
        ran.append(command)
        if command[1] == "venv":
            environment_of("fake").python.parent.mkdir(parents=True)
            environment_of("fake").python.touch()
        return 0, "/some/python"

    monkeypatch.setattr(worker_environments, "run_tool", run)
    monkeypatch.setattr(worker_environments.shutil, "which", lambda name: f"/bin/{name}")
    return ran


def test_a_worker_is_ready_after_a_sync_and_until_its_lock_changes(workers, tools):
    worker = environment_of("fake")
    assert "missing" in worker.why_not_ready()
    sync(worker)
    assert worker.why_not_ready() is None
    (workers / "fake" / "requirements.txt").write_text("numpy==2.0\n")
    assert "not the one that the lock file describes" in worker.why_not_ready()
    with pytest.raises(WorkerNotReadyError, match="probity workers sync fake") as caught:
        worker.require_ready()
    assert caught.value.exit_code == 5


def test_a_sync_takes_locked_hashes_only_and_makes_the_environment_once(workers, tools):
    sync(environment_of("fake"))
    sync(environment_of("fake"))
    assert [command[1] for command in tools] == ["python", "venv", "pip", "pip", "pip", "pip"]
    assert {"--require-hashes", "--compile-bytecode"} <= set(tools[2])
    assert "--no-deps" in tools[3]


def test_a_sync_that_fails_leaves_the_worker_not_ready(workers, tools, monkeypatch):
    sync(environment_of("fake"))
    monkeypatch.setattr(worker_environments, "run_tool", lambda command: (1, "no such package"))
    with pytest.raises(WorkerNotReadyError, match="exit code 1: no such package"):
        sync(environment_of("fake"))
    assert "incomplete" in environment_of("fake").why_not_ready()


def test_a_python_that_is_nowhere_has_an_error_of_its_own(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_environments, "run_tool", lambda command: (1, "shim"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    with pytest.raises(WorkerNotReadyError, match=r"Python 3\.11.*uv python install 3\.11"):
        sync(environment_of("fake"))
    python = tmp_path / "pyenv" / "versions" / "3.11.9" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert worker_environments._python("uv", "3.11") == str(python)


def test_a_missing_uv_is_said(workers, monkeypatch):
    monkeypatch.setattr(worker_environments.shutil, "which", lambda name: None)
    monkeypatch.setattr(worker_environments, "__file__", str(workers / "a" / "b" / "c.py"))
    with pytest.raises(WorkerNotReadyError, match="pip install uv"):
        sync(environment_of("fake"))


def test_no_folder_of_workers(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(WorkerNotReadyError, match=VARIABLE):
        workers_folder()


def test_an_unknown_worker_lists_the_known(workers):
    with pytest.raises(WorkerNotReadyError, match="Allowed: fake"):
        environment_of("fak")
    assert [worker.name for worker in environments()] == ["fake"]


def test_status_and_doctor_say_what_mends_it(workers, tools):
    runner = CliRunner()
    before = runner.invoke(app, ["workers", "status"])
    assert before.exit_code == 5
    assert "probity workers sync fake" in before.output
    (row,) = diagnosis._workers()
    assert (row.works, row.needed, row.remedy) == (False, False, "probity workers sync fake")
    assert runner.invoke(app, ["workers", "sync"]).exit_code == 0
    after = runner.invoke(app, ["workers", "status", "--json"])
    assert after.exit_code == 0
    assert json.loads(after.output)[0]["ready"] is True


def test_serving_hands_everything_else_to_the_workers_own_program(workers, tools, monkeypatch):
    became = []
    monkeypatch.setattr("probity.trainers.worker.become", became.append)
    assert isinstance(CliRunner().invoke(app, ["workers", "serve", "fake"]).exception, WorkerNotReadyError)
    sync(environment_of("fake"))
    CliRunner().invoke(app, ["workers", "serve", "fake", "--port", "8000", "--party", "a"])
    assert became[-1][1:] == ["-I", "-m", "probity_fake_worker.serve", "--port", "8000", "--party", "a"]


def test_the_code_digest_follows_the_workers_source(workers):
    before = environment_of("fake").code
    (workers / "fake" / "probity_fake_worker").mkdir()
    (workers / "fake" / "probity_fake_worker" / "engine.py").write_text("x = 1\n")
    assert environment_of("fake").code != before
