"""Keras models taken apart: each method against brute force, and what cannot be explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from probity.audits.attribution import load_explained_model
from probity.audits.linear_form import find_linear_form
from probity.errors import AuditError
from probity.recipe import ModelConfig
from probity.trainers.architecture import build
from tests.audits.networks import brute_force, draw, inputs_of, outputs, row_of, save


def built(config: ModelConfig, features, folder: Path):
    import tensorflow as tf

    tf.keras.utils.set_random_seed(1)
    model = build(config, features, root=folder)
    return model, load_explained_model(save(folder / "model.keras", model), features)


@pytest.mark.parametrize("widths", [{"a": 3}, {"a": 3, "b": 1, "c": 2}], ids=["one input", "three inputs"])
def test_a_logistic_model_has_the_closed_form(widths: dict[str, int], tmp_path: Path) -> None:
    """Exact: weights times distance from the mean of the background, summed over the elements of a column."""
    features = outputs(**widths)
    model, loaded = built(ModelConfig(kind="logistic"), features, tmp_path)
    rows, background = draw(features, 6, seed=2), draw(features, 9, seed=3)
    form = find_linear_form(
        loaded.predict, samples=(rows, background), widths={f.name: f.width for f in features}, seed=1
    )
    assert form is not None
    found = loaded.closed_form(form, rows, background=background)
    kernel = model.get_layer("logit").get_weights()[0][:, 0]
    start = 0
    for i, feature in enumerate(features):
        weights = kernel[start : start + feature.width]
        moved = rows[feature.name] - background[feature.name].mean(axis=0)
        assert found.contributions[:, i] == pytest.approx(moved @ weights, abs=1e-6)
        start += feature.width
    exact = [brute_force(loaded.predict, row_of(rows, i), background) for i in range(6)]
    assert found.contributions == pytest.approx(np.array(exact), abs=1e-5)
    assert found.additivity_error < 1e-5


def test_a_network_has_no_linear_form(tmp_path: Path) -> None:
    features = outputs(a=3, b=1)
    _, loaded = built(ModelConfig(kind="mlp", hidden=(8,)), features, tmp_path)
    rows = draw(features, 40, seed=2)
    widths = {feature.name: feature.width for feature in features}
    assert find_linear_form(loaded.predict, samples=(rows,), widths=widths, seed=1) is None


def test_enumeration_is_brute_force_on_a_network_that_mixes_columns(tmp_path: Path) -> None:
    features = outputs(a=3, b=1, c=2)
    _, loaded = built(ModelConfig(kind="mlp", hidden=(8, 4)), features, tmp_path)
    rows, background = draw(features, 4, seed=2), draw(features, 9, seed=3)
    found = loaded.enumerated(rows, background=background)
    exact = [brute_force(loaded.predict, row_of(rows, i), background) for i in range(4)]
    assert found.contributions == pytest.approx(np.array(exact), abs=1e-5)
    assert found.additivity_error < 1e-5
    assert np.abs(found.contributions).max() > 0.05


@pytest.mark.parametrize("rows", [1, 8, 11])
def test_rows_that_are_explained_together_have_the_values_they_have_alone(rows: int, tmp_path: Path) -> None:
    """DeepExplainer is given eight rows at once; SHAP by itself, row by row, is the reference. Equal rows too."""
    import shap

    from probity.audits.attribution import _join

    features = outputs(a=3, b=1, c=2)
    _, loaded = built(ModelConfig(kind="mlp", hidden=(8, 4)), features, tmp_path)
    some, background = draw(features, rows, seed=2), draw(features, 9, seed=3)
    some = {name: np.concatenate([values, values[:1]]) for name, values in some.items()}
    found = loaded.deep(some, background=background).contributions
    explainer = shap.DeepExplainer(loaded.head, _join(background, loaded.joined))
    alone = np.asarray(explainer.shap_values(_join(some, loaded.joined), check_additivity=False))[..., 0]
    # All inputs are joined in the order of the columns: widths 3, 1, 2.
    expected = np.stack([alone[:, 0:3].sum(1), alone[:, 3], alone[:, 4:6].sum(1)], axis=1)
    assert found == pytest.approx(expected, abs=1e-5)
    assert (found[-1] == found[0]).all()


def test_deep_and_brute_force_agree_where_rectifiers_do_not_interact(tmp_path: Path) -> None:
    """One-hot columns sum to their source; on an additive net DeepExplainer is exact, and a column not used is 0."""
    import tensorflow as tf

    features = outputs(a=3, b=1, c=2)
    inputs = inputs_of(features)
    joined = tf.keras.layers.Concatenate(name="concat")([inputs["c_xf"], inputs["a_xf"], inputs["b_xf"]])
    first = tf.keras.layers.Dense(3, activation="relu")
    tf.keras.utils.set_random_seed(1)
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
        exact = brute_force(loaded.predict, row_of(rows, i), background)
        assert found.contributions[i] == pytest.approx(exact, abs=1e-5)


def test_a_model_without_a_joining_layer_can_be_sampled(tmp_path: Path) -> None:
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
    exact = loaded.enumerated(rows, background=background)
    repeated = {name: np.tile(values, (300, 1)) for name, values in background.items()}
    found = loaded.sampled(rows, background=repeated, seed=7)
    assert found.contributions == pytest.approx(exact.contributions, abs=0.05)
    assert (found.contributions[:, 3] == 0.0).all()
    assert found.additivity_error < 1e-5
    assert found.base_value == pytest.approx(float(loaded.predict(background).mean()), abs=1e-6)


@pytest.mark.parametrize("widths", [{"a": 3}, {"a": 3, "b": 1, "c": 2}], ids=["one input", "three inputs"])
def test_the_built_in_architecture_is_explained_by_the_deep_method(widths: dict[str, int], tmp_path: Path) -> None:
    features = outputs(**widths)
    model, loaded = built(ModelConfig(kind="mlp", hidden=(8, 4), dropout=0.5), features, tmp_path)
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


def test_columns_that_preprocessing_made_have_the_values_of_their_inputs(tmp_path: Path) -> None:
    """A user's preprocessing may give an input the name of no raw column."""
    import pyarrow as pa

    features = outputs(raw=2, made=1, several=2)
    _, loaded = built(ModelConfig(kind="logistic"), features, tmp_path)
    table = pa.table({"raw": ["x", None, "y"], "unused": [1, 2, 3]})
    inputs = {
        "raw_xf": np.zeros((3, 2), np.float32),
        "made_xf": np.array([[1.5], [2.5], [1.5]], np.float32),
        "several_xf": np.array([[0, 1], [1, 0], [0, 1]], np.float32),
    }
    assert loaded.values(table, inputs).to_pydict() == {
        "raw": ["x", None, "y"],
        "made": [1.5, 2.5, 1.5],
        "several": ["pattern 1", "pattern 2", "pattern 1"],
    }
