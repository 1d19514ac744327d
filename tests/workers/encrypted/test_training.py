"""Real training on secret shares: the model of the same steps in the clear, and every way in which parties fail."""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import yaml
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent))

from adult import Training, inputs, scores

from probity.errors import WorkerReportedError, WorkerTimeoutError
from probity.trainers.encrypted.parts import deal
from probity.trainers.worker_environments import environment_of

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(
        environment_of("encrypted").why_not_ready() is not None, reason="run: probity workers sync encrypted"
    ),
]

HELD_OUT = 9000
LOGISTIC = {"epochs": 2, "batch_size": 256, "learning_rate": 0.5}
"""Small enough to train in a second after compiling."""
PATIENT = {"parties": "processes", "start_seconds": 300.0}


@pytest.fixture(scope="module")
def adult():
    return inputs()


@pytest.fixture(scope="module")
def split(adult):
    arrays, labels = adult
    train = {name: array[:-HELD_OUT] for name, array in arrays.items()}
    return train, labels[:-HELD_OUT]


@pytest.fixture(scope="module")
def few(adult):
    arrays, labels = adult
    return {name: array[:1024] for name, array in arrays.items()}, labels[:1024]


def party_processes(folder):
    """Ids of party processes that read a parties file below this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"probity_encrypted_worker.party" in words and any(str(folder).encode() in word for word in words):
            found.append(int(entry.parent.name))
    return found


@pytest.mark.parametrize(
    ("settings", "hidden", "tolerance"),
    [
        ({"protocol": "aby3"}, (), 0.05),
        ({"protocol": "aby3", "epochs": 1}, (16,), 0.1),
        ({"protocol": "aby3", "precision": 128, "epochs": 1}, (), 0.05),
        ({"protocol": "securenn", "epochs": 1, "learning_rate": 0.3}, (), 0.1),
        ({"protocol": "pond", "epochs": 1, "learning_rate": 0.3}, (), 0.1),
    ],
)
def test_adult_on_shares_is_adult_in_the_clear(adult, split, tmp_path, settings, hidden, tolerance):
    arrays, labels = adult
    training = Training(*split, tmp_path / "worker", hidden=hidden, **{**LOGISTIC, **settings})
    trained, plain = training.weights(training.ask()), training.twin()
    held_out = np.concatenate([arrays[name][-HELD_OUT:] for name in training.stack.inputs], axis=1)
    shared, clear = scores(trained, held_out), scores(plain, held_out)
    truth = labels[-HELD_OUT:]
    assert abs(((shared > 0.5) == truth).mean() - ((clear > 0.5) == truth).mean()) < 0.003
    assert abs(roc_auc_score(truth, shared) - roc_auc_score(truth, clear)) < 0.003
    assert max(np.abs(a - b).max() for a, b in zip(trained, plain, strict=True)) < tolerance
    assert roc_auc_score(truth, shared) > 0.85


def test_owners_of_columns_train_the_same_model(few, tmp_path):
    arrays, labels = few
    names = list(arrays)
    groups = {"bank": tuple(names[::2]), "registry": tuple(names[1::2])}
    training = Training(
        arrays, labels, tmp_path / "worker", data_owners={"by": "columns", "groups": groups}, **LOGISTIC
    )
    trained, plain = training.weights(training.ask()), training.twin()
    order = training.plan.column_order
    assert np.abs(trained[0] - plain[0][order]).max() < 0.02


def test_a_killed_party_is_named_and_a_rerun_goes_on_from_its_shares(few, tmp_path):
    training = Training(*few, tmp_path / "first", **{**LOGISTIC, **PATIENT, "epochs": 200})
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    killed = []

    def kill(line):
        if "parties" in line:
            training.pids = line["parties"]
        elif line["epoch"] == 2:
            os.kill(training.pids["server1"], signal.SIGKILL)
            killed.append(line["epoch"])

    with pytest.raises(WorkerReportedError, match=r"party_lost: party .*server1"):
        training.ask(checkpoints=checkpoints, on_progress=kill)
    assert killed
    assert not party_processes(tmp_path)
    again = Training(*few, tmp_path / "second", **{**LOGISTIC, "epochs": 200})
    result = again.ask(checkpoints=checkpoints)
    assert result.body["resumed_epochs"] >= 2
    assert len(result.body["history"]) == 200 - result.body["resumed_epochs"]


def test_an_interrupted_training_goes_on_to_the_same_model(few, tmp_path):
    """Interrupted after the second epoch, continued by another process, and equal to the training in the clear."""
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()

    def interrupt(line):
        if line.get("epoch") == 2:
            raise KeyboardInterrupt

    settings = {**LOGISTIC, "epochs": 60}
    with pytest.raises(KeyboardInterrupt):
        Training(*few, tmp_path / "first", **settings).ask(checkpoints=checkpoints, on_progress=interrupt)
    again = Training(*few, tmp_path / "second", **settings)
    result = again.ask(checkpoints=checkpoints)
    assert 2 <= result.body["resumed_epochs"] < 60
    assert len(result.body["history"]) == 60 - result.body["resumed_epochs"]
    assert np.abs(again.weights(result)[0] - again.twin()[0]).max() < 0.05


def test_checkpoints_of_one_server_say_nothing(few, tmp_path):
    """Chi-square of every byte of the files of one server; the weights start at zero and stay small."""
    import tensorflow as tf
    from scipy.stats import chisquare

    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    Training(*few, tmp_path / "worker", **{**LOGISTIC, "epochs": 30}).ask(checkpoints=checkpoints)
    for server in ("server0", "server1", "server2"):
        files = sorted((checkpoints / server).glob("*.share"))
        shares = [tf.io.parse_tensor(path.read_bytes(), tf.int64).numpy().reshape(-1) for path in files]
        counts = np.bincount(np.concatenate(shares).view(np.uint8), minlength=256)
        assert counts.sum() > 20_000
        assert chisquare(counts).pvalue > 1e-4


def test_a_party_that_never_starts_is_named(few, tmp_path):
    (tmp_path / "parties.yaml").write_text(
        "parties:\n" + "".join(
            f"  {name}: {{address: '127.0.0.1:{port}'}}\n"
            for name, port in (("server0", 1), ("server1", 2), ("server2", 3), ("owner0", 4), ("owner1", 5))
        )
    )  # fmt: skip
    training = Training(*few, tmp_path / "worker", parties="parties.yaml", start_seconds=2.0, **LOGISTIC)
    with pytest.raises(WorkerReportedError, match="party_silent: party server0, server1, server2, owner0, owner1"):
        training.ask()


GROUPS = {"by": "columns", "label_owner": "registry"}


@pytest.mark.parametrize("by", ["rows", "columns"])
def test_owners_keep_their_own_files(few, tmp_path, serving, by):
    """Owners' processes read files that this run neither writes nor reads; a file that is not as planned is named."""
    arrays, labels = few
    names = list(arrays)
    groups = {**GROUPS, "groups": {"bank": tuple(names[::2]), "registry": tuple(names[1::2])}}
    owners = {**({"by": "rows", "count": 2} if by == "rows" else groups), "files": "own"}

    def asked(name):
        return Training(arrays, labels, tmp_path / name, parties="parties.yaml", data_owners=owners, **LOGISTIC)

    training = asked("worker")
    deal(training.plan, training.joined, labels, folder=tmp_path / "private")
    last = training.plan.parts[-1]
    file = tmp_path / "private" / last.name / "rows.parquet"
    table = parquet.read_table(file)
    shuffled = table.select(table.column_names[::-1]).append_column("sex", pa.array(["Female"] * len(table)))
    parquet.write_table(shuffled, file)  # columns are found by name, and a column that nobody planned is not read
    folders = {server: tmp_path / server for server in ("server0", "server1", "server2")}
    folders |= {part.name: tmp_path / "private" / part.name for part in training.plan.parts}
    with serving(tmp_path, folders):
        trained, plain = training.weights(training.ask()), training.twin()
        order = training.plan.column_order
        assert np.abs(trained[0] - plain[0][order]).max() < 0.02
        assert not list((tmp_path / "worker").rglob("*.parquet"))
        if by == "rows":
            other, said = table.slice(5), rf"rows.parquet has {len(table) - 5} rows. Allowed: {len(table)} rows"
        else:
            names = ["nothing", *table.column_names[1:]]
            other, said = table.rename_columns(names), r"no numbers in the columns \S+\[0\]\."
        parquet.write_table(other, file)
        with pytest.raises(WorkerReportedError, match=rf"data_owner: data owner {last.name}: .*{said}"):
            asked("other").ask()


def test_a_wrong_address_is_named_before_any_row_moves(few, tmp_path, serving):
    """The parties of the file run; the model owner's copy of it has two of their addresses exchanged."""
    training = Training(*few, tmp_path / "worker", parties="parties.yaml", **LOGISTIC)
    folders = {name: tmp_path / name for name in ("server0", "server1", "server2", "owner0", "owner1")}
    with serving(tmp_path, folders) as (file, _):
        found = yaml.safe_load(file.read_text())
        parties = found["parties"]
        parties["server0"]["address"], parties["server1"]["address"] = (
            parties["server1"]["address"], parties["server0"]["address"],
        )  # fmt: skip
        (tmp_path / "wrong").mkdir()
        (tmp_path / "wrong" / "parties.yaml").write_text(yaml.safe_dump(found))
        with pytest.raises(WorkerReportedError, match="parties: party server0: the process at its address is another"):
            training.ask(party_file=str(tmp_path / "wrong" / "parties.yaml"))


@pytest.mark.parametrize("planted", [np.nan, np.inf, 3000.0])
def test_numbers_beyond_the_range_are_refused_before_training(few, tmp_path, planted):
    arrays, labels = few
    broken = {**arrays, "age": arrays["age"].copy()}
    broken["age"][5] = planted
    training = Training(broken, labels, tmp_path / "worker", **LOGISTIC)
    with pytest.raises(WorkerReportedError, match=r"range: data owner owner[01]: some of its features"):
        training.ask()


def test_sums_beyond_the_range_are_no_model_although_all_weights_are_in_range(few, tmp_path):
    """With a step size that rounds to nothing the weights stay as they were; the sums of the layers wrap around."""
    training = Training(*few, tmp_path / "worker", hidden=(2, 2), **{**LOGISTIC, "learning_rate": 1e-9})
    training.stack.set_weights([np.full_like(array, 1000.0) for array in training.stack.weights()])
    with pytest.raises(WorkerReportedError, match="overflow: trainer encrypted: a number inside the model"):
        training.ask()
    assert not (tmp_path / "worker" / "weights.npz").exists()


def test_a_training_that_leaves_the_range_on_its_way_is_no_model(few, tmp_path):
    """Rows, labels and initial weights are in range; what a network with a hidden layer makes of them is not."""
    arrays, labels = few
    large = {name: array * 300.0 for name, array in arrays.items()}
    training = Training(large, labels, tmp_path / "worker", hidden=(16,), **{**LOGISTIC, "learning_rate": 100.0})
    with pytest.raises(WorkerReportedError, match="overflow: trainer encrypted: "):
        training.ask()
    assert not (tmp_path / "worker" / "weights.npz").exists()


def test_a_passed_deadline_leaves_no_party(few, tmp_path):
    training = Training(*few, tmp_path / "worker", **{**LOGISTIC, **PATIENT, "epochs": 500})
    seen = threading.Event()
    with pytest.raises(WorkerTimeoutError):
        training.ask(deadline_seconds=45.0, on_progress=lambda line: seen.set())
    assert not party_processes(tmp_path)


def test_the_loss_leaves_the_shares_only_where_asked(few, tmp_path):
    told = Training(*few, tmp_path / "told", reveal={"loss": True}, **LOGISTIC).ask()
    losses = [line["brier_score"] for line in told.body["history"]]
    assert all(0.05 < loss < 0.3 for loss in losses)
    quiet = Training(*few, tmp_path / "quiet", **LOGISTIC).ask()
    assert [line["brier_score"] for line in quiet.body["history"]] == [None, None]
