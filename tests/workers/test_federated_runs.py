"""The trainer ``federated`` with its real worker: TensorFlow Federated in an environment of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from probity.audits.accounting import epsilon_of
from probity.federated.settings import FederatedSettings
from probity.federated.trainer import FederatedTrainer
from probity.federation import FEDERATION, Federation
from probity.model import DpFedAvg, DpFtrl
from probity.storage import read_record
from probity.trainers.testing import TrainerContract
from probity.trainers.testing_world import agreed, make_request, make_world
from tests.workers.interrupted_federated import ROUNDS

pytestmark = pytest.mark.workers

SETTINGS = {"clients": {"number": 6}, "rounds": 3, "clients_per_round": 4, "local": {"learning_rate": 0.5}}


def settings(**changes):
    return FederatedSettings.from_json({**SETTINGS, **changes})


class TestContract(TrainerContract):
    @pytest.fixture(scope="class")
    def trainer(self):
        return FederatedTrainer()

    @pytest.fixture(scope="class")
    def settings(self):
        return settings()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def train(world, workdir, asked, **changes):
    trainer = FederatedTrainer()
    request = make_request(world, asked, mechanism=agreed(trainer, asked, world))
    return trainer.train(replace(request, **changes), workdir=workdir, report=lambda fraction, text: None)


@pytest.mark.parametrize(
    ("privacy", "kind"),
    [
        ({"mechanism": "dp_fedavg", "noise_multiplier": 1.0}, DpFedAvg),
        ({"mechanism": "dp_fedavg", "noise_multiplier": 1.0, "clipping": "fixed"}, DpFedAvg),
        ({"mechanism": "dp_ftrl", "noise_multiplier": 2.0}, DpFtrl),
    ],
)
def test_private_training_executes_what_was_agreed(privacy, kind, world, tmp_path):
    record = train(world, tmp_path, settings(privacy=privacy))
    assert isinstance(record.mechanism, kind)
    assert (record.mechanism.rounds, record.mechanism.noise_source) == (3, "os_entropy")
    assert 0 < epsilon_of([record.mechanism], delta=1e-2) < np.inf
    assert "loss" not in record.history


@pytest.mark.parametrize("changes", [{"aggregation": "secure"}, {"compression": "quantize"}])
def test_secure_sums_are_simulated_and_updates_compressed(changes, world, tmp_path):
    record = train(world, tmp_path, settings(**changes))
    simulated = "aggregation" in changes
    assert record.mechanism.secure_aggregation == ("simulated" if simulated else "none")
    assert any("simulated" in text and "secure" in text for text in record.warnings) is simulated


@pytest.mark.parametrize("optimizer", ["fedprox", "fedadam", "fedsgd"])
def test_every_server_optimizer_trains(optimizer, world, tmp_path):
    record = train(world, tmp_path, settings(server={"optimizer": optimizer, "learning_rate": 0.1}))
    assert np.isfinite(record.history["loss"]).all()


def test_absent_clients_are_counted(world, tmp_path):
    train(world, tmp_path, settings(availability=0.5, rounds=6))
    rounds = read_record(tmp_path / FEDERATION, Federation).rounds
    assert all(entry.participants + entry.dropped == 4 for entry in rounds)
    assert sum(entry.dropped for entry in rounds) > 0


def test_no_row_of_a_client_is_in_what_comes_back(world, tmp_path):
    train(world, tmp_path, settings())
    inputs, _ = world.examples.arrays("train")
    marked = {f"{number:.6f}" for number in inputs["balance_xf"][:, 0] if number}
    answers = [(tmp_path / "worker" / name).read_text() for name in ("result.json", "progress.jsonl", "log.txt")]
    assert not [text for text in marked if any(text in answer for answer in answers)]
    assert json.loads(answers[0])["status"] == "ok"


def test_a_column_with_a_client_of_one_row(world, tmp_path):
    clients = np.arange(480) % 3
    clients[clients == 2] = 1
    clients[7] = 2
    asked = settings(clients={"by": "city"}, clients_per_round=3)
    mechanism = agreed(FederatedTrainer(), settings(clients={"number": 3}, clients_per_round=3), world)
    request = make_request(world, asked, mechanism=mechanism)
    record = FederatedTrainer().train(
        replace(request, clients=clients), workdir=tmp_path, report=lambda fraction, text: None
    )
    assert record.epochs == 3


ROOT = Path(__file__).parents[2]


def started(folder, attempt, *, checkpoints, output):
    """A training in a process of its own; see ``interrupted_federated.py``."""
    command = [sys.executable, "-m", "tests.workers.interrupted_federated"]
    command += [str(folder / f"world-{attempt}"), str(folder / attempt), str(checkpoints)]
    environment = {**os.environ, "PROBITY_WORKERS": os.environ.get("PROBITY_WORKERS", str(ROOT / "workers"))}
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)


def trained(folder, attempt, *, checkpoints):
    """Runs a training to its end; returns the digest of its weights and its rounds."""
    log = folder / f"{attempt}.txt"
    with log.open("wb") as output:
        assert started(folder, attempt, checkpoints=checkpoints, output=output).wait(400) == 0, log.read_text()[-2000:]
    rounds = read_record(folder / attempt / FEDERATION, Federation).rounds
    return log.read_text().split()[-1], [entry.model_dump(exclude={"seconds"}) for entry in rounds]


def workers_of(attempt):
    """Ids of the processes that were given this attempt's worker folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(attempt / "worker").encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_a_training_whose_parent_was_killed_goes_on_where_it_was(tmp_path):
    expected = trained(tmp_path, "straight", checkpoints=tmp_path / "unused")
    kept, log = tmp_path / "checkpoints", tmp_path / "broken.txt"
    with log.open("wb") as output:
        process = started(tmp_path, "broken", checkpoints=kept, output=output)
        while log.read_text().count("round") < 3:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.01)
        orphans = workers_of(tmp_path / "broken")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert orphans
    until = time.monotonic() + 20
    while workers_of(tmp_path / "broken"):  # nobody is left to end them but they themselves
        assert time.monotonic() < until
        time.sleep(0.1)
    before = [json.loads(line) for line in (tmp_path / "broken" / "worker" / "progress.jsonl").read_text().splitlines()]
    assert 3 <= len(before) < ROUNDS
    assert trained(tmp_path, "resumed", checkpoints=kept) == expected
    after = read_record(tmp_path / "resumed" / FEDERATION, Federation).rounds
    assert [entry.seconds for entry in after[: len(before)]] == [entry["seconds"] for entry in before]  # not done again
