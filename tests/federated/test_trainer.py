"""The parent of federated training, against a worker that follows the contract, and one that lies."""

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from probity.data import Role, TransformConstant
from probity.digest import digest_bytes
from probity.errors import ConfigError, WorkerContractError
from probity.federated.settings import FederatedSettings
from probity.federated.trainer import FederatedTrainer
from probity.federation import FEDERATION, Federation
from probity.model import DpFedAvg, Federated
from probity.storage import read_record
from probity.trainers.base import Population
from probity.trainers.testing import TrainerContract
from probity.trainers.testing_world import agreed, make_request, make_world
from tests.federated.fake_federated import FakeEnvironment, FakeWorker

SETTINGS = {"clients": {"number": 6}, "rounds": 3, "clients_per_round": 4, "local": {"learning_rate": 0.5}}


def settings(**changes):
    return FederatedSettings.from_json({**SETTINGS, **changes})


def trainer(worker=None):
    return FederatedTrainer(environment=FakeEnvironment(), runner=worker or FakeWorker())


class TestContract(TrainerContract):
    @pytest.fixture(scope="class")
    def trainer(self):
        return trainer()

    @pytest.fixture(scope="class")
    def settings(self):
        return settings()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def train(world, workdir, asked, *, worker=None, **changes):
    made = trainer(worker)
    mechanism = agreed(made, asked, world) if asked.client_column is None else Federated(
        num_clients=2, clients_per_round=asked.clients_per_round, rounds=asked.rounds, secure_aggregation="none"
    )  # fmt: skip
    request = replace(make_request(world, asked, mechanism=mechanism), **changes)
    texts = []
    with pytest.MonkeyPatch.context() as patch:
        # The contract exports for real; here it would only take time.
        patch.setattr("probity.trainers.export.export", lambda *_, **__: digest_bytes(b"not exported"))
        record = made.train(request, workdir=workdir, report=lambda fraction, text: texts.append(text))
    return record, texts


def test_each_row_reaches_exactly_one_client_and_nothing_else_crosses(world, tmp_path):
    worker = FakeWorker()
    train(world, tmp_path, settings(), worker=worker)
    files = sorted(worker.seen)
    assert files == [*(f"clients/{i:06d}.npz" for i in range(6)), "initial.npz", "probe_inputs.npz"]
    clients = [dict(np.load(BytesIO(worker.seen[name]))) for name in files[:6]]
    assert all(set(client) == {"features", "label"} for client in clients)
    rows = np.concatenate([np.column_stack([client["features"], client["label"]]) for client in clients])
    inputs, labels = world.examples.arrays("train")
    everybody = np.column_stack([*(inputs[feature.name] for feature in world.examples.outputs), labels])
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(everybody, axis=0))
    assert len(rows) == len(everybody)
    probe = np.load(BytesIO(worker.seen["probe_inputs.npz"]))["features"]
    assert not (probe[:, None] == everybody[None, :, :-1]).all(axis=2).any()
    assert not [name for name in ("hours-per-week", "balance", "city", '"group"') if name in json.dumps(worker.body)]


def test_no_row_is_left_in_the_run_folder(world, tmp_path):
    train(world, tmp_path, settings())
    left = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "worker").rglob("*"))
    assert left == [f"worker/{name}" for name in ("log.txt", "progress.jsonl", "request.json", "result.json")]


def test_no_row_is_left_after_a_failure_either(world, tmp_path):
    with pytest.raises(WorkerContractError):
        train(world, tmp_path, settings(), worker=FakeWorker(lie=lambda body: {}))
    assert not list((tmp_path / "worker").rglob("*.npz"))


def test_rounds_are_reported_as_they_end_and_kept(world, tmp_path):
    record, texts = train(world, tmp_path, settings())
    assert [text.split(":")[0] for text in texts if text.startswith("round")] == [f"round {i} of 3" for i in (1, 2, 3)]
    assert len(record.history["loss"]) == record.epochs == 3
    found = read_record(tmp_path / FEDERATION, Federation)
    assert [entry.round for entry in found.rounds] == [1, 2, 3]
    assert (found.num_clients, found.smallest, found.largest) == (6, 80, 80)
    assert sum(group.rows for group in found.groups) == 480


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": 4},
        {"sampling": "poisson"},
        {"clients_per_round": 5},
        {"num_clients": 7},
        {"noise_multiplier": 1.0},
    ],
)
def test_another_mechanism_than_the_agreed_one_is_not_believed(changes, world, tmp_path):
    def lie(body):
        more = body["history"] + [{"round": 4, "participants": 1}] if "rounds" in changes else body["history"]
        return {**body, "executed": {**body["executed"], **changes}, "history": more}

    with pytest.raises(WorkerContractError, match="another mechanism"):
        train(world, tmp_path, settings(), worker=FakeWorker(lie=lie))


def test_a_history_with_a_round_missing_is_not_believed(world, tmp_path):
    worker = FakeWorker(lie=lambda body: {**body, "history": body["history"][1:]})
    with pytest.raises(WorkerContractError, match="each executed round once"):
        train(world, tmp_path, settings(), worker=worker)


PRIVATE = {"mechanism": "dp_fedavg", "noise_multiplier": 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise_multiplier": 0.5}, "another mechanism"),
        ({"sampling_prob": 0.9}, "another mechanism"),
        ({"noise_source": "fixed_seed"}, "another mechanism"),
        ({"clipped_count_stddev": 9.0}, "another mechanism"),
    ],
)
def test_less_noise_than_agreed_is_not_believed(changes, words, world, tmp_path):
    worker = FakeWorker(lie=lambda body: {**body, "executed": {**body["executed"], **changes}})
    with pytest.raises(WorkerContractError, match=words):
        train(world, tmp_path, settings(privacy=PRIVATE), worker=worker)


def test_under_privacy_only_what_the_noise_covers_is_said(world, tmp_path):
    worker = FakeWorker()
    record, texts = train(world, tmp_path, settings(privacy=PRIVATE), worker=worker)
    assert isinstance(record.mechanism, DpFedAvg)
    assert record.mechanism.unit == "client"
    assert record.num_train_units == 6
    assert "loss" not in record.history
    rounds = [text for text in texts if text.startswith("round")]
    assert rounds
    assert not any("loss" in text or "clients" in text for text in rounds)  # nor how many were drawn
    assert worker.body["client_groups"] is None
    assert worker.body["settings"]["sampling_prob"] == pytest.approx(4 / 6)
    assert worker.body["settings"]["availability"] == 1.0


class Listener:
    def __init__(self, epsilon=None):
        self.epsilon, self.seen = epsilon, {}

    def epsilon_after(self, rounds):
        return None if self.epsilon is None else self.epsilon * rounds

    def finished(self, number, numbers):
        self.seen[number] = dict(numbers)


def test_whoever_listens_is_told_of_each_round(world, tmp_path):
    listener = Listener()
    record, texts = train(world, tmp_path, settings(), rounds=listener)
    assert list(listener.seen) == [1, 2, 3]
    assert [entry["loss"] for entry in listener.seen.values()] == list(record.history["loss"])
    assert listener.seen[1]["participants"] + listener.seen[1]["dropped"] == 4
    assert (listener.seen[1]["loss_fewest_rows"], listener.seen[1]["accuracy_fewest_rows"]) == (
        listener.seen[1]["loss"],
        0.75,
    )
    assert not any("epsilon" in text for text in texts)


def test_under_privacy_whoever_listens_is_told_what_the_noise_covers_and_what_it_costs(world, tmp_path):
    listener = Listener(epsilon=0.5)
    _, texts = train(world, tmp_path, settings(privacy=PRIVATE), rounds=listener)
    assert all(set(entry) <= {"l2_clip_norm", "epsilon_so_far"} for entry in listener.seen.values())
    assert [entry["epsilon_so_far"] for entry in listener.seen.values()] == [0.5, 1.0, 1.5]
    assert any("epsilon below 1.5 so far" in text for text in texts)


def test_clients_of_a_column(world, tmp_path):
    worker = FakeWorker()
    clients = np.arange(480) % 2
    asked = settings(clients={"by": "city"}, clients_per_round=2)
    record, _ = train(world, tmp_path, asked, worker=worker, clients=clients)
    assert [entry["num_examples"] for entry in worker.body["clients"]] == [240, 240]
    assert any("came in one table" in text for text in record.warnings)


def test_clients_with_a_file_each_did_not_come_in_one_table(world, tmp_path):
    columns = tuple(
        column.model_copy(update={"roles": (Role.FILE,)}) if column.name == "city" else column
        for column in world.dataset.columns
    )
    dataset = world.dataset.model_copy(update={"columns": columns, "sensitive": ()})
    asked = settings(clients={"by": "city"}, clients_per_round=2)
    record, _ = train(world, tmp_path, asked, clients=np.arange(480) % 2, dataset=dataset)
    assert not any("came in one table" in text for text in record.warnings)
    assert any("no column is declared as sensitive" in text for text in record.warnings)


def test_under_privacy_warnings_tell_public_facts_alone(world, tmp_path):
    clients = {"number": 6, "partition": "dirichlet", "alpha": 0.3}
    for name in ("plain", "private"):
        (tmp_path / name).mkdir()
    open_, _ = train(world, tmp_path / "plain", settings(clients=clients))
    private, _ = train(world, tmp_path / "private", settings(clients=clients, privacy=PRIVATE))
    assert any("labels are unlike" in text for text in open_.warnings)
    assert any("6 clients are few" in text for text in private.warnings)
    assert not any("unlike" in text or "of all rows" in text for text in private.warnings)


@pytest.mark.parametrize(
    ("asked", "changes", "words"),
    [
        (settings(clients={"by": "city"}, clients_per_round=2), {}, "no clients for 480 rows"),
        (settings(clients={"number": 481}), {}, "481 clients for 480 training rows"),
    ],
)
def test_rows_without_clients_are_refused(asked, changes, words, world, tmp_path):
    with pytest.raises(ConfigError, match=words):
        train(world, tmp_path, asked, **changes)


def test_pooled_preprocessing_is_never_silent(world, tmp_path):
    constant = TransformConstant(feature="balance", kind="quantiles", source="training data")
    pooled = world.transform.model_copy(update={"constants": (constant,)})
    with pytest.raises(ConfigError, match="constants of balance were computed from the rows of all clients"):
        train(world, tmp_path, settings(), transform=pooled)
    (tmp_path / "again").mkdir()
    train(world, tmp_path / "again", settings(pooled_preprocessing=True), transform=pooled)


def test_code_of_the_users_own_does_not_cross(world, tmp_path):
    request = make_request(world, settings(), mechanism=agreed(trainer(), settings(), world))
    own = request.model.model_copy(update={"module": "my_model.py"})
    with pytest.raises(ConfigError, match=r"model\.module"):
        trainer().train(replace(request, model=own), workdir=tmp_path, report=lambda fraction, text: None)


def test_a_mechanism_that_was_not_proposed_is_refused(world, tmp_path):
    other = trainer().propose(settings(rounds=2), Population(num_rows=480, num_units=480, unit="row"))
    request = make_request(world, settings(), mechanism=other)
    with pytest.raises(ConfigError, match="do not mean"):
        trainer().train(request, workdir=tmp_path, report=lambda fraction, text: None)
