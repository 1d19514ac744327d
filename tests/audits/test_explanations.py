"""Shapley values against closed forms, against brute force over all coalitions, and against what must fail."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probity.audits import explained as drawing
from probity.audits.attribution import load_explained_model, sample_shapley
from probity.audits.base import AuditInput
from probity.audits.explanation_plots import draw_global, draw_groups, file_name
from probity.audits.explanations import ExplanationsAudit
from probity.audits.testing import AuditContract, make_evidence
from probity.config import AuditsConfig
from probity.data import TransformedFeature
from probity.errors import AuditError
from probity.findings import AuditReport, Estimate

SETTINGS = AuditsConfig(min_group_size=20, explained_rows=60, background_rows=40)


class TestContract(AuditContract):
    def make_audit(self) -> ExplanationsAudit:
        return ExplanationsAudit()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> AuditInput:
    return make_evidence(tmp_path_factory.mktemp("evidence"), settings=SETTINGS)


@pytest.fixture(scope="module")
def run(evidence: AuditInput, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditReport, Path]:
    workdir = tmp_path_factory.mktemp("workdir")
    return ExplanationsAudit().run(evidence, workdir=workdir), workdir


def outputs(**widths: int) -> tuple[TransformedFeature, ...]:
    return tuple(TransformedFeature(name=f"{name}_xf", source=name, width=width) for name, width in widths.items())


def save(path: Path, model: Any) -> Path:
    model.save(path)
    return path


def inputs_of(features: tuple[TransformedFeature, ...]) -> dict[str, Any]:
    import tensorflow as tf

    return {feature.name: tf.keras.Input((feature.width,), name=feature.name) for feature in features}


def draw(features: tuple[TransformedFeature, ...], rows: int, *, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {feature.name: rng.normal(size=(rows, feature.width)).astype(np.float32) for feature in features}


def brute_force(predict: Any, row: dict[str, Any], background: dict[str, Any]) -> list[float]:
    """Shapley 1953 by definition: all coalitions, each averaged over the whole background."""
    names = list(row)

    def value(coalition: tuple[str, ...]) -> float:
        rows = len(background[names[0]])
        mixed = {n: np.repeat(row[n][None], rows, 0) if n in coalition else background[n] for n in names}
        return float(predict(mixed).mean())

    totals = []
    for name in names:
        others = [other for other in names if other != name]
        total = 0.0
        for size in range(len(names)):
            weight = math.factorial(size) * math.factorial(len(names) - size - 1) / math.factorial(len(names))
            for coalition in itertools.combinations(others, size):
                total += weight * (value((*coalition, name)) - value(coalition))
        totals.append(total)
    return totals


def test_linear_model_has_the_closed_form(evidence: AuditInput, run: tuple[AuditReport, Path]) -> None:
    """For logit = w.x + b the Shapley value of a column is exactly w * (x - mean of the background)."""
    train, _ = evidence.transformed.arrays("train")
    test, _ = evidence.transformed.arrays("test")
    chosen = drawing.draw_rows(200, 40, np.random.default_rng([evidence.seed, 1]))
    local = json.loads((run[1] / "local.json").read_text())
    assert len(local["explanations"]) == 20
    for entry in local["explanations"]:
        for column, weight in (("age", 0.9), ("hours", 0.7)):
            values, mean = test[f"{column}_xf"], train[f"{column}_xf"][chosen].mean(dtype=np.float64)
            assert entry["contributions"][column] == pytest.approx(weight * (values[entry["row"], 0] - mean), abs=1e-5)
        assert sum(entry["contributions"].values()) + local["base_value"] == pytest.approx(entry["output"], abs=1e-5)


def test_local_explanations_are_labelled_and_hold_contributions_only(run: tuple[AuditReport, Path]) -> None:
    local = json.loads((run[1] / "local.json").read_text())
    assert (local["label"], local["space"], local["split"]) == ("local", "logit", "test")
    assert "40 rows" in local["background"]
    assert set(local["explanations"][0]) == {"row", "output", "contributions"}


def test_the_report_states_background_space_and_limits(run: tuple[AuditReport, Path]) -> None:
    report, workdir = run
    text = " ".join(report.reasons)
    local = json.loads((workdir / "local.json").read_text())
    assert report.status == "complete"
    assert "Space: logit" in text
    assert "Background: 40 rows" in text
    assert "training split" in text
    assert f"{local['base_value']:.6g}" in text
    for word in ("for people", "not causal", "Global explanations", "shap.DeepExplainer"):
        assert word in text


def test_additivity_is_a_finding(run: tuple[AuditReport, Path]) -> None:
    finding = run[0].find("explanations/additivity_error/overall")
    assert finding is not None
    assert finding.estimate.value is not None
    assert 0.0 <= finding.estimate.value < 1e-5


def test_groups_below_the_minimum_are_insufficient_and_never_zero(run: tuple[AuditReport, Path]) -> None:
    report, _ = run
    for group in ("race=Rare", "sex=Unseen"):
        finding = report.find(f"explanations/mean_abs_shap/age/{group}")
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


def test_the_overall_number_is_the_mean_over_the_uniform_sample(evidence: AuditInput, tmp_path: Path) -> None:
    """All rows explained: the mean absolute closed form over the whole split, and its normal interval."""
    everything = replace(evidence, settings=AuditsConfig(min_group_size=20, explained_rows=1000, background_rows=40))
    report = ExplanationsAudit().run(everything, workdir=tmp_path)
    train, _ = evidence.transformed.arrays("train")
    test, _ = evidence.transformed.arrays("test")
    chosen = drawing.draw_rows(200, 40, np.random.default_rng([evidence.seed, 1]))
    exact = np.abs(0.9 * (test["age_xf"][:, 0] - train["age_xf"][chosen].mean(dtype=np.float64)))
    half = 1.959963984540054 * exact.std(ddof=1) / math.sqrt(len(exact))
    estimate = report.find("explanations/mean_abs_shap/age/overall").estimate  # type: ignore[union-attr]
    assert (estimate.n, estimate.method, estimate.confidence) == (400, "normal", 0.95)
    assert estimate.value == pytest.approx(exact.mean(), abs=1e-5)
    assert estimate.upper == pytest.approx(exact.mean() + half, abs=1e-5)
    women = evidence.scored.groups["sex"] == 0
    by_group = report.find("explanations/mean_abs_shap/age/sex=Female").estimate  # type: ignore[union-attr]
    assert by_group.value == pytest.approx(exact[women].mean(), abs=1e-5)


def test_equal_runs_give_equal_files(evidence: AuditInput, run: tuple[AuditReport, Path], tmp_path: Path) -> None:
    again = ExplanationsAudit().run(evidence, workdir=tmp_path)
    assert again == run[0]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "column_importance.svg",
        "column_importance_by_age_band.svg",
        "column_importance_by_race.svg",
        "column_importance_by_sex.svg",
        "local.json",
    ]
    for name in names:
        assert (tmp_path / name).read_bytes() == (run[1] / name).read_bytes()


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
    from probity.audits.attribution import Attribution, ExplainedModel

    def shifted(found: Attribution) -> Attribution:
        return replace(found, contributions=found.contributions + 1)

    for name in ("deep", "sampled"):
        right = getattr(ExplainedModel, name)
        monkeypatch.setattr(
            ExplainedModel,
            name,
            lambda self, rows, right=right, **kw: replace(
                a := right(self, rows, **kw), contributions=a.contributions + 1
            ),
        )
    report = ExplanationsAudit().run(evidence, workdir=tmp_path)
    assert report.status == "failed"
    assert report.find("explanations/additivity_error/overall").estimate.value == pytest.approx(2.0, abs=1e-4)  # type: ignore[union-attr]


def test_deep_and_brute_force_agree_where_rectifiers_do_not_interact(tmp_path: Path) -> None:
    """One-hot columns sum to their source; on an additive net DeepExplainer is exact, and a column not used is 0."""
    import tensorflow as tf

    features = outputs(a=3, b=1, c=2)
    inputs = inputs_of(features)
    tf.keras.utils.set_random_seed(1)
    joined = tf.keras.layers.Concatenate(name="concat")([inputs["c_xf"], inputs["a_xf"], inputs["b_xf"]])
    first = tf.keras.layers.Dense(3, activation="relu")
    logit = tf.keras.layers.Dense(1, name="logit")
    model = tf.keras.Model(inputs, tf.keras.layers.Activation("sigmoid")(logit(first(joined))))
    # Each hidden unit reads one source column, so that the network is additive over columns; b is not read at all.
    kernel = np.zeros((6, 3), np.float32)
    kernel[0:2, 0], kernel[2:5, 1], kernel[2:5, 2] = [1.0, -2.0], [0.5, 1.0, -1.0], [-1.0, 0.3, 2.0]
    first.set_weights([kernel, np.array([0.1, -0.2, 0.3], np.float32)])
    loaded = load_explained_model(save(tmp_path / "model.keras", model), features)
    rows, background = draw(features, 4, seed=2), draw(features, 9, seed=3)
    found = loaded.deep(rows, background=background)
    assert loaded.space == "logit"
    assert loaded.joined == ("c_xf", "a_xf", "b_xf")
    assert found.additivity_error < 1e-5
    assert (found.contributions[:, 1] == 0.0).all()
    for i in range(4):
        exact = brute_force(loaded.predict, {name: values[i] for name, values in rows.items()}, background)
        assert found.contributions[i] == pytest.approx(exact, abs=1e-5)


def test_sampling_converges_to_brute_force_on_an_interacting_net(tmp_path: Path) -> None:
    import tensorflow as tf

    features = outputs(a=2, b=1, c=1, unused=1)
    inputs = inputs_of(features)
    tf.keras.utils.set_random_seed(4)
    product = tf.keras.layers.Multiply()([inputs["a_xf"], tf.keras.layers.Dense(2)(inputs["b_xf"])])
    hidden = tf.keras.layers.Dense(4, activation="tanh")(tf.keras.layers.Concatenate()([product, inputs["c_xf"]]))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid")(hidden))
    loaded = load_explained_model(save(tmp_path / "model.keras", model), features)
    assert not loaded.has_joint_input
    rows, background = draw(features, 2, seed=5), draw(features, 5, seed=6)
    groups = [[feature.name] for feature in features]
    repeated = {name: np.tile(values, (800, 1)) for name, values in background.items()}
    found = sample_shapley(loaded.predict, rows, background=repeated, groups=groups, seed=7)
    for i in range(2):
        exact = brute_force(loaded.predict, {name: values[i] for name, values in rows.items()}, background)
        assert found[i] == pytest.approx(exact, abs=0.03)
        assert found[i, 3] == 0.0
        assert abs(found[i, :3]).max() > 0.1
    attribution = loaded.sampled(rows, background=background, seed=7)
    assert attribution.additivity_error < 1e-5
    assert attribution.base_value == pytest.approx(float(loaded.predict(background).mean()))


def test_a_model_of_another_shape_uses_the_sampling_method(evidence: AuditInput, tmp_path: Path) -> None:
    """The same function as the audited model, without a layer that joins the inputs."""
    import tensorflow as tf

    inputs = inputs_of(outputs(age=1, hours=1))
    parts = [tf.keras.layers.Dense(1, use_bias=False, name=name)(inputs[f"{name}_xf"]) for name in ("age", "hours")]
    total = tf.keras.layers.Add()(parts)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid", name="score")(total))
    model.get_layer("age").set_weights([np.array([[0.9]], np.float32)])
    model.get_layer("hours").set_weights([np.array([[0.7]], np.float32)])
    model.get_layer("score").set_weights([np.array([[1.0]], np.float32), np.array([-0.8], np.float32)])
    save(tmp_path / "model.keras", model)
    (tmp_path / "out").mkdir()
    report = ExplanationsAudit().run(replace(evidence, model_folder=tmp_path), workdir=tmp_path / "out")
    assert report.status == "complete"
    assert any("No layer joins" in reason for reason in report.reasons)
    assert any("Castro" in reason for reason in report.reasons)
    deep = ExplanationsAudit().run(evidence, workdir=tmp_path / "out")
    name = "explanations/mean_abs_shap/age/overall"
    # A linear model has no interaction, so every order of the columns gives the exact value.
    assert report.find(name).estimate.value == pytest.approx(deep.find(name).estimate.value, abs=1e-5)  # type: ignore[union-attr]


@pytest.mark.parametrize("widths", [{"a": 3}, {"a": 3, "b": 1, "c": 2}], ids=["one input", "three inputs"])
def test_the_built_in_architecture_is_explained_by_the_deep_method(widths: dict[str, int], tmp_path: Path) -> None:
    from probity.config import ModelConfig
    from probity.trainers.architecture import build

    features = outputs(**widths)
    model = build(ModelConfig(kind="mlp", hidden=(8, 4), dropout=0.5), features, root=tmp_path)
    loaded = load_explained_model(save(tmp_path / "model.keras", model), features)
    assert loaded.space == "logit"
    assert loaded.has_joint_input
    rows, background = draw(features, 5, seed=8), draw(features, 11, seed=9)
    found = loaded.deep(rows, background=background)
    assert found.additivity_error < 1e-5
    assert loaded.probability(found.outputs) == pytest.approx(np.asarray(model(rows))[:, 0], abs=1e-6)


def test_a_model_without_sigmoid_is_explained_as_probability(tmp_path: Path) -> None:
    import tensorflow as tf

    features = outputs(a=1)
    inputs = inputs_of(features)
    score = tf.keras.layers.Dense(1, activation="hard_sigmoid")(inputs["a_xf"])
    loaded = load_explained_model(save(tmp_path / "model.keras", tf.keras.Model(inputs, score)), features)
    assert loaded.space == "probability"
    assert loaded.has_joint_input


@pytest.mark.parametrize("fault", ["two outputs", "two numbers", "unknown input"])
def test_models_that_cannot_be_explained_are_refused(fault: str, tmp_path: Path) -> None:
    import tensorflow as tf

    features = outputs(a=1)
    inputs = inputs_of(outputs(other=1) if fault == "unknown input" else features)
    tensor = next(iter(inputs.values()))
    dense = tf.keras.layers.Dense(2 if fault == "two numbers" else 1)
    found = [dense(tensor), dense(tensor)] if fault == "two outputs" else dense(tensor)
    path = save(tmp_path / "model.keras", tf.keras.Model(inputs, found))
    with pytest.raises(AuditError):
        load_explained_model(path, features)


def test_plots_are_inert_whatever_the_names_are(tmp_path: Path) -> None:
    """Names are neither mathematics nor markup; one that begins with an underscore stays in the legend."""
    estimate = Estimate(value=0.5, lower=0.4, upper=0.6, confidence=0.95, method="normal", n=100)
    hostile = "$\\frac{x$ <script>alert(1)</script>"
    draw_global(tmp_path / "a.svg", {hostile: estimate}, space="logit")
    draw_groups(tmp_path / "b.svg", {"_x": {hostile: estimate}, "y": {hostile: estimate}}, attribute="s", space="logit")
    for name in ("a.svg", "b.svg"):
        text = (tmp_path / name).read_text()
        assert "<script" not in text
        assert "&lt;script&gt;" in text
    assert "> _x<" in (tmp_path / "b.svg").read_text()


def test_file_names_cannot_leave_the_folder() -> None:
    assert file_name("importance", "by", "../../etc/passwd") == "importance_by_etc_passwd.svg"
