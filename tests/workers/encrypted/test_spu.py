"""The second engine, SecretFlow's SPU: the suite of every trainer, the clear training's weights, and its failures."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from adult import Training, inputs

from probity.errors import WorkerReportedError
from probity.predictor import SavedModelPredictor
from probity.trainers.encrypted.settings import EncryptedSettings
from probity.trainers.encrypted.trainer import EncryptedTrainer
from probity.trainers.testing import TrainerContract
from probity.trainers.testing_world import agreed, make_request
from probity.trainers.worker_environments import environment_of

READY = environment_of("spu").why_not_ready()
pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(READY is not None, reason=f"worker spu: {READY}; run: probity workers sync spu"),
]

SPU = {"engine": "spu", "parties": "processes", "batch_size": 128, "learning_rate": 0.5}


class TestSpuTrainer(TrainerContract):
    @pytest.fixture(scope="class")
    def trainer(self):
        return EncryptedTrainer()

    @pytest.fixture(scope="class")
    def settings(self):
        return EncryptedSettings(epochs=2, compare=False, **{**SPU, "batch_size": 64})

    def test_the_seed_decides_the_weights_and_the_test_split_does_not(
        self, trained, trainer, settings, world, tmp_path
    ):
        """Up to the rounding of fixed-point numbers: truncation on shares is randomised."""
        request = make_request(world, settings, mechanism=agreed(trainer, settings, world))
        trainer.train(request, workdir=tmp_path, report=lambda fraction, text: None)
        mine, again = (
            SavedModelPredictor(folder / "saved_model").predict(world.raw) for folder in (trained.workdir, tmp_path)
        )
        assert np.abs(mine - again).max() < 0.002


@pytest.fixture(scope="module")
def few():
    return inputs(512)


@pytest.mark.parametrize(
    ("hidden", "settings"),
    [
        ((), {}),
        ((8,), {}),
        ((), {"precision": 128}),
        ((), {"data_owners": {"by": "columns", "groups": {"bank": ("age",), "registry": None}}}),
    ],
)
def test_the_weights_are_those_of_the_clear_training(few, tmp_path, hidden, settings):
    arrays, labels = few
    if "data_owners" in settings:
        settings["data_owners"]["groups"]["registry"] = tuple(name for name in arrays if name != "age")
    training = Training(arrays, labels, tmp_path / "worker", hidden=hidden, epochs=2, **{**SPU, **settings})
    result = training.ask()
    trained, plain = training.weights(result), training.twin()
    trained[0] = trained[0][np.argsort(training.plan.column_order)]
    assert max(np.abs(a - b).max() for a, b in zip(trained, plain, strict=True)) < 0.01
    assert not list((tmp_path / "worker").rglob("*.share"))
    assert set(result.body["sent_bytes"]) == {"server0", "server1", "server2"}
    assert min(result.body["sent_bytes"].values()) > 0


def test_a_killed_server_is_named_and_a_rerun_goes_on_from_its_shares(few, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()

    hosts = []

    def kill(line):
        if line.get("epoch") == 2:
            hosts.extend(host for process, _ in servers(tmp_path / "first") for host in listens_on(process))
            (server,) = [process for process in servers(tmp_path / "first") if b"server1" in process[1]]
            os.kill(server[0], signal.SIGKILL)

    with pytest.raises(WorkerReportedError, match="party_lost: party server1"):
        Training(*few, tmp_path / "first", epochs=30, **SPU).ask(checkpoints=checkpoints, on_progress=kill)
    assert not servers(tmp_path)
    assert len(hosts) >= 2  # whoever is linked to needs a port; each is on loopback
    assert set(hosts) == {"0100007F"}
    result = Training(*few, tmp_path / "second", epochs=30, **SPU).ask(checkpoints=checkpoints)
    assert 2 <= result.body["resumed_epochs"] < 30
    assert len(result.body["history"]) == 30 - result.body["resumed_epochs"]


def servers(folder):
    """Returns id and command line of the server processes whose job lies below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if b"probity_spu_worker.server" in words and str(folder).encode() in words:
            found.append((int(entry.parent.name), words))
    return found


def listens_on(process):
    """Returns the addresses, in the hexadecimal form of Linux, on which a process listens."""
    links = []
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            links.append(os.readlink(entry))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in links:
                found.append(fields[1].split(":")[0])
    return found


def test_an_owner_without_the_planned_columns_is_named(few, tmp_path):
    training = Training(*few, tmp_path / "worker", epochs=1, **SPU)
    owners = [
        {"name": part.name, "folder": f"owners/{part.name}", "rows": len(part.rows), "columns": list(part.names),
         "has_label": True}
        for part in training.plan.parts
    ]  # fmt: skip
    owners[1]["columns"][0] = "height[0]"
    with pytest.raises(WorkerReportedError, match=r"data owner owner1: rows.parquet has no numbers in .* height\[0\]"):
        training.ask(owners=owners)


def test_numbers_beyond_the_range_are_refused_before_training(few, tmp_path):
    arrays, labels = few
    broken = {**arrays, "age": arrays["age"].copy()}
    broken["age"][5] = np.nan
    with pytest.raises(WorkerReportedError, match=r"range: data owner owner[01]"):
        Training(broken, labels, tmp_path / "worker", epochs=1, **SPU).ask()
