"""What-if questions about single rows, against the fixed model's formula."""

from types import SimpleNamespace

import numpy as np
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits.testing import make_evidence
from probity.errors import ConfigError
from probity.platform.whatif import nearest_counterfactual, what_if


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    evidence = make_evidence(tmp_path_factory.mktemp("evidence"), rows=200)
    path = tmp_path_factory.mktemp("run")
    (path / "07_model").symlink_to(evidence.model_folder)
    return SimpleNamespace(
        path=path,
        scores=evidence.scored.scores,
        table=evidence.examples.table("test"),
        examples=lambda: evidence.examples,
        dataset=lambda: evidence.dataset,
        config=lambda: SimpleNamespace(audits=AuditsConfig()),
    )


def test_a_row_as_it_is_has_the_score_of_the_run_and_with_another_rows_values_that_rows_score(folder):
    other = {name: folder.table.column(name)[5].as_py() for name in ("age", "hours")}
    assignments = [f"{name}={value!r}" for name, value in other.items()]
    answer = what_if(folder, row=3, split="test", assignments=assignments)
    assert answer.score_before == pytest.approx(float(folder.scores[3]), abs=1e-6)
    assert answer.score_after == pytest.approx(float(folder.scores[5]), abs=1e-6)
    assert (answer.decision_before, answer.decision_after) == (
        bool(folder.scores[3] > 0.5),
        bool(folder.scores[5] > 0.5),
    )


def test_without_a_change_nothing_changes(folder):
    answer = what_if(folder, row=0, split="test", assignments=[])
    assert answer.score_before == answer.score_after
    assert answer.set_to == {}


@pytest.mark.parametrize(
    ("row", "assignment", "words"),
    [
        (200, "age=3", "0 to 199"),
        (-1, "age=3", "0 to 199"),
        (0, "agee=3", "did you mean 'age'"),
        (0, "sex=Male", "no column that the model sees"),
        (0, "age", "COLUMN=VALUE"),
        (0, "age=3.5", "whole number"),
        (0, "hours=often", "a number"),
    ],
)
def test_what_cannot_be_asked_is_said_without_a_value(folder, row, assignment, words):
    with pytest.raises(ConfigError) as caught:
        what_if(folder, row=row, split="test", assignments=[assignment])
    assert words in str(caught.value)
    assert "often" not in str(caught.value)


def test_the_nearest_counterfactual_is_the_closest_of_all_with_the_other_decision(folder):
    spread = [np.std(folder.table.column(name).to_numpy()) for name in ("age", "hours")]
    values = np.stack([folder.table.column(name).to_numpy() for name in ("age", "hours")]) / np.array(spread)[:, None]
    decisions = folder.scores > 0.5
    for row in (0, 7, 50):
        apart = np.abs(values - values[:, [row]]).sum(axis=0)
        best = np.flatnonzero(decisions != decisions[row])[apart[decisions != decisions[row]].argmin()]
        found = nearest_counterfactual(folder, row=row, split="test")
        assert found.row == best
        assert found.distance == pytest.approx(apart[best], abs=1e-4)
        assert set(found.differs_in) <= {"age", "hours"}
