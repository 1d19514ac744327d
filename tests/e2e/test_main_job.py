"""The main job through the command line: real rows to a released, explained, tracked model, and back to the data."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from probity.digest import digest_tree

pytestmark = pytest.mark.slow

PUBLISHED = [
    "01_config.yaml",
    "02_dataset.json",
    "03_examples",
    "04_statistics",
    "05_anomalies.json",
    "05_edge_cases.parquet",
    "05_schema.pbtxt",
    "06_transform",
    "07_model",
    "08_audits",
    "09_card",
    "10_decision.json",
    "11_release.json",
]


def shown(project, *arguments):
    done = project.here(*arguments, "--json")
    return done, json.loads(done.stdout)


def test_the_run_folder_tells_the_story(finished):
    run = finished.run_folders()[0]
    for name in PUBLISHED:
        assert (run / name).exists(), name
    assert not list((run / ".run/work").iterdir())
    assert {path.stem for path in (run / "08_audits").glob("*.json")} == {
        "attacks",
        "baseline",
        "data",
        "edge_cases",
        "encryption",
        "explanations",
        "fairness",
        "federation",
        "individuals",
        "mitigation",
        "performance",
        "privacy",
        "regulatory",
    }


def test_the_released_bytes_are_the_audited_bytes_and_answer_without_probity(finished):
    run = finished.run_folders()[0]
    release = json.loads((run / "11_release.json").read_text())
    version = finished.folder / "serving/small" / str(release["version"])
    assert release["model"] == json.loads((run / "07_model/model.json").read_text())["digest"]
    assert digest_tree(version, exclude=("assets.extra/probity",)) == release["model"]
    assert (version / "assets.extra/probity/RELEASE.json").is_file()
    assert (version / "saved_model.pb").is_file()


def test_every_command_of_the_contract_reads_the_run(finished):
    _, listed = shown(finished, "runs")
    released = [row for row in listed if row["status"] == "released"]
    assert released
    run = released[-1]["run"]
    done, whole = shown(finished, "show", run)
    assert done.returncode == 0
    kinds = [link["type"] for link in whole["lineage"]]
    assert kinds[0] == "Release"
    assert kinds[-1] == "DataFile"
    assert whole["lineage"][-1]["digest"] == whole["dataset"]["source_digest"]
    recorded = (finished.folder / ".probity/runs" / run / "09_card/card.json").read_text()
    assert finished.here("card", run, "--format", "json").stdout == recorded
    published = finished.folder / "published"
    assert finished.here("card", "publish", run, "--to", str(published), "--yes").returncode == 0
    assert (published / "card.json").read_text() == recorded
    assert "Verdict" in (published / "card.html").read_text()
    assert json.loads((published / "card.cdx.json").read_text())["specVersion"] == "1.6"
    text = finished.here("show", run).stdout
    assert whole["dataset"]["content_digest"] in text


def test_what_speaks_of_single_rows_stays_in_the_run_folder(finished):
    run = finished.run_folders()[0]
    card = (run / "09_card/card.html").read_text()
    rows = json.loads((run / "08_audits/regulatory/internal/adverse_action.json").read_text())["people"]
    assert any(entry["reasons"] for entry in rows)
    assert list((run / "08_audits/explanations/internal").glob("waterfall_*.svg"))
    pictures = [base64.b64decode(code).decode() for code in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", card)]
    assert any("Mean absolute Shapley value" in picture for picture in pictures)
    assert not any("internal: single rows" in picture for picture in pictures)
    assert not list((finished.folder / "serving").rglob("internal"))


def test_the_edge_cases_were_asked_and_stay_in_the_run_folder(finished):
    run = finished.run_folders()[0]
    report = json.loads((run / "08_audits/edge_cases.json").read_text())
    assert {entry["metric"]: entry["estimate"]["value"] for entry in report["findings"]} == {
        "edge_case_accuracy": 1.0,
        "edge_case_count": 3.0,
    }
    lines = list(csv.DictReader((run / "08_audits/edge_cases/internal/answers.csv").open()))
    assert [(line["expected"], line["answered"]) for line in lines] == [("0", "0"), ("1", "1"), ("0", "0")]
    card = json.loads((run / "09_card/card.json").read_text())
    assert card["edge_cases"]["numbers"][0]["value"] == 1.0
    checks = {check["rule"]: check for check in json.loads((run / "10_decision.json").read_text())["checks"]}
    assert checks["edge cases"]["evidence"] == ["edge_cases/edge_case_accuracy/overall"]
    for published in (run / "08_audits/edge_cases.json", run / "09_card/card.html"):
        assert "a work week of one hour" not in published.read_text()


def test_the_decision_replays_to_the_same_bytes(finished):
    run = finished.run_folders()[0]
    done = finished.here("gate", run.name, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((run / "10_decision.json").read_text())


def test_epsilon_is_stated_as_infinite(finished):
    report = json.loads((finished.run_folders()[0] / "08_audits/privacy.json").read_text())
    assert report["privacy_statement"]["epsilon"] == "Infinity"


@pytest.fixture(scope="module")
def unchanged(finished):
    """What a second run of the same config says, which is approved and does not release by itself."""
    done, value = shown(finished, "run", "probity.yaml", "--no-release")
    assert done.returncode == 0, done.stderr
    return value


def test_an_unchanged_run_reuses_every_computed_stage(unchanged):
    computed = {stage["stage"] for stage in unchanged["stages"] if stage["reused_from"] is None}
    assert computed == {"baseline", "card", "gate"}
    assert unchanged["status"] == "approved"


@pytest.mark.heavy
def test_a_stricter_policy_is_held_with_its_reason_and_exit_code_3(finished):
    done = finished.probity("run", "probity.yaml", "--set", "gate.rules.0.at_least=0.999")
    assert done.returncode == 2  # a list is no mapping: --set says so instead of guessing
    rules = "[{name: four fifths, metric: selection_rate, across: sex, ratio_at_least: 0.8}]"
    done = finished.probity("run", "probity.yaml", "--set", f"gate.rules={rules}")
    assert done.returncode == 3, done.stderr
    assert "four fifths" in done.stdout
    assert "hold" in done.stdout
    held = finished.run_folders()[-1]
    assert (held / "10_decision.json").is_file()
    assert not (held / "11_release.json").exists()
    refused = finished.probity("release", held.name)
    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr


def test_evidence_edited_after_the_audit_turns_the_verdict(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    project = type(finished)(copy)
    run = finished.run_folders()[0].name
    report = project.workspace / "runs" / run / "08_audits/performance.json"
    report.write_text(report.read_text().replace('"complete"', '"complete" ', 1))
    assert project.here("gate", run).returncode == 3


def test_a_swapped_model_is_not_released_and_one_that_is_live_is_not_pushed_again(finished, unchanged):
    run = Path(unchanged["path"])
    weights = next((run / "07_model/saved_model/variables").glob("*.data*"))
    original = weights.read_bytes()
    versions = sorted((finished.folder / "serving/small").glob("[0-9]*"))
    weights.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    refused = finished.here("release", run.name)
    assert refused.returncode == 2
    assert "SavedModel: digest" in refused.stderr
    assert "Traceback" not in refused.stderr
    weights.write_bytes(original)
    done, release = shown(finished, "release", run.name)
    assert done.returncode == 0
    assert str(release["version"]) == versions[-1].name  # these bytes are live already
    assert sorted((finished.folder / "serving/small").glob("[0-9]*")) == versions


def test_mlflow_holds_the_run_without_small_groups(finished):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{finished.workspace / 'mlflow.sqlite'}")
    experiment = client.get_experiment_by_name("small")
    tracked = client.search_runs([experiment.experiment_id])
    assert len(tracked) >= 1
    names = set(tracked[0].data.metrics)
    assert any("auc" in name for name in names)
    assert any("sex" in name for name in names)
