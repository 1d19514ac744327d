"""Scores of many rows, file to file: by released bytes alone, in the file's order, whatever its format."""

from __future__ import annotations

import gzip
import stat
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from probity import runs
from probity.data import Column, ColumnKind, Dataset, Role
from probity.digest import digest_tree
from probity.errors import ConfigError, DataError, ReleaseError, ReleaseHeldError, SignatureError
from probity.history import DataRejected, EvidenceExpired, Rejected
from probity.platform import readers
from probity.platform.bulk_prediction import predict_file
from probity.platform.cli import app
from probity.platform.pieces import read_pieces
from probity.platform.release.history import add_event
from probity.platform.release.project import Project
from probity.platform.release.push import push
from probity.storage import write_record
from probity.tfexample import write_table
from tests.platform.conftest import FinishedRun, digest_of
from tests.platform.release.candidates import NOON, Candidate, decide, keys_at, make_card
from tests.platform.serving.test_infra_validation import save

ROWS = 500
AGES = np.random.default_rng(3).integers(18, 80, ROWS)
WORK = np.random.default_rng(4).choice(["clerk", "baker", ""], ROWS)
EXPECTED = (AGES / 100.0 + np.array([len(word) for word in WORK]) / 1000.0).astype(np.float32)  # what the model says


def scored_dataset() -> Dataset:
    columns = (
        Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE,)),
        Column(name="work", kind=ColumnKind.TEXT, roles=(Role.FEATURE,)),
        Column(name="y", kind=ColumnKind.TEXT, roles=(Role.LABEL,)),
    )
    return Dataset(
        name="a", source="a.csv", source_format="csv", source_digest=digest_of("s"), content_digest=digest_of("c"),
        num_rows=500, columns=columns, label="y", positive="yes", split_rule="hash",
    )  # fmt: skip


class Released:
    """A released run of a model of an age and a word."""

    def __init__(self, root, model):
        self.root = root
        self.workspace = FinishedRun(root / ".probity", seed=3)
        self.run = self.workspace.complete(until="gate").folder
        write_record(self.run.path / runs.DATASET, scored_dataset())
        self.project, self.keys = Project.of_run(self.run), keys_at(root)
        candidate = Candidate(root / "candidate", run=self.run.id)
        candidate.model = model
        candidate.card = make_card(root / "card", model=digest_tree(model))
        candidate.decision = decide(model, candidate.card)
        self.release = self.push(candidate)
        write_record(self.run.path / runs.RELEASE, self.release)
        self.out = root / "scores.parquet"

    def push(self, candidate: Candidate, *, hours: int = 0):
        moment = NOON + timedelta(hours=hours)
        arguments = candidate.push_arguments(base_path=self.project.base_path, keys=self.keys, now=lambda: moment)
        return push(candidate.model, **arguments)

    @property
    def version(self):
        return self.project.base_path / "m" / str(self.release.version)

    def tell(self, event):
        add_event(
            self.project.base_path, "m", event, model=self.release.model, keys=self.project.writers(),
            signer=self.keys.signer,
        )  # fmt: skip

    def csv(self, name="rows.csv", *, ages=AGES, header="person,age,work"):
        lines = [header, *(f"p{row},{age},{word}" for row, (age, word) in enumerate(zip(ages, WORK, strict=True)))]
        content = ("\n".join(lines) + "\n").encode()
        path = self.root / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bulk") / "model")


@pytest.fixture
def released(tmp_path, model):
    return Released(tmp_path, model)


def typed() -> pa.Table:
    return pa.table(
        {
            "person": [f"p{row}" for row in range(ROWS)],
            "age": pa.array(AGES, pa.int64()),
            "work": pa.array([word or None for word in WORK], pa.string()),
        }
    )


@pytest.mark.parametrize("kind", ["rows.csv", "rows.csv.gz", "rows.parquet", "rows.tfrecord.gz"])
def test_every_format_gives_the_models_scores_in_the_files_order(released, kind):
    path = released.root / kind
    if kind.startswith("rows.csv"):
        released.csv(kind)
    elif kind.endswith("parquet"):
        pq.write_table(typed(), path)
    else:
        write_table(path, typed())
    assert predict_file(released.run, path, released.out, id_column="person") == ROWS
    table = pq.read_table(released.out)
    assert table.column_names == ["person", "score"]
    assert table.column("person").to_pylist() == [f"p{row}" for row in range(ROWS)]
    np.testing.assert_allclose(table.column("score").to_numpy(), EXPECTED, rtol=1e-6)
    about = pq.read_schema(released.out).metadata
    assert about[b"probity.model"].decode() == released.release.model
    assert stat.S_IMODE(released.out.stat().st_mode) == 0o600


def test_a_file_is_read_piece_by_piece(released, monkeypatch):
    path = released.csv()
    whole = released.root / "whole.parquet"
    predict_file(released.run, path, whole)
    monkeypatch.setattr(readers, "BLOCK_BYTES", 1024)
    assert len(list(read_pieces(path))) > 3
    predict_file(released.run, path, released.out)
    assert pq.read_table(released.out).equals(pq.read_table(whole))


def test_kinds_are_those_of_the_training_and_not_of_the_piece(released):
    path = released.root / "rows.csv"
    path.write_text("age,work\n007,1\n,2\n 40 ,\n")  # a zero that leads, a number as a word, missing cells, blanks
    predict_file(released.run, path, released.out)
    expected = [0.07 + 0.001, 0.001, 0.4]
    np.testing.assert_allclose(pq.read_table(released.out).column("score").to_numpy(), expected, rtol=1e-5)


def test_a_label_and_further_columns_are_ignored(released):
    path = released.root / "rows.csv"
    path.write_text("y,age,work,more\nyes,40,clerk,1\nno,50,clerk,2\n")
    assert predict_file(released.run, path, released.out) == 2


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ("age,work\n40,clerk\nforty,clerk\n", "column age: 1 of 2 values are not numbers"),
        ("age,job\n40,clerk\n", "no column work"),
        ("age,work\n40\n", "1 rows with more or fewer cells than the 2 columns"),
        ("age,work\n", "0 rows"),
        ("", "an empty file"),
        ("age,work\n40,\udcff\n", "cannot be read as CSV"),
    ],
    ids=["words for numbers", "no such column", "ragged", "no rows", "empty", "not text"],
)
def test_rows_of_another_kind_score_nothing_and_are_not_quoted(released, content, seen):
    path = released.root / "rows.csv"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(DataError, match=seen) as caught:
        predict_file(released.run, path, released.out)
    assert "forty" not in str(caught.value)
    assert sorted(entry.name for entry in released.root.glob("*scores*")) == []


def test_a_fault_late_in_the_file_leaves_no_half_result(released, monkeypatch):
    monkeypatch.setattr(readers, "BLOCK_BYTES", 1024)
    path = released.csv()
    path.write_text(path.read_text() + "p,forty,clerk\n")
    with pytest.raises(DataError, match="not numbers"):
        predict_file(released.run, path, released.out)
    assert list(released.root.glob("*scores*")) == []


def test_a_run_that_was_not_released_scores_nobody(released):
    (released.run.path / runs.RELEASE).unlink()
    with pytest.raises(ReleaseHeldError, match="no release; its status is"):
        predict_file(released.run, released.csv(), released.out)


@pytest.mark.parametrize(
    ("event", "seen"),
    [
        (lambda run: Rejected(at=NOON.isoformat(), by="kim", run=run, evidence=digest_of("e")), "a reviewer rejected"),
        (
            lambda run: DataRejected(at=NOON.isoformat(), by="kim", run=run, evidence=digest_of("e")),
            "rejected its data",
        ),
        (lambda run: EvidenceExpired(at=NOON.isoformat(), by="kim", run=run), "declared expired"),
    ],
)
def test_what_was_taken_back_after_the_release_holds_this_run_alone(released, event, seen):
    released.tell(event("another run"))
    path = released.csv()
    assert predict_file(released.run, path, released.out) == ROWS
    released.tell(event(released.run.id))
    with pytest.raises(ReleaseHeldError, match=seen):
        predict_file(released.run, path, released.out)


def test_a_version_whose_bytes_changed_is_not_loaded(released):
    changed = released.version / "saved_model.pb"
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(SignatureError, match="m/"):
        predict_file(released.run, released.csv(), released.out)
    assert not released.out.exists()


def test_a_release_that_names_anothers_version_is_not_believed(released):
    other = released.push(Candidate(released.root / "other", run="another-run"), hours=1)
    forged = released.release.model_copy(update={"version": other.version, "path": other.path})
    write_record(released.run.path / runs.RELEASE, forged)
    with pytest.raises(SignatureError, match="another run made"):
        predict_file(released.run, released.csv(), released.out)


def test_a_version_that_is_gone_is_said(released):
    released.version.rename(released.root / "gone")
    with pytest.raises(ReleaseError, match="cannot be read"):
        predict_file(released.run, released.csv(), released.out)


def test_a_place_that_cannot_be_written_is_said(released):
    with pytest.raises(ConfigError, match="--out"):
        predict_file(released.run, released.csv(), released.root / "absent" / "scores.parquet")


def call(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_the_command_says_how_many_and_where(released):
    arguments = [released.run.id, "--workspace", released.root / ".probity", "--data", released.csv()]
    answer = call(*arguments, "--out", released.out)
    assert answer.exit_code == 0, answer.exception
    assert f"{ROWS} rows scored by run {released.run.id}" in answer.stdout
    assert isinstance(call(*arguments).exception, ConfigError)
    assert isinstance(call(*arguments, "--encrypted", "--out", released.out).exception, ConfigError)
