"""The explanations audit: against closed forms, against what must fail, and against what must not be printed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits import backgrounds, canvas, explanation_plots, fidelity, row_plots
from probity.audits.attribution import ExplainedModel, load_explained_model
from probity.audits.base import AuditInput
from probity.audits.explanation_plots import draw_differences, draw_global, draw_groups
from probity.audits.explanations import INTERNAL, ExplanationsAudit
from probity.audits.regulatory import RegulatoryAudit
from probity.audits.testing import AuditContract, draw_rows, make_evidence
from probity.findings import AuditReport, Estimate
from probity.recipe import ModelConfig
from probity.trainers.architecture import build
from tests.audits.networks import inputs_of, outputs, save

SETTINGS = AuditsConfig(min_group_size=20, explained_rows=60, background_rows=40)
FEATURES = outputs(age=1, hours=1)
WEIGHTS = {"age": 0.9, "hours": 0.7}


def title_only(path: Path, draw: Any, *, title: str, **_: Any) -> None:
    path.write_text(title)


@pytest.fixture(scope="module", autouse=True)
def quick_plots() -> Any:
    """A run draws a dozen plots in as many quarters of a second; most tests do not look at them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (explanation_plots, row_plots):
            patch.setattr(module, "save_plot", title_only)
        yield


@pytest.fixture
def real_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (explanation_plots, row_plots):
        monkeypatch.setattr(module, "save_plot", canvas.save_plot)


class TestContract(AuditContract):
    # Columns are permuted, and LIME's rows drawn, by position.
    row_order_matters = True

    def make_audit(self) -> ExplanationsAudit:
        return ExplanationsAudit()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> AuditInput:
    return make_evidence(tmp_path_factory.mktemp("evidence"), settings=SETTINGS)


@pytest.fixture(scope="module")
def run(evidence: AuditInput, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditReport, Path]:
    workdir = tmp_path_factory.mktemp("workdir")
    return ExplanationsAudit().run(evidence, workdir=workdir), workdir


def background_means(evidence: AuditInput, rows: int = 40) -> dict[str, float]:
    """The background by its definition: every so-manieth training row in the order of the output."""
    train, _ = evidence.transformed.arrays("train")
    logits = sum(weight * train[f"{name}_xf"][:, 0].astype(np.float64) for name, weight in WEIGHTS.items())
    start = np.random.default_rng([evidence.seed, 1]).random()
    chosen = np.argsort(logits, kind="stable")[((np.arange(rows) + start) * len(logits) / rows).astype(int)]
    return {name: float(train[f"{name}_xf"][chosen].mean(dtype=np.float64)) for name in WEIGHTS}


def with_model(evidence: AuditInput, folder: Path, model: Any) -> AuditInput:
    """Evidence about another model of the same inputs."""
    test, _ = evidence.transformed.arrays("test")
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "model.keras", model)
    scored = replace(evidence.scored, scores=np.asarray(model(test))[:, 0])
    return replace(evidence, model_folder=folder, scored=scored)


def product(*, joined: bool = False) -> Any:
    """A model whose columns interact; where they are not joined, only asking it helps."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(2)
    inputs = inputs_of(FEATURES)
    both = list(inputs.values())
    mixed = tf.keras.layers.Concatenate()(both) if joined else tf.keras.layers.Multiply()(both)
    hidden = tf.keras.layers.Dense(6, activation="relu")(mixed)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid")(hidden))


def value(report: AuditReport, finding: str) -> Any:
    found = report.find(f"explanations/{finding}")
    assert found is not None, finding
    return found.estimate.value


def test_linear_model_has_the_closed_form(evidence: AuditInput, run: tuple[AuditReport, Path]) -> None:
    """For logit = w.x + b the Shapley value of a column is exactly w * (x - mean of the background)."""
    test, _ = evidence.transformed.arrays("test")
    means = background_means(evidence)
    local = json.loads((run[1] / INTERNAL / "local.json").read_text())
    assert "closed form" in local["method"]
    assert len(local["explanations"]) == 20
    for entry in local["explanations"]:
        for column, weight in WEIGHTS.items():
            moved = test[f"{column}_xf"][entry["row"], 0] - means[column]
            assert entry["contributions"][column] == pytest.approx(weight * moved, abs=1e-5)
        assert sum(entry["contributions"].values()) + local["base_value"] == pytest.approx(entry["output"], abs=1e-5)


def test_local_explanations_are_labelled_and_hold_contributions_only(run: tuple[AuditReport, Path]) -> None:
    local = json.loads((run[1] / INTERNAL / "local.json").read_text())
    assert (local["label"], local["space"], local["split"]) == ("local", "logit", "test")
    assert "40 rows" in local["background"]
    assert set(local["explanations"][0]) == {"row", "output", "contributions"}


def test_the_report_states_method_background_space_purpose_and_limits(run: tuple[AuditReport, Path]) -> None:
    report, workdir = run
    text = " ".join(report.reasons)
    local = json.loads((workdir / INTERNAL / "local.json").read_text())
    assert report.status == "complete"
    assert "Space: logit" in text
    assert "Background: 40 rows" in text
    assert "training split" in text
    assert f"{local['base_value']:.6g}" in text
    for word in (
        "for people",
        "not causal",
        "Global explanations",
        "Local explanations",
        "closed form",
        "simplest model",
    ):
        assert word in text


def test_additivity_and_stability_are_findings(run: tuple[AuditReport, Path]) -> None:
    report, _ = run
    assert 0.0 <= value(report, "additivity_error/overall") < 1e-5
    assert 0.0 <= value(report, "background_sensitivity/overall") < 0.1
    assert value(report, "explanation_stability/overall") == pytest.approx(1.0)
    assert report.find("explanations/approximation_difference/overall") is None  # the method is exact


def test_cross_checks_are_findings(run: tuple[AuditReport, Path]) -> None:
    report, _ = run
    assert value(report, "permutation_importance/age/overall") > 0
    assert value(report, "lime_agreement/overall") > 0.8
    assert value(report, "permutation_agreement/overall") in (pytest.approx(1.0), pytest.approx(-1.0))


def test_all_rows_are_explained_unless_fewer_are_asked_for(evidence: AuditInput, tmp_path: Path) -> None:
    """And then the overall number is the mean absolute closed form over the whole split, with its normal interval."""
    everything = replace(evidence, settings=AuditsConfig(min_group_size=20, background_rows=40))
    report = ExplanationsAudit().run(everything, workdir=tmp_path)
    assert any("all 400 test rows" in reason for reason in report.reasons)
    test, _ = evidence.transformed.arrays("test")
    exact = np.abs(0.9 * (test["age_xf"][:, 0] - background_means(evidence)["age"]))
    half = 1.959963984540054 * exact.std(ddof=1) / math.sqrt(len(exact))
    estimate = report.find("explanations/mean_abs_shap/age/overall").estimate  # type: ignore[union-attr]
    assert (estimate.n, estimate.method, estimate.confidence) == (400, "normal", 0.95)
    assert estimate.value == pytest.approx(exact.mean(), abs=1e-5)
    assert estimate.upper == pytest.approx(exact.mean() + half, abs=1e-5)
    women = evidence.scored.groups["sex"] == 0
    assert value(report, "mean_abs_shap/age/sex=Female") == pytest.approx(exact[women].mean(), abs=1e-5)


def test_groups_below_the_minimum_are_insufficient_and_never_zero(run: tuple[AuditReport, Path]) -> None:
    report, _ = run
    for group in ("race=Rare", "sex=Unseen"):
        for metric in ("mean_abs_shap", "mean_shap", "mean_shap_difference"):
            finding = report.find(f"explanations/{metric}/age/{group}")
            assert finding is not None
            assert finding.evidence == "insufficient"
            assert finding.estimate.value is None
            assert finding.reason == "the group has fewer than 20 test rows"


def test_every_large_group_is_filled_up_to_the_minimum(evidence: AuditInput, tmp_path: Path) -> None:
    """With 10 explained rows hardly a group has 20 of them; each that has 20 test rows must get them."""
    small = replace(evidence, settings=AuditsConfig(min_group_size=20, explained_rows=10, background_rows=10))
    report = ExplanationsAudit().run(small, workdir=tmp_path)
    sizes = {
        f"{name}={group}": int((codes == code).sum())
        for name, codes in evidence.scored.groups.items()
        for code, group in enumerate(evidence.scored.names[name])
    }
    assert report.find("explanations/mean_abs_shap/age/overall").estimate.n == 10  # type: ignore[union-attr]
    for slice_, size in sizes.items():
        finding = report.find(f"explanations/mean_abs_shap/age/{slice_}")
        assert finding is not None
        assert (finding.evidence == "sufficient") == (size >= 20)
        assert size < 20 or finding.estimate.n >= 20


@pytest.mark.usefixtures("real_plots")
def test_equal_runs_give_equal_files(evidence: AuditInput, run: tuple[AuditReport, Path], tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        assert ExplanationsAudit().run(evidence, workdir=folder) == run[0]
    names = [path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file()]
    assert len(names) > 10
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_only_aggregates_lie_where_the_card_looks(run: tuple[AuditReport, Path]) -> None:
    _, workdir = run
    assert sorted(path.name for path in workdir.iterdir()) == [
        "column_importance.svg",
        "column_importance_by_age_band.svg",
        "column_importance_by_race.svg",
        "column_importance_by_sex.svg",
        "group_differences_by_age_band.svg",
        "group_differences_by_race.svg",
        "group_differences_by_sex.svg",
        "internal",
    ]
    inside = sorted(path.name for path in (workdir / INTERNAL).iterdir())
    assert inside[:3] == ["beeswarm.svg", "dependence_age.svg", "dependence_hours.svg"]
    assert sum(name.startswith("waterfall_") for name in inside) == 3
    for path in (workdir / INTERNAL).glob("*.svg"):
        assert "internal: single rows" in path.read_text()


def test_an_unstable_explanation_is_not_printed(
    evidence: AuditInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report stays complete: it is the draw that is at fault, not the model."""
    monkeypatch.setattr(fidelity, "MAX_CHANGE", 1e-6)
    report = ExplanationsAudit().run(evidence, workdir=tmp_path)
    assert report.status == "complete"
    assert "not stable" in report.reasons[0]
    assert "background_rows" in report.reasons[0]
    assert not list(tmp_path.iterdir())
    for finding in report.findings:
        if finding.metric.startswith("mean_") or finding.metric.endswith("_agreement"):
            assert finding.estimate.value is None
            assert finding.evidence == "insufficient"
    assert value(report, "background_sensitivity/overall") > 0
    assert value(report, "permutation_importance/age/overall") is not None


def test_another_model_in_the_keras_file_fails_the_audit(evidence: AuditInput, tmp_path: Path) -> None:
    """What is explained must be what is released: the scores of the audited model decide."""
    scored = replace(evidence.scored, scores=np.clip(evidence.scored.scores + np.float32(0.01), 0, 1))
    report = ExplanationsAudit().run(replace(evidence, scored=scored), workdir=tmp_path)
    assert report.status == "failed"
    assert "not what would be released" in report.reasons[0]
    assert not list(tmp_path.iterdir())


def test_an_unreadable_keras_file_is_not_applicable(evidence: AuditInput, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"secret cell content")
    report = ExplanationsAudit().run(replace(evidence, model_folder=tmp_path), workdir=tmp_path)
    assert report.status == "not_applicable"
    assert "cannot be read back" in report.reasons[0]
    assert "secret" not in report.reasons[0]
    assert report.findings == ()


def test_values_that_do_not_add_up_fail(evidence: AuditInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method in turn is found out, and the last one fails the audit."""
    for name in ("closed_form", "enumerated", "deep", "sampled"):
        right = getattr(ExplainedModel, name)

        def wrong(self: Any, *args: Any, right: Any = right, **kw: Any) -> Any:
            found = right(self, *args, **kw)
            return replace(found, contributions=found.contributions + 1)

        monkeypatch.setattr(ExplainedModel, name, wrong)
    report = ExplanationsAudit().run(evidence, workdir=tmp_path)
    assert report.status == "failed"
    assert value(report, "additivity_error/overall") == pytest.approx(2.0, abs=1e-4)


def test_a_method_whose_values_do_not_add_up_gives_way_to_the_next(
    evidence: AuditInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ExplainedModel.closed_form

    def wrong(self: Any, *args: Any, **kw: Any) -> Any:
        found = right(self, *args, **kw)
        return replace(found, contributions=found.contributions * 1.1)

    monkeypatch.setattr(ExplainedModel, "closed_form", wrong)
    report = ExplanationsAudit().run(evidence, workdir=tmp_path)
    assert report.status == "complete"
    assert value(report, "additivity_error/overall") < 1e-5
    assert any("closed form" in reason and "discarded" in reason for reason in report.reasons)
    assert any("enumeration" in reason for reason in report.reasons)


def made(evidence: AuditInput) -> AuditInput:
    """Evidence whose preprocessing names one input after no raw column."""
    outputs = tuple(
        feature.model_copy(update={"source": "made"}) if feature.source == "hours" else feature
        for feature in evidence.transform.outputs
    )
    return replace(evidence, transform=evidence.transform.model_copy(update={"outputs": outputs}))


def test_columns_that_preprocessing_made_are_explained_too(evidence: AuditInput, tmp_path: Path) -> None:
    for audit, name in (
        (ExplanationsAudit(), "explanations/mean_abs_shap/made/overall"),
        (RegulatoryAudit(), "regulatory/adverse_action_reason_share/made/overall@0.5"),
    ):
        workdir = tmp_path / audit.name
        workdir.mkdir()
        report = audit.run(made(evidence), workdir=workdir)
        found = report.find(name)
        assert found is not None
        assert found.estimate.value is not None
        assert found.estimate.value > 0


def test_few_columns_are_enumerated(evidence: AuditInput, tmp_path: Path) -> None:
    report = ExplanationsAudit().run(with_model(evidence, tmp_path / "model", product()), workdir=tmp_path)
    assert report.status == "complete"
    assert any("enumeration of all 4 coalitions" in reason for reason in report.reasons)


@pytest.mark.parametrize(("joined", "method"), [(True, "shap.DeepExplainer"), (False, "Castro")])
def test_what_cannot_be_enumerated_is_approximated(
    joined: bool, method: str, evidence: AuditInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_model(evidence, tmp_path / "model", product(joined=joined))
    exact = ExplanationsAudit().run(model, workdir=tmp_path / "model")
    monkeypatch.setattr(backgrounds, "MAX_EVALUATIONS", 60 * 40 * 4 - 1)
    report = ExplanationsAudit().run(model, workdir=tmp_path)
    assert report.status == "complete"
    assert any(method in reason for reason in report.reasons)
    for column in WEIGHTS:
        name = f"mean_abs_shap/{column}/overall"
        assert value(report, name) == pytest.approx(value(exact, name), rel=0.25)
    if joined:
        assert 0 < value(report, "approximation_difference/overall") < 0.25


def test_an_approximation_that_sampling_contradicts_is_discarded(
    evidence: AuditInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepExplainer that gives everything to the first column still adds up; only another method can tell."""
    right = ExplainedModel.deep

    def shared_wrongly(self: Any, rows: Any, *, background: Any) -> Any:
        found = right(self, rows, background=background)
        total = found.contributions.sum(axis=1)
        return replace(found, contributions=np.stack([total, np.zeros(len(total))], axis=1))

    monkeypatch.setattr(ExplainedModel, "deep", shared_wrongly)
    monkeypatch.setattr(backgrounds, "MAX_EVALUATIONS", 60 * 40 * 4 - 1)
    report = ExplanationsAudit().run(with_model(evidence, tmp_path / "m", product(joined=True)), workdir=tmp_path)
    assert any("differ from those by sampling" in reason for reason in report.reasons)
    assert any("Castro" in reason for reason in report.reasons)


def test_importances_collapse_on_a_model_of_shuffled_labels(evidence: AuditInput, tmp_path: Path) -> None:
    """A model that learned nothing has nothing to explain (the data randomisation test of Adebayo et al. 2018)."""
    import tensorflow as tf

    train = draw_rows(2000, seed=11)
    scaled = {"age": (40.0, 12.0), "hours": (38.0, 10.0)}
    rows = {
        f"{name}_xf": ((train.column(name).to_numpy() - mean) / scale).astype(np.float32).reshape(-1, 1)
        for name, (mean, scale) in scaled.items()
    }
    labels = np.array([text == "yes" for text in train.column("income").to_pylist()], np.float32)
    totals = []
    for targets in (labels, np.random.default_rng(1).permutation(labels)):
        tf.keras.utils.set_random_seed(3)
        model = build(ModelConfig(kind="mlp", hidden=(8,)), FEATURES, root=tmp_path)
        model.compile(tf.keras.optimizers.Adam(0.02), "binary_crossentropy")
        model.fit(rows, targets, batch_size=100, epochs=6, verbose=0)
        found = load_explained_model(save(tmp_path / "model.keras", model), FEATURES).enumerated(
            {name: values[:200] for name, values in rows.items()},
            background={name: values[200:300] for name, values in rows.items()},
        )
        totals.append(np.abs(found.contributions).mean(axis=0).sum())
    assert totals[0] > 0.8
    assert totals[1] < 0.2 * totals[0]


@pytest.mark.usefixtures("real_plots")
def test_plots_are_inert_whatever_the_names_are(tmp_path: Path) -> None:
    """Names are neither mathematics nor markup; one that begins with an underscore stays in the legend."""
    estimate = Estimate(value=0.5, lower=0.4, upper=0.6, confidence=0.95, method="normal", n=100)
    hostile = "$\\frac{x$ <script>alert(1)</script>"
    both = {"_x": {hostile: estimate}, "y": {hostile: estimate}}
    draw_global(tmp_path / "a.svg", {hostile: estimate}, space="logit")
    draw_groups(tmp_path / "b.svg", both, attribute=hostile, space="logit")
    draw_differences(tmp_path / "c.svg", both, attribute=hostile, space="logit")
    for name in ("a.svg", "b.svg", "c.svg"):
        text = (tmp_path / name).read_text()
        assert "<script" not in text
        assert "&lt;script&gt;" in text
    for name in ("b.svg", "c.svg"):
        assert "> _x<" in (tmp_path / name).read_text()
