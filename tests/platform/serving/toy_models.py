"""SavedModels of a few operations, with the signatures of TensorFlow Serving's half_plus_two and half_plus_three."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def half_plus(folder: Path, *, plus: float) -> None:
    """Writes a model of y = x / 2 + plus, with a signature of every kind."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        half, rest = v1.Variable(0.5, name="a"), v1.Variable(plus, name="b")
        serialized = v1.placeholder(tf.string, [None], "tf_example")
        given = v1.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        x = v1.placeholder(tf.float32, [None], "x")
        y_of_examples = given * half + rest
        labels = tf.tile(tf.constant([["low", "high"]]), [tf.shape(given)[0], 1])
        scores = tf.concat([1.0 - y_of_examples, y_of_examples], axis=1)
        signatures = {
            "serving_default": _signature("predict", {"x": x}, {"y": x * half + rest}),
            "tensorflow/serving/regress": _signature("regress", {"inputs": serialized}, {"outputs": y_of_examples}),
            "classify_x_to_y": _signature("classify", {"inputs": serialized}, {"classes": labels, "scores": scores}),
            **_named(v1, tf),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def _named(v1: Any, tf: Any) -> dict[str, Any]:
    tag = v1.placeholder(tf.string, [None], "tag")
    signal = v1.placeholder(tf.float32, [None, 5], "signal")
    sensor = v1.placeholder(tf.int32, [None, 2, 2], "sensor")
    image = v1.placeholder(tf.string, [None], "image_bytes")
    count = v1.placeholder(tf.int64, [None], "count")
    matrix = v1.placeholder(tf.float32, [None, 2], "matrix")
    total = tf.reduce_sum(signal, 1) + tf.cast(tf.reduce_sum(sensor, [1, 2]), tf.float32)
    return {
        "named": _signature(
            "predict", {"tag": tag, "signal": signal, "sensor": sensor}, {"tag": tf.identity(tag), "total": total}
        ),
        "binary": _signature("predict", {"image_bytes": image}, {"image_bytes": tf.identity(image)}),
        "whole": _signature("predict", {"count": count}, {"next": count + 1}),
        # No open first axis comes out, so that requests must not share a batch.
        "over_rows": _signature("predict", {"matrix": matrix}, {"mean": tf.reduce_mean(matrix)}),
        # Says an open first axis, and breaks the promise that a row of it belongs to a row of the input.
        "less_rows": _signature("predict", {"matrix": matrix}, {"rest": matrix[1:]}),
    }


def _signature(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    import tensorflow as tf

    saved_model = tf.compat.v1.saved_model
    return saved_model.build_signature_def(
        {name: saved_model.build_tensor_info(tensor) for name, tensor in inputs.items()},
        {name: saved_model.build_tensor_info(tensor) for name, tensor in outputs.items()},
        f"tensorflow/serving/{method}",
    )
