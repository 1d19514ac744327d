"""Export: what a process with nothing but TensorFlow can do with it, and names that functions cannot have."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from probity.data import Column, ColumnKind, Role
from probity.errors import DataError
from probity.predictor import SavedModelPredictor
from probity.recipe import ModelConfig
from probity.tfexample import encode
from probity.trainers import export as exporting
from probity.trainers.architecture import build
from probity.trainers.testing_world import transformed

BARE = """
import importlib.abc, sys
REFUSED = {"probity", "tensorflow_transform", "tfx_bsl", "apache_beam", "tensorflow_metadata", "pyarrow", "pydantic"}
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import json
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
example = tf.train.Example(features=tf.train.Features(feature={
    "hours-per-week": tf.train.Feature(int64_list=tf.train.Int64List(value=[39])),
    "city": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"Bergen"]))}))
served = loaded.signatures["serving_default"](examples=tf.constant([example.SerializeToString()]))
columns = loaded.signatures["predict_columns"](**{
    "hours-per-week": tf.constant([39.0], tf.float64),
    "balance": tf.constant([float("nan")]),
    "city": tf.constant(["Bergen"])})
print(json.dumps([served["scores"].numpy().tolist(), columns["scores"].numpy().tolist(), served["scores"].dtype.name]))
"""


@pytest.fixture(scope="module")
def exported(world, tmp_path_factory):
    """An untrained model, exported."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("exported")
    tf.keras.utils.set_random_seed(3)
    model = build(ModelConfig(kind="mlp", hidden=(4,)), world.transform.outputs, root=folder)
    digest = exporting.export(model, world.transform, transform_folder=world.folder, workdir=folder)
    return folder, model, digest


def test_it_loads_where_there_is_only_tensorflow(exported):
    folder, _, _ = exported
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(folder / "saved_model")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    served, columns, dtype = json.loads(done.stdout.splitlines()[-1])
    assert np.shape(served) == (1, 1)
    assert dtype == "float32"
    np.testing.assert_allclose(served, columns, atol=1e-6)


def test_the_signature_that_clients_see_has_the_columns_names(exported):
    from tensorflow.core.protobuf import saved_model_pb2

    folder, _, _ = exported
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model" / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    assert set(signatures["predict_columns"].inputs) == {"hours-per-week", "balance", "city"}
    assert set(signatures["serving_default"].inputs) == {"examples"}
    for name in ("predict_columns", "serving_default"):
        outputs = signatures[name].outputs
        assert set(outputs) == {"scores"}
        assert [dim.size for dim in outputs["scores"].tensor_shape.dim] == [-1, 1]


def test_scores_equal_the_model_in_this_process_on_a_thousand_rows(exported, world):
    import pyarrow as pa

    folder, model, _ = exported
    rows = pa.concat_tables([world.raw] * 5).slice(0, 1000)
    expected = model.predict(transformed(world.folder, rows), verbose=0)[:, 0]
    predictor = SavedModelPredictor(folder / "saved_model")
    np.testing.assert_allclose(predictor.predict(rows), expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(predictor.predict_examples(encode(rows)), expected, atol=1e-6, rtol=0)


def test_batches_do_not_change_the_scores(exported, world, monkeypatch):
    predictor = SavedModelPredictor(exported[0] / "saved_model")
    whole = predictor.predict(world.raw)
    monkeypatch.setattr(SavedModelPredictor, "BATCH_ROWS", 7)
    np.testing.assert_allclose(predictor.predict(world.raw), whole, atol=1e-7)


def test_the_predictor_says_what_is_wrong_with_rows_and_models(exported, world, tmp_path):
    predictor = SavedModelPredictor(exported[0] / "saved_model")
    with pytest.raises(DataError, match="column city: absent"):
        predictor.predict(world.raw.drop(["city"]))
    swapped = world.raw.drop(["balance"]).append_column("balance", world.raw.column("city"))
    with pytest.raises(DataError, match="column balance: of type string") as raised:
        predictor.predict(swapped)
    assert "Bergen" not in str(raised.value)
    with pytest.raises(DataError, match="cannot be loaded"):
        SavedModelPredictor(tmp_path / "nothing")


def test_several_values_in_a_row_count_as_the_first(exported, world):
    """The parser is lenient, so the graph has to be."""
    import tensorflow as tf

    predictor = SavedModelPredictor(exported[0] / "saved_model")

    def example(*cities):
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[city.encode() for city in cities]))
        return tf.train.Example(features=tf.train.Features(feature={"city": feature})).SerializeToString()

    one, two, empty = predictor.predict_examples([example("Bergen"), example("Bergen", "Aarhus"), example()])
    assert one == two != empty


def test_weights_digest_sees_any_change(exported):
    _, model, _ = exported
    before = exporting.weights_digest(model)
    assert before == exporting.weights_digest(model)
    kernel = model.get_layer("logit").kernel
    kernel.assign_add([[1e-6]] * kernel.shape[0])
    assert exporting.weights_digest(model) != before
    kernel.assign_sub([[1e-6]] * kernel.shape[0])


def test_every_column_gets_an_argument_of_its_own():
    names = ("age", "class", "self", "hours-per-week", "größe", "column_1", "column_2", "_x", "1st")
    columns = tuple(Column(name=name, kind=ColumnKind.INT, roles=(Role.FEATURE,)) for name in names)
    arguments = exporting._arguments(columns)
    assert len(set(arguments.values())) == len(names)
    assert {name for name in names if arguments[name] == name} == {"age", "column_1", "column_2"}
    assert all(argument.isidentifier() for argument in arguments.values())
