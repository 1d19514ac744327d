"""A regression on real data through the command line: scikit-learn's diabetes data, to a released model."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import yaml
from sklearn.datasets import load_diabetes

from probity.predictor import SavedModelPredictor

pytestmark = pytest.mark.slow


@pytest.mark.heavy
def test_a_regression_runs_to_a_released_model_that_answers_in_the_labels_units(make_project, tmp_path):
    project = make_project(tmp_path, rows=1)
    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame["sex"] = frame["sex"].map({1.0: "one", 2.0: "two"})
    frame.to_csv(tmp_path / "diabetes.csv", index=False)
    config = {
        "name": "diabetes",
        "data": {
            "source": "diabetes.csv",
            "task": "regression",
            "label": {"column": "target"},
            "sensitive": ["sex"],
            "split": {"train": 5, "eval": 1, "test": 4},
        },
        "transform": {"numeric": "z_score"},
        "model": {"kind": "linear"},
        "trainer": {"name": "plain", "epochs": 40, "batch_size": 16, "learning_rate": 0.02},
        "audits": {"min_group_size": 50},
        "gate": {
            "rules": [
                {"name": "explains", "metric": "r_squared", "at_least": 0.3},
                {"name": "errors", "metric": "mean_absolute_error", "at_most": 60},
                {"name": "lean", "metric": "mean_residual", "across": "sex", "gap_at_most": 60},
            ]
        },
        "serving": {"model_name": "diabetes", "infra_validation": None},
    }
    (tmp_path / "probity.yaml").write_text(yaml.safe_dump(config))
    done = project.probity("run", "probity.yaml")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "regression" in done.stdout
    assert "mean_absolute_error, units of target" in done.stdout
    assert "not assessed" not in done.stdout
    (run,) = project.run_folders()
    reports = {path.stem: json.loads(path.read_text()) for path in (run / "08_audits").glob("*.json")}
    silent = {name for name, report in reports.items() if report["status"] == "not_applicable"}
    alone = {
        "attacks",
        "encryption",
        "explanations",
        "federation",
        "individuals",
        "mitigation",
        "regulatory",
        "baseline",
    }
    assert silent == alone
    numbers = {entry["id"]: entry["estimate"]["value"] for entry in reports["performance"]["findings"]}
    assert numbers["performance/engine_difference/overall"] <= 1e-6
    assert numbers["performance/r_squared/overall"] > 0.3
    # The released bytes answer in the label's units, whatever the optimiser saw.
    version = json.loads((run / "11_release.json").read_text())["version"]
    rows = pa.Table.from_pandas(frame.drop(columns=["sex", "target"]), preserve_index=False)
    answers = SavedModelPredictor(tmp_path / "serving/diabetes" / str(version)).predict(rows)
    assert abs(answers.mean() - frame["target"].mean()) < 15
    assert np.corrcoef(answers, frame["target"])[0, 1] > 0.6
