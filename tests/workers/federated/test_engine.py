"""What TensorFlow Federated computed in the worker's interpreter, against the same computed in numpy."""

import json
from pathlib import Path

import numpy as np
import pytest
from requests_of_clients import WIDTH, rows

from probity.trainers.worker import run_worker
from probity.trainers.worker_environments import environment_of

pytestmark = pytest.mark.workers

SIZES = (5, 11, 24)
CLIENTS = [rows(count, seed=count) for count in SIZES]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """All experiments in one process: importing TensorFlow Federated is most of the time."""
    folder = tmp_path_factory.mktemp("engine")
    environment = environment_of("federated")
    environment.require_ready()
    script = Path(__file__).parent / "engine_experiments.py"
    command = [str(environment.python), str(script), str(folder / "out.json")]
    code = run_worker(command, log=folder / "log.txt", deadline_seconds=400, watch=lambda: None)
    assert code == 0, (folder / "log.txt").read_text()[-2000:]
    return json.loads((folder / "out.json").read_text())


def flat(weights):
    return np.concatenate([np.asarray(part, float).reshape(-1) for part in weights])


def gradient(weights, features, label):
    """Of the mean log loss of a logistic model; the bias is the last weight."""
    rest = 1 / (1 + np.exp(-(features.astype(float) @ weights[:-1] + weights[-1]))) - label
    return np.append(features.T.astype(float) @ rest, rest.sum()) / len(label)


def trained(start, features, label, *, epochs=1, size=8, rate=0.1, pull=0.0):
    """Mini-batch descent in the order of the rows."""
    weights = start.copy()
    for _ in range(epochs):
        for begin in range(0, len(label), size):
            batch = slice(begin, begin + size)
            weights -= rate * (gradient(weights, features[batch], label[batch]) + pull * (weights - start))
    return weights


def averaged(start, *, count=3, **how):
    """Federated averaging, weighted by rows (McMahan et al. 2017, algorithm 1)."""
    for _ in range(count):
        start = np.average([trained(start, *client, **how) for client in CLIENTS], axis=0, weights=SIZES)
    return start


def test_one_client_with_all_rows_and_one_step_is_centralised_descent(found):
    weights = flat(found["one_client_one_step"]["first"])
    features, label = rows(40, seed=1)
    for _ in range(3):
        weights -= 0.1 * gradient(weights, features, label)
    assert np.abs(flat(found["one_client_one_step"]["last"]) - weights).max() < 1e-5


def test_fedavg_is_the_mean_of_the_clients_weighted_by_their_rows(found):
    told = found["fedavg"]
    assert np.abs(flat(told["last"]) - averaged(flat(told["first"]), epochs=2)).max() < 1e-5


def test_fedsgd_is_descent_on_all_rows(found):
    weights = flat(found["fedsgd"]["first"])
    features, label = (np.concatenate(parts) for parts in zip(*CLIENTS, strict=True))
    for _ in range(3):
        weights -= 0.3 * gradient(weights, features, label)
    assert np.abs(flat(found["fedsgd"]["last"]) - weights).max() < 1e-5


def test_fedprox_pulls_clients_to_the_servers_weights(found):
    told = found["fedprox"]
    assert np.abs(flat(told["last"]) - averaged(flat(told["first"]), pull=2.0)).max() < 1e-5
    assert np.abs(flat(told["last"]) - averaged(flat(told["first"]))).max() > 1e-4


def test_fedadam_takes_the_mean_update_for_a_gradient(found):
    told = found["fedadam"]
    start = flat(told["first"])
    update = start - averaged(start, count=1)
    # First step of Adam, beta_1 = 0.9, beta_2 = 0.99, epsilon = 1e-3 (Kingma and Ba 2015, before section 2.1)
    step = 0.05 * np.sqrt(1 - 0.99) / (1 - 0.9) * (0.1 * update) / (np.sqrt(0.01 * update**2) + 1e-3)
    assert np.abs(flat(told["last"]) - (start - step)).max() < 1e-5


def test_the_report_of_a_round_is_about_all_rows(found):
    report = found["fedsgd"]["report"]
    assert report["participants"] == [3.0]
    assert report["examples"] == [float(sum(SIZES))]
    assert 0 < report["right"][0] <= sum(SIZES)


def test_a_client_that_is_not_a_number_is_left_out_and_counted(found):
    without, spoiled = found["one_client_is_not_a_number"]["without"], found["one_client_is_not_a_number"]["with"]
    assert np.array_equal(flat(spoiled["last"]), flat(without["last"]))
    assert spoiled["report"] == without["report"]


def test_quantised_updates_are_near_and_not_the_same(found):
    distance = np.abs(flat(found["quantized"]["last"]) - flat(found["fedavg"]["last"])).max()
    assert 1e-6 < distance < 0.02


def test_the_secure_sum_is_the_plain_one_within_its_steps(found):
    # Each client's weighted update is rounded to 8192 / 2^32; three clients, three rounds, then single precision.
    distance = np.abs(flat(found["secure"]["mean"]["last"]) - flat(found["fedavg"]["last"])).max()
    assert distance <= 3 * 3 * 8192 / 2**32 / sum(SIZES) + 1e-6


def test_the_secure_sum_of_clipped_updates_is_the_plain_one(found):
    distance = np.abs(flat(found["secure"]["clipped"]["last"]) - flat(found["clipped"]["last"])).max()
    assert distance < 1e-6


def test_a_round_moves_the_weights_by_no_more_than_all_clip_norms(found):
    moved = np.linalg.norm(flat(found["clipped"]["last"]) - flat(found["clipped"]["first"]))
    assert 0 < moved <= 3 * 0.05  # three rounds of three clients at 0.05, divided by three


def test_under_privacy_no_loss_leaves_the_clients(found):
    assert set(found["clipped"]["report"]) == {"participants"}


def test_one_client_moves_the_sum_by_at_most_the_clip_norm_whatever_it_sends(found):
    most = 0.5 / 4
    large, larger, nan, infinite, zero, small, medium = found["huge_clients"]["moves"]
    assert max(found["huge_clients"]["moves"]) <= most * (1 + 1e-6)
    assert large == pytest.approx(most, rel=1e-4)
    assert larger in (0.0, pytest.approx(most, rel=1e-4))  # its squared norm is beyond single precision
    assert (nan, infinite, zero) == (0, 0, 0)
    assert small == pytest.approx(found["huge_clients"]["small"] / 4, rel=1e-3)
    assert 0 < medium <= most


def test_the_clip_norm_follows_the_noisy_share_of_clients_within_it(found):
    # Andrew et al. (2021), algorithm 1: three within, one beyond, five expected.
    for norm, noise in zip(found["adaptive_norm"], (0.0, 1.5 * 3.0), strict=True):
        share = (3 * 0.5 - 0.5 + noise) / 5 + 0.5
        assert norm == pytest.approx(np.exp(-0.2 * (share - 0.5)), rel=1e-5)


def test_the_noise_is_there_when_nobody_takes_part_and_has_the_deviation_asked(found):
    units = np.asarray(found["nobody_under_privacy"]["units"])
    assert len(units) == (WIDTH + 1) * 64 + 65 * 64 + 65
    # The deviation of 4,673 normals is within 5 / sqrt(2 * 4673) = 5.2 % with a false alarm of one in two million.
    assert units.std() == pytest.approx(1, abs=5 / np.sqrt(2 * len(units)))
    assert abs(units.mean()) < 5 / np.sqrt(len(units))


def test_noise_that_was_used_is_not_kept(found):
    assert found["nobody_under_privacy"]["noise_kept"] == 0
