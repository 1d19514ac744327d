"""Export: transform graph and trained model as one SavedModel, and the Keras file beside it.

The SavedModel takes raw rows in two ways, and gives ``scores`` in both: float32 of shape (rows, 1), or (rows, classes)
for a multi-class label. What the numbers are is said in :mod:`probity.trainers.objective`.

``serving_default``
    Input ``examples``: serialized ``tf.Example`` of shape (rows,). A missing value is an absent or empty feature.
    Label, sensitive-only and any other columns may be there and are not looked at.

``predict_columns``
    One input of shape (rows,) per raw feature column, so that a REST client can send ``{"age": 39, "workclass": "…"}``:

    ============  ============  ===================================================================================
    column        tensor        missing value
    ============  ============  ===================================================================================
    text          string        ``""``
    float         float32       NaN (the bare word ``NaN`` in a REST request)
    whole number  float64       NaN. float64 so that NaN can be said and every whole number up to 2^53 is exact;
                                a fraction is dropped
    ============  ============  ===================================================================================

Both are stock TensorFlow operations only: a process that has nothing but TensorFlow can load and call them.

A :class:`DecisionRule` is part of the graph like everything else. The columns it reads are asked for beside the
features; there is no Keras file then, since one would hold the scores before the rule.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from probity.data import Column, ColumnKind, Transform
from probity.digest import digest_bytes, digest_json, digest_tree
from probity.errors import TrainingError

__all__ = ["DecisionRule", "export", "weights_digest"]

SIGNATURES = ("serving_default", "predict_columns")


class DecisionRule(Protocol):
    """What happens to scores after the model, depending on raw columns."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The raw columns that it reads."""
        ...

    def apply(self, scores: Any, raw: Mapping[str, Any]) -> Any:
        """Returns the final scores, float32 of shape (rows, 1), from the model's and the raw columns as sparse ones."""
        ...


def export(
    model: Any, transform: Transform, *, transform_folder: Path, workdir: Path, rule: DecisionRule | None = None
) -> str:
    """Writes ``workdir/saved_model`` and, without a rule, ``workdir/model.keras``.

    Args:
        model: A Keras model whose inputs are outputs of the transform.
        transform: Layout of the transform graph.
        transform_folder: Holds the graph.
        workdir: Where to write.
        rule: What is done to the scores.

    Returns:
        The digest of ``saved_model``.

    Raises:
        TrainingError: If the model cannot be written, as is the case for some layers of a user's own.
    """
    import tensorflow as tf

    workdir.mkdir(parents=True, exist_ok=True)
    try:
        # First, because a model with the transform attached could no longer be written in this format.
        if rule is None:
            model.save(workdir / "model.keras")
        module = tf.Module()
        signatures, names = _signatures(module, model, transform, transform_folder / transform.graph, rule)
        folder = workdir / "saved_model"
        tf.saved_model.save(module, str(folder), signatures=signatures)
        _rename_inputs(folder / "saved_model.pb", names)
    except (TypeError, ValueError, AttributeError, NotImplementedError, tf.errors.OpError) as error:
        raise TrainingError(
            "model",
            seen=f"it cannot be written as a Keras file and a SavedModel ({type(error).__name__})",
            allowed="a model of layers that Keras can serialize",
            remedy="give custom layers a get_config and register them with keras.saving.register_keras_serializable",
        ) from error
    return digest_tree(folder)


def weights_digest(model: Any) -> str:
    """Returns the digest of the trainable weights: shapes and bytes, in the order of the layers."""
    arrays = [np.ascontiguousarray(weight.numpy()) for weight in model.trainable_weights]
    return digest_json([[list(array.shape), str(array.dtype), digest_bytes(array.tobytes())] for array in arrays])


def _signatures(
    module: Any, model: Any, transform: Transform, graph: Path, rule: DecisionRule | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the traced signatures, and the real name of each input that TensorFlow allows under another one only."""
    import tensorflow as tf
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(str(graph))
    # What the functions use must hang on the module that is saved. The model's variables are enough: hanging the model
    # itself there would save Keras's own functions of every layer as well.
    module.transform = output.transform_features_layer()
    module.model_variables = list(model.variables)
    features = {column.name for column in transform.inputs}
    extra = () if rule is None else tuple(column for column in rule.columns if column.name not in features)
    asked = (*transform.inputs, *extra)
    specs = {column.name: tf.io.VarLenFeature(str(column.kind)) for column in asked}

    def score(raw: Mapping[str, Any]) -> dict[str, Any]:
        found = module.transform({name: tensor for name, tensor in raw.items() if name in features})
        inputs = {
            feature.name: tf.reshape(tf.cast(found[feature.name], tf.float32), [-1, feature.width])
            for feature in transform.outputs
        }
        scores = tf.cast(model(inputs, training=False), tf.float32)
        return {"scores": scores if rule is None else rule.apply(scores, raw)}

    def serve_examples(examples: Any) -> dict[str, Any]:
        return score(tf.io.parse_example(examples, specs))

    arguments = _arguments(asked)

    def serve_columns(**tensors: Any) -> dict[str, Any]:
        return score({column.name: _sparse(tensors[arguments[column.name]], column) for column in asked})

    columns = {
        arguments[column.name]: tf.TensorSpec([None], _TENSORS[column.kind], name=arguments[column.name])
        for column in asked
    }
    trace: Callable[..., Any] = tf.function
    signatures = {
        "serving_default": trace(serve_examples).get_concrete_function(tf.TensorSpec([None], tf.string, "examples")),
        "predict_columns": trace(serve_columns).get_concrete_function(**columns),
    }
    return signatures, {argument: name for name, argument in arguments.items() if argument != name}


_TENSORS = {ColumnKind.INT: "float64", ColumnKind.FLOAT: "float32", ColumnKind.TEXT: "string"}


def _sparse(tensor: Any, column: Column) -> Any:
    """Returns the given values as a sparse column, in which a missing value is not there."""
    import tensorflow as tf

    if column.kind is ColumnKind.TEXT:
        given = tensor != ""
    elif column.kind is ColumnKind.FLOAT:
        given = ~tf.math.is_nan(tensor)
    else:
        given = tf.math.is_finite(tensor)
    rows = tf.where(given)
    indices = tf.concat([rows, tf.zeros_like(rows)], axis=1)
    present = tf.cast(tf.boolean_mask(tensor, given), str(column.kind))
    return tf.sparse.SparseTensor(indices, present, [tf.size(tensor, tf.int64), 1])


def _arguments(columns: tuple[Column, ...]) -> dict[str, str]:
    """Returns a name that TensorFlow accepts as a function's parameter for each column, its own where possible."""
    safe = {
        column.name
        for column in columns
        if column.name.isascii() and column.name.isidentifier()
        and not keyword.iskeyword(column.name) and not column.name.startswith("_") and column.name != "self"
    }  # fmt: skip
    arguments: dict[str, str] = {}
    for i, column in enumerate(columns):
        argument = column.name if column.name in safe else f"column_{i}"
        while argument != column.name and argument in safe:
            argument += "_"
        arguments[column.name] = argument
    return arguments


def _rename_inputs(path: Path, names: Mapping[str, str]) -> None:
    """Gives the inputs of ``predict_columns`` their real names, which a function's parameters cannot have.

    A column may be called ``hours-per-week`` or ``class``. What clients see is the signature, where any name is fine.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    if not names:
        return
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    graph = saved.meta_graphs[0]
    inputs = graph.signature_def["predict_columns"].inputs
    for argument, name in names.items():
        inputs[name].CopyFrom(inputs[argument])
        del inputs[argument]
    for node in graph.object_graph_def.nodes:
        if node.HasField("bare_concrete_function"):
            words = node.bare_concrete_function.argument_keywords
            renamed = [names.get(word, word) for word in words]
            del words[:]
            words.extend(renamed)
    path.write_bytes(saved.SerializeToString(deterministic=True))
