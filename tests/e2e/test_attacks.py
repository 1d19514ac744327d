"""Attacks through the command line: an overfitted model is caught, a model trained elsewhere is audited."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.slow


def report_of(run, name="attacks"):
    return json.loads((run / f"08_audits/{name}.json").read_text())


def value(report, finding):
    (found,) = [entry for entry in report["findings"] if entry["id"] == f"attacks/{finding}"]
    return found["estimate"]["value"]


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory, make_project):
    """A network with far more weights than its 1,000 rows, trained until it knows them, planted rows among them."""
    project = make_project(tmp_path_factory.mktemp("overfitted"), rows=2000)
    head, *rows = (project.folder / "adult.csv").read_text().splitlines()
    for name, some in (("train", rows[:1000]), ("test", rows[1000:])):
        (project.folder / f"{name}.csv").write_text("\n".join([head, *some]) + "\n")
    project.edit(
        model={"kind": "mlp", "hidden": [256, 256]},
        trainer={"name": "plain", "epochs": 200, "batch_size": 64, "learning_rate": 0.002},
        audits={
            "thresholds": [],
            "explained_rows": 50,
            "background_rows": 20,
            "min_group_size": 50,
            "canaries": {"count": 200, "gradients": 500},
        },
        gate={"rules": [{"name": "membership", "metric": "membership_auc", "at_most": 0.6}]},
        # Without an eval split nothing chooses an earlier epoch.
        data={
            **project.config()["data"],
            "source": {"train": "train.csv", "test": "test.csv"},
            "split_at_random": True,
        },
    )
    done = project.probity("run", "probity.yaml")
    return project, done, project.run_folders()[-1]


@pytest.mark.heavy
def test_an_overfitted_model_is_caught_and_held(overfitted):
    _, done, run = overfitted
    report = report_of(run)
    assert value(report, "membership_auc/overall") > 0.7
    assert value(report, "audited_epsilon_lower_bound/overall") > 0.5
    assert done.returncode == 3, done.stderr + done.stdout
    decision = json.loads((run / "10_decision.json").read_text())
    assert [check["rule"] for check in decision["checks"] if check["outcome"] != "pass"] == ["membership"]
    assert "membership_auc" in done.stdout


@pytest.mark.heavy
def test_planted_rows_stand_out_and_are_no_part_of_the_data(overfitted):
    _, _, run = overfitted
    canaries = json.loads((run / "06_canaries/canaries.json").read_text())
    assert canaries["rows"] == 200
    assert canaries["gradients"] == 0  # the plain trainer cannot plant any
    assert value(report_of(run), "exposure/overall") > 2.5
    model, dataset = (json.loads((run / name).read_text()) for name in ("07_model/model.json", "02_dataset.json"))
    splits = json.loads((run / "03_examples/splits.json").read_text())
    assert model["num_train_examples"] == splits["train"]["num_rows"] + canaries["rows_planted"]
    assert dataset["num_rows"] == sum(entry["num_rows"] for entry in splits.values())
    card = json.loads((run / "09_card/card.json").read_text())
    assert card["privacy"]["canaries"] == canaries
    assert "How well could an attacker do" in (run / "09_card/card.html").read_text()


@pytest.mark.heavy
def test_the_same_model_from_elsewhere_is_audited_without_its_trainer(overfitted, tmp_path):
    project, _, run = overfitted
    import pandas as pd

    rows = pd.read_csv(project.folder / "adult.csv")
    rows.iloc[:1200].to_csv(tmp_path / "held.csv", index=False)
    done = project.probity(
        "audit", str(run / "07_model/saved_model"), "--data", str(tmp_path / "held.csv"), "--config", "probity.yaml"
    )
    audited = project.run_folders()[-1]
    assert done.returncode == 3, done.stderr + done.stdout
    privacy, attacks = report_of(audited, "privacy"), report_of(audited)
    assert (privacy["status"], attacks["status"]) == ("not_applicable", "not_applicable")
    assert "mechanism unknown" in privacy["reasons"][0]
    assert "nobody said which rows" in attacks["reasons"][0]
    assert report_of(audited, "explanations")["status"] == "complete"
    model = json.loads((audited / "07_model/model.json").read_text())
    assert model["mechanism"] == {"kind": "unknown"}
    assert model["digest"] == json.loads((run / "07_model/model.json").read_text())["digest"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nowhere", "--data", "adult.csv"), "saved_model.pb"),
        (("{model}", "--data", "nowhere.csv"), "--data"),
        (("{model}", "--data", "adult.csv", "--trained-on", "nowhere.csv"), "--trained-on"),
    ],
)
def test_what_is_not_there_is_said_before_anything_runs(small_project, tmp_path, arguments, word):
    (tmp_path / "saved_model.pb").touch()  # there, and never read
    given = [part.format(model=tmp_path) for part in arguments]
    done = small_project.here("audit", *given, "--config", "probity.yaml")
    assert done.returncode == 2
    assert word in done.stderr


@pytest.mark.heavy
def test_a_model_whose_scores_are_no_numbers_is_held_by_every_audit(overfitted, tmp_path):
    """Fails closed with a decision, not with a traceback."""
    import tensorflow as tf

    project, _, _ = overfitted

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def nothing(examples):
        return {"scores": tf.fill([tf.shape(examples)[0], 1], float("nan"))}

    model = tmp_path / "nan"
    tf.saved_model.save(tf.Module(), str(model), signatures={"serving_default": nothing})
    done = project.probity("audit", str(model), "--data", "adult.csv", "--config", "probity.yaml")
    assert done.returncode == 3, done.stderr + done.stdout
    run = project.run_folders()[-1]
    for name in ("attacks", "performance", "fairness", "privacy", "baseline"):
        report = report_of(run, name)
        assert report["status"] == "failed"
        assert "not finite" in report["reasons"][0]
    assert json.loads((run / "10_decision.json").read_text())["verdict"] == "hold"
    assert (run / "09_card/card.html").exists()
