"""Differentially private training through the command line: a statement, a verdict, and a budget that runs out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples/adult_income"
NO_PLOT = '<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture(scope="module")
def private(tmp_path_factory, make_project, fewer_features):
    """The small project with the example's public facts and the private trainer, and a cap of epsilon 3.3."""
    project = make_project(tmp_path_factory.mktemp("private"), rows=6000, exclude=fewer_features)
    shutil.copyfile(EXAMPLES / "schema.pbtxt", project.folder / "schema.pbtxt")
    example = yaml.safe_load((EXAMPLES / "dp.yaml").read_text())
    trainer = {**example["trainer"], "target_epsilon": 3.0, "expected_batch_size": 512, "epochs": 10}
    rules = [
        {"name": "quality floor", "metric": "auc", "at_least": 0.8},
        {"name": "privacy budget", "metric": "epsilon", "at_most": 3.0},
    ]
    project.edit(
        schema="schema.pbtxt",
        transform=example["transform"],
        model=example["model"],
        trainer=trainer,
        gate={"rules": rules},
    )
    granted = project.here("budget", "grant", "probity.yaml", "--epsilon", "3.3", "--delta", "1e-4")
    assert granted.returncode == 0, granted.stderr
    return project


@pytest.fixture(scope="module")
def released(private):
    with pytest.MonkeyPatch.context() as patch:
        # The main job draws; two dozen plots more would tell nothing new.
        patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: Path(path).write_text(NO_PLOT))
        done = private.here("run", "probity.yaml", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    return private.run_folders()[-1]


def test_the_statement_is_about_what_was_executed(released):
    model = json.loads((released / "07_model/model.json").read_text())
    report = json.loads((released / "08_audits/privacy.json").read_text())
    statement, mechanism = report["privacy_statement"], model["mechanism"]
    assert 0.99 * 3 <= statement["epsilon"] <= 3
    assert statement["delta"] < 1 / model["num_train_units"]
    assert mechanism["kind"] == "dp_sgd"
    assert mechanism["noise_source"] == "os_entropy"
    assert mechanism["steps"] == model["steps"]
    assert "epsilon" not in json.dumps(mechanism)
    assert not statement["uncovered_preprocessing"]
    assert statement["not_covered"]
    together = json.loads((released / "09_card/card.json").read_text())["privacy"]["cumulative"]
    assert (together["mechanisms"], together["non_private"]) == (1, 0)
    assert together["epsilon"] == pytest.approx(statement["epsilon"], rel=1e-9)


def test_no_attack_tells_members_from_others(released):
    report = json.loads((released / "08_audits/attacks.json").read_text())
    found = {finding["id"]: finding["estimate"] for finding in report["findings"]}
    auc = found["attacks/membership_auc/overall"]
    # About five standard errors. The noise is new in every run, so the interval leaves out 0.5 in one run of forty.
    assert abs(auc["value"] - 0.5) < 0.06
    assert auc["lower"] < auc["value"] < auc["upper"]
    assert found["attacks/audited_epsilon_lower_bound/overall"]["value"] <= 3
    decision = json.loads((released / "10_decision.json").read_text())
    assert [c["outcome"] for c in decision["checks"] if c["rule"] == "attacks against epsilon"] == ["pass"]


def test_the_explanation_is_against_rows_of_the_public_schema(released):
    """Through the real transform graph, without a row of the training split."""
    report = json.loads((released / "08_audits/explanations.json").read_text())
    assert report["status"] == "complete"
    text = " ".join(report["reasons"])
    assert "rows drawn from the public schema" in text
    assert "no row of the training split was read" in text
    assert "closed form" in text


def test_the_statement_equals_an_independent_computation(released):
    import dp_accounting
    from dp_accounting import pld

    mechanism = json.loads((released / "07_model/model.json").read_text())["mechanism"]
    statement = json.loads((released / "08_audits/privacy.json").read_text())["privacy_statement"]
    accountant = pld.PLDAccountant()
    step = dp_accounting.GaussianDpEvent(mechanism["noise_multiplier"])
    accountant.compose(dp_accounting.PoissonSampledDpEvent(mechanism["sampling_prob"], step), mechanism["steps"])
    assert accountant.get_epsilon(statement["delta"]) == pytest.approx(statement["epsilon"], rel=1e-9)


@pytest.mark.heavy
def test_an_unchanged_run_trains_nothing_and_pays_nothing(private, released):
    before = json.loads(private.probity("budget", "show", "--json").stdout)
    done = private.probity("run", "probity.yaml")
    assert done.returncode == 0, done.stderr
    assert json.loads(private.probity("budget", "show", "--json").stdout) == before


@pytest.mark.heavy
def test_a_second_training_over_the_cap_is_refused_before_it_starts(private, released):
    done = private.probity("run", "probity.yaml", "--set", "seed=8")
    assert done.returncode == 4, done.stderr
    assert "3.3 in all" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (private.run_folders()[-1] / "07_model").exists()


@pytest.mark.heavy
def test_a_weak_promise_is_held_by_the_gate(private, released):
    raised = private.probity("budget", "grant", "probity.yaml", "--epsilon", "50", "--delta", "1e-4")
    assert raised.returncode == 0, raised.stderr
    done = private.probity("run", "probity.yaml", "--set", "trainer.target_epsilon=12")
    assert done.returncode == 3, done.stderr
    decision = json.loads((private.run_folders()[-1] / "10_decision.json").read_text())
    (blocking,) = [check for check in decision["checks"] if check["outcome"] != "pass"]
    assert blocking["rule"] == "privacy budget"
    assert 11.8 < blocking["observed"] <= 12


@pytest.mark.heavy
def test_where_people_have_several_rows_the_statement_is_about_people(tmp_path, make_project):
    """Every second row is another row of the person before; with four rows each the noise is for all of them."""
    project = make_project(tmp_path / "people", rows=3000)
    path = project.folder / "adult.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"person,{head}", *(f"p{i // 2},{row}" for i, row in enumerate(rows))]) + "\n")
    example = yaml.safe_load((EXAMPLES / "dp.yaml").read_text())
    config = yaml.safe_load((project.folder / "probity.yaml").read_text())
    project.edit(
        data={**config["data"], "privacy_unit": {"column": "person"}},
        transform={
            "boundaries": {"age": [30.0, 45.0, 60.0], "hours_per_week": [35.0, 45.0]},
            "private_statistics": {"epsilon": 0.5},
        },
        model=example["model"],
        trainer={"name": "dp_sgd", "target_epsilon": 4.0, "expected_batch_size": 128, "epochs": 4, "rows_per_unit": 2},
        gate={"rules": [{"name": "privacy budget", "metric": "epsilon", "at_most": 4.0}]},
    )
    done = project.probity("run", "probity.yaml", "--json")
    run = project.run_folders()[-1]
    model = json.loads((run / "07_model/model.json").read_text())
    statement = json.loads((run / "08_audits/privacy.json").read_text())["privacy_statement"]
    assert done.returncode == 0, done.stderr + done.stdout
    assert (model["mechanism"]["unit"], model["mechanism"]["rows_per_unit"]) == ("person", 2)
    assert 0.5 * model["num_train_examples"] <= model["num_train_units"] < 0.6 * model["num_train_examples"]
    assert statement["unit"] == "person"
    assert "value of person" in statement["text"]
    assert statement["epsilon"] <= 4.0
