"""A mitigated model through the command line: served as audited, compared with its unmitigated twin, gated on it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from probity.predictor import SavedModelPredictor
from probity.runs import RunFolder

pytestmark = pytest.mark.slow


@pytest.mark.heavy
def test_thresholds_by_group_reach_the_served_model_the_audit_the_card_and_the_gate(finished):
    """The project's data are taken over from its finished run; training, audits, card and decision are new."""
    rule = {
        "name": "men not much worse",
        "metric": "accuracy",
        "slice": {"sex": "Male"},
        "change_from_unmitigated_at_least": -0.2,
    }
    config = {
        "extends": "probity.yaml",
        "trainer": {"mitigation": {"method": "threshold_optimizer", "across": "sex", "min_group_size": 50}},
        "gate": {"rules": [*finished.config()["gate"]["rules"], rule]},
    }
    (finished.folder / "mitigated.yaml").write_text(json.dumps(config))  # JSON is YAML
    done = finished.probity("run", "mitigated.yaml", "--no-release")
    assert done.returncode == 0, done.stderr + done.stdout
    run = RunFolder(finished.run_folders()[-1])

    model, reports = run.model(), run.reports()
    assert model.mitigation.served_columns == ("sex",)
    assert reports["explanations"].status == "complete"
    explained = {finding.feature for finding in reports["explanations"].findings}
    assert {"sex", "age"} <= explained  # the SavedModel was asked, the column of the rule included

    served = SavedModelPredictor(run.path / "07_model/saved_model")
    rows = run.examples().table("test")
    audited = reports["performance"].find("performance/selection_rate/overall@0.5").estimate.value
    assert (served.predict(rows) > 0.5).mean() == pytest.approx(audited, abs=1e-9)

    before = SavedModelPredictor(run.path / "07_model/unmitigated/saved_model").predict(rows) > 0.5
    women = np.array(rows.column("sex").to_pylist()) == "Female"
    change = reports["mitigation"].find("mitigation/selection_rate/change/sex=Female@0.5").estimate.value
    by_hand = (served.predict(rows) > 0.5)[women].mean() - before[women].mean()
    assert change == pytest.approx(by_hand, abs=1e-9)

    [check] = [check for check in run.decision().checks if check.rule == "men not much worse"]
    assert check.outcome == "pass"
    assert check.evidence == ("mitigation/accuracy/change/sex=Male@0.5",)
    card = (run.path / "09_card/card.md").read_text(encoding="utf-8")
    assert "threshold optimizer across sex, for equal opportunity" in card
    assert "With minus without mitigation" in card
