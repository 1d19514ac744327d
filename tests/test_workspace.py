"""The workspace: how runs are made and found, and finished stages taken over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from probity.digest import digest_bytes, digest_file
from probity.errors import ConfigError, DigestMismatchError
from probity.runs import Receipt, RunFolder
from probity.storage import write_atomically
from probity.workspace import Workspace, copy_outputs

KEY = digest_bytes(b"key")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


def receipt_of(run: RunFolder, *names: str, stage: str = "ingest") -> Receipt:
    outputs = {name: digest_file(run.path / name) for name in names}
    return Receipt(stage=stage, key=KEY, outputs=outputs, seconds=1.0, finished_at=MOMENT.isoformat())


class TestLookup:
    def test_a_run_is_found_by_id_unique_prefix_and_latest(self, workspace):
        first = workspace.new_run("a", now=MOMENT)
        second = workspace.new_run("b", now=MOMENT.replace(minute=5))
        assert workspace.find("latest") == second
        assert workspace.find(first.id) == first
        assert workspace.find("20260102T0304") == first
        assert [run.id for run in workspace.runs()] == [second.id, first.id]

    def test_two_runs_of_one_second_get_different_folders(self, workspace):
        assert len({workspace.new_run("a", now=MOMENT).id for _ in range(20)}) == 20

    def test_an_ambiguous_prefix_says_how_many_fit(self, workspace):
        workspace.new_run("a", now=MOMENT)
        workspace.new_run("b", now=MOMENT)
        with pytest.raises(ConfigError, match="2 runs fit"):
            workspace.find("2026")

    @pytest.mark.parametrize("reference", ["latest", "2026", "../..", ""])
    def test_nothing_there_is_said_with_the_next_command(self, workspace, reference):
        with pytest.raises(ConfigError, match="probity run CONFIG"):
            workspace.find(reference)

    def test_a_file_in_place_of_the_workspace_is_a_config_error(self, tmp_path):
        (tmp_path / "w").write_text("")
        with pytest.raises(ConfigError, match="--workspace"):
            Workspace(tmp_path / "w").new_run("a")


class TestFinishedStages:
    def test_a_stage_is_found_by_its_key_and_copied(self, workspace, tmp_path):
        run = workspace.new_run("a")
        (run.path / "02_dataset.json").write_text("{}")
        receipt = receipt_of(run, "02_dataset.json")
        run.write_receipt(receipt)
        workspace.remember_stage(receipt, run)
        assert workspace.finished_stage(KEY) == (run, receipt)
        copy_outputs(run, receipt, into=tmp_path / "copy")
        assert (tmp_path / "copy" / "02_dataset.json").read_text() == "{}"

    def test_without_a_receipt_nothing_is_finished(self, workspace):
        run = workspace.new_run("a")
        (run.path / "02_dataset.json").write_text("{}")
        workspace.remember_stage(receipt_of(run, "02_dataset.json"), run)
        assert workspace.finished_stage(KEY) is None

    @pytest.mark.parametrize("harm", ["change", "remove", "receipt"])
    def test_changed_or_missing_outputs_are_not_reused(self, workspace, harm):
        run = workspace.new_run("a")
        (run.path / "02_dataset.json").write_text("{}")
        receipt = receipt_of(run, "02_dataset.json")
        run.write_receipt(receipt)
        workspace.remember_stage(receipt, run)
        if harm == "change":
            (run.path / "02_dataset.json").write_text("{ }")
        elif harm == "remove":
            (run.path / "02_dataset.json").unlink()
        else:
            (run.path / ".run/receipts/ingest.json").write_text("{")
        assert workspace.finished_stage(KEY) is None

    def test_a_file_changed_between_check_and_copy_is_noticed(self, workspace, tmp_path):
        run = workspace.new_run("a")
        (run.path / "02_dataset.json").write_text("{}")
        receipt = receipt_of(run, "02_dataset.json")
        (run.path / "02_dataset.json").write_text("[]")
        with pytest.raises(DigestMismatchError):
            copy_outputs(run, receipt, into=tmp_path / "copy")

    @pytest.mark.parametrize("pointer", ["", "{}", "[1]", "null", '["ingest", "gone"]'])
    def test_a_broken_pointer_is_a_miss(self, workspace, pointer):
        path = workspace.root / "stages" / KEY.removeprefix("sha256:")
        write_atomically(path, pointer.encode())
        assert workspace.finished_stage(KEY) is None
