"""Secret shares through the command line: a run that trains on them, and a released model that is asked on them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.csv
import pytest

from probity.predictor import SavedModelPredictor
from probity.trainers.worker_environments import environment_of

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(
        environment_of("encrypted").why_not_ready() is not None, reason="run: probity workers sync encrypted"
    ),
]

TRAINER = {"name": "encrypted", "parties": "processes", "epochs": 2, "batch_size": 128, "learning_rate": 0.5}
RULES = [
    {"name": "quality floor", "metric": "auc", "at_least": 0.7},
    {"name": "privacy budget", "metric": "epsilon", "at_most": 3.0},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_project):
    """A run on shares, six processes; its gate asks for an epsilon that encryption does not give."""
    project = make_project(tmp_path_factory.mktemp("encrypted"), rows=3000)
    project.edit(trainer=TRAINER, model={"kind": "logistic"}, gate={"rules": RULES})
    done = project.probity("run", "probity.yaml")
    assert done.returncode == 3, done.stderr + done.stdout
    return project.run_folders()[-1]


def test_a_run_on_shares_is_audited_and_held_for_its_epsilon_alone(trained):
    model = json.loads((trained / "07_model/model.json").read_text())
    assert (model["mechanism"]["kind"], model["mechanism"]["protocol"]) == ("encrypted", "aby3")
    assert [party["role"] for party in model["mechanism"]["parties"]] == [
        *["server"] * 3, "data_owner", "data_owner", "model_owner",
    ]  # fmt: skip
    privacy = json.loads((trained / "08_audits/privacy.json").read_text())
    assert privacy["privacy_statement"]["epsilon"] == "Infinity"
    checks = json.loads((trained / "10_decision.json").read_text())["checks"]
    outcomes = {check["rule"]: check["outcome"] for check in checks}
    assert outcomes.pop("privacy budget") == "fail"
    assert set(outcomes.values()) == {"pass"}


def test_what_shares_cost_and_who_is_trusted_is_in_report_and_card(trained):
    report = json.loads((trained / "08_audits/encryption.json").read_text())
    assert report["status"] == "complete"
    cost = json.loads((trained / "07_model/model.json").read_text())["encryption"]
    assert cost["largest_weight_difference"] < 0.1
    assert set(cost["sent_bytes"]) == {"server0", "server1", "server2", "owner0", "owner1"}
    card = (trained / "09_card/card.md").read_text()
    for said in ("server0", "semi-honest", "the trained weights"):
        assert said in card


def test_no_row_of_an_owner_stays_in_the_run(trained):
    assert not list((trained / "07_model").rglob("rows.parquet"))


def test_a_released_model_is_asked_on_shares(finished, tmp_path):
    """The scores of a thousand rows are those of the model in the clear; the shares lie apart, by server."""
    done = finished.probity("release", "latest", "--encrypted", "--json")
    assert done.returncode == 0, done.stderr
    version = json.loads(done.stdout)["path"]
    rows = pyarrow.csv.read_csv(finished.folder / "adult.csv").slice(0, 1000)
    pyarrow.csv.write_csv(rows.drop(["income"]), tmp_path / "rows.csv")
    done = finished.probity("predict", "latest", "--encrypted", "--input", str(tmp_path / "rows.csv"), "--json")
    assert done.returncode == 0, done.stderr
    scores = np.array(json.loads(done.stdout)["scores"])
    model = finished.run_folders()[-1] / "07_model"
    plain = SavedModelPredictor(model / "saved_model").predict(rows.drop(["income"]))
    assert scores.shape == (1000,)
    assert np.abs(scores - np.asarray(plain).ravel()).max() < 0.002
    assert np.ptp(scores) > 0.5
    for server in ("server0", "server1", "server2"):
        assert list((finished.folder / version / server).glob("*.share"))
