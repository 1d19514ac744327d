"""Rounds that are seen while training goes on, read back with MLflow's own client."""

import math
from types import SimpleNamespace

import pytest

from probity.audits.accounting import epsilon_of
from probity.model import DpFedAvg, Federated, FixedClipping
from probity.platform import live_rounds
from probity.platform.live_rounds import LiveRounds
from probity.platform.tracking import default_uri, track
from probity.workspace import Workspace

ALONE = Federated(num_clients=100, clients_per_round=20, rounds=3, secure_aggregation="none")
NOISY = DpFedAvg(
    noise_multiplier=2.0,
    noise_source="os_entropy",
    sampling="poisson",
    sampling_prob=0.2,
    rounds=4,
    clipping=FixedClipping(l2_clip_norm=1.0),
    expected_clients_per_round=20.0,
    unit="client",
    secure_aggregation="none",
    engine="tensorflow_federated",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(live_rounds, "_PAUSE_SECONDS", 0.0)


def listening(workspace, folder, *, uri=None, mechanism=ALONE):
    config = SimpleNamespace(name="e", tracking=SimpleNamespace(uri=uri))
    return LiveRounds(config, folder, workspace, mechanism=mechanism, delta=1e-3)


def client_and_key(workspace, folder):
    from mlflow.tracking.client import MlflowClient

    uri = default_uri(workspace.root)
    return MlflowClient(tracking_uri=uri, registry_uri=uri), (folder.path / ".run" / "mlflow").read_text()


def test_a_round_is_in_the_tracker_before_the_next_one_and_once_at_the_end(workspace, impatient):
    folder = workspace.new_run("e")
    with listening(workspace, folder) as rounds:
        for number in (1, 2):
            rounds.finished(number, {"loss": 1.0 / number, "accuracy": math.nan})
            client, key = client_and_key(workspace, folder)
            assert client.get_run(key).info.status == "RUNNING"
            assert client.get_metric_history(key, "loss")[-1].step == number
    at_end = {"params": {}, "metrics": {}, "tags": {}, "artifacts": {}, "history": {"loss": (1.0, 0.5)}}
    again = track(
        uri=default_uri(workspace.root), experiment="e", run_name="r", status="FINISHED", resume=key, **at_end
    )
    assert again == key
    assert [(point.step, point.value) for point in client.get_metric_history(key, "loss")] == [(1, 1.0), (2, 0.5)]
    assert client.get_run(key).info.status == "FINISHED"
    assert "accuracy" not in client.get_run(key).data.metrics


def test_rounds_in_quick_succession_are_handed_on_together_when_training_ends(workspace):
    folder = workspace.new_run("e")
    with listening(workspace, folder) as rounds:
        for number in range(1, 6):
            rounds.finished(number, {"loss": 1.0 / number})
        assert not (folder.path / ".run" / "mlflow").exists()
    client, key = client_and_key(workspace, folder)
    assert [point.step for point in client.get_metric_history(key, "loss")] == [1, 2, 3, 4, 5]


def test_a_tracker_that_cannot_be_reached_costs_the_live_view_only(workspace, impatient):
    folder = workspace.new_run("e")
    with listening(workspace, folder, uri="no scheme") as rounds:
        rounds.finished(1, {"loss": 1.0})
        rounds.finished(2, {"loss": 0.5})
    assert not (folder.path / ".run" / "mlflow").exists()


def test_epsilon_so_far_grows_and_is_never_below_the_final_statement(workspace, impatient):
    rounds = listening(workspace, workspace.new_run("e"), mechanism=NOISY)
    found = [rounds.epsilon_after(number) for number in (1, 2, 4)]
    assert found == sorted(found)
    assert found[-1] >= epsilon_of([NOISY], delta=1e-3) > 0


@pytest.mark.parametrize("mechanism", [ALONE, NOISY.model_copy(update={"noise_source": "fixed_seed"})])
def test_no_epsilon_where_nothing_is_claimed(workspace, impatient, mechanism):
    assert listening(workspace, workspace.new_run("e"), mechanism=mechanism).epsilon_after(2) is None
