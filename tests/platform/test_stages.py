"""The stage runner: reuse by key, publication by rename, receipts, and errors of the disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from probity.errors import ConfigError, DataError
from probity.platform import stages as stages_module
from probity.platform.stages import Stages, Stopped, environment
from probity.workspace import Workspace


class Recorder:
    """An observer and a lineage in one: notes what it is told."""

    def __init__(self):
        self.events = []

    def stage_started(self, name):
        self.events.append(("started", name))

    def stage_progress(self, fraction, text):
        self.events.append(("progress", fraction))

    def stage_finished(self, name, *, seconds, reused_from):
        self.events.append(("finished", name, reused_from))

    def note(self, text):
        self.events.append(("note", text))

    def start(self, stage, *, inputs):
        recorder = self

        class Execution:
            def finish(self, receipt):
                recorder.events.append(("lineage", stage, [entry.stage for entry in inputs]))

            def fail(self, kind):
                recorder.events.append(("failed", stage, kind))

        return Execution()


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


def open_run(workspace, *, recorder=None, **options):
    recorder = recorder or Recorder()
    run = workspace.new_run("a")
    return run, Stages(workspace, run, lineage=recorder, observer=recorder, **options), recorder


def writer(name: str, content: str, calls: list | None = None):
    def produce(out: Path, report) -> None:
        if calls is not None:
            calls.append(name)
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    return produce


def test_outputs_and_receipt_appear_and_nothing_else(workspace):
    run, stages, recorder = open_run(workspace)
    receipt = stages.perform("ingest", produce=writer("03_examples/train", "x"))
    assert (run.path / "03_examples/train").read_text() == "x"
    assert run.receipt("ingest") == receipt
    assert list(receipt.outputs) == ["03_examples/train"]
    assert list(run.work.iterdir()) == []
    assert recorder.events == [("started", "ingest"), ("lineage", "ingest", []), ("finished", "ingest", None)]


def test_an_unchanged_stage_is_taken_over_from_the_run_that_computed_it(workspace):
    calls: list[str] = []
    first, stages, _ = open_run(workspace)
    stages.perform("ingest", produce=writer("a", "x", calls), settings={"n": 1})
    for _ in range(2):
        run, stages, _ = open_run(workspace)
        receipt = stages.perform("ingest", produce=writer("a", "x", calls), settings={"n": 1})
        assert receipt.reused_from == first.id
        assert (run.path / "a").read_text() == "x"
    assert calls == ["a"]


@pytest.mark.parametrize("change", ["settings", "input", "no_cache", "not_cached", "tampered", "code"])
def test_a_changed_stage_is_computed_anew(workspace, change, monkeypatch):
    calls: list[str] = []

    def both(stages, *, n=1, content="x", cached=True):
        stages.perform("ingest", produce=writer("a", content), cached=False)
        stages.perform("train", produce=writer("b", "y", calls), settings={"n": n}, inputs=("ingest",), cached=cached)

    first, stages, _ = open_run(workspace)
    both(stages)
    if change == "tampered":
        (first.path / "b").write_text("z")
    if change == "code":
        monkeypatch.setattr(stages_module, "environment", lambda: {"code": "edited"})
    run, stages, _ = open_run(workspace, use_cache=change != "no_cache")
    both(
        stages,
        n=2 if change == "settings" else 1,
        content="z" if change == "input" else "x",
        cached=change != "not_cached",
    )
    assert calls == ["b", "b"]
    assert (run.path / "b").read_text() == "y"


def test_what_a_dead_process_left_is_not_used(workspace):
    dead, _, _ = open_run(workspace)
    (dead.work / "ingest").mkdir()
    (dead.work / "ingest/a").write_text("half")
    (dead.path / "a").write_text("published, but without a receipt")
    run, stages, _ = open_run(workspace)
    stages.perform("ingest", produce=writer("a", "whole"))
    assert (run.path / "a").read_text() == "whole"


def test_two_stages_share_a_folder_and_neither_overwrites(workspace):
    run, stages, _ = open_run(workspace)
    stages.perform("one", produce=writer("08_audits/one.json", "1"))
    stages.perform("two", produce=writer("08_audits/two.json", "2"))
    assert sorted(path.name for path in (run.path / "08_audits").iterdir()) == ["one.json", "two.json"]
    with pytest.raises(AssertionError, match="written twice"):
        stages.perform("three", produce=writer("08_audits/one.json", "3"))
    assert (run.path / "08_audits/one.json").read_text() == "1"


def test_until_stops_after_the_stage_is_kept(workspace):
    run, stages, _ = open_run(workspace, until="ingest")
    with pytest.raises(Stopped):
        stages.perform("ingest", produce=writer("a", "x"))
    assert run.receipt("ingest") is not None


def test_a_failing_stage_leaves_no_receipt_and_is_recorded_by_kind_only(workspace):
    run, stages, recorder = open_run(workspace)

    def produce(out, report):
        raise DataError("column x", seen="secret-value", allowed="a", remedy="b")

    with pytest.raises(DataError):
        stages.perform("ingest", produce=produce)
    assert run.receipt("ingest") is None
    assert recorder.events[-1] == ("failed", "ingest", "DataError")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "full"),
        (OSError(errno.EROFS, "Read-only file system"), "not writable"),
        (PermissionError(errno.EACCES, "Permission denied"), "not writable"),
        (RuntimeError("writing failed: No space left on device; row 1,2,3"), "full"),
    ],
)
def test_disk_errors_become_one_message_whoever_met_them(workspace, error, word):
    _, stages, _ = open_run(workspace)

    def produce(out, report):
        raise error

    with pytest.raises(ConfigError, match=f"is {word}") as caught:
        stages.perform("ingest", produce=produce)
    assert "1,2,3" not in str(caught.value)


def test_a_stage_that_failed_can_be_performed_again(workspace):
    run, stages, _ = open_run(workspace)

    def produce(out, report):
        (out / "half").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stages.perform("release", produce=produce)
    assert list(stages.perform("release", produce=writer("a", "x")).outputs) == ["a"]
    assert not (run.path / "half").exists()


def test_other_errors_stay_what_they_are(workspace):
    _, stages, _ = open_run(workspace)

    def produce(out, report):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        stages.perform("ingest", produce=produce)


def test_the_environment_follows_the_source(tmp_path, monkeypatch):
    package = tmp_path / "probity" / "platform"
    package.mkdir(parents=True)
    source = package / "stages.py"
    source.write_text("a = 1\n")
    monkeypatch.setattr(stages_module, "__file__", str(source))
    environment.cache_clear()
    before = environment()
    source.write_text("a = 2\n")
    environment.cache_clear()
    after = environment()
    environment.cache_clear()
    assert before["code"] != after["code"]
    assert before["packages"] == after["packages"]
