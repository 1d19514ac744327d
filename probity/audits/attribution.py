"""Shapley values of a Keras model by source column, against a stated background.

Four methods, all for the interventional value function of :mod:`probity.audits.shapley`:

* *closed form*: where the output is an affine function of the inputs, ``w . (x - mean of the background)``, summed per
  column, is exact (Štrumbelj & Kononenko 2014, section 3.3; :mod:`probity.audits.linear_form`).
* *deep*: SHAP's ``DeepExplainer`` (Lundberg & Lee 2017, section 4.2) on the part of the model behind the layer that
  joins the inputs, with the one-hot elements of a column summed to the column. An approximation.
* *enumeration* of all coalitions of columns: exact, for few columns.
* *sampling* of orders of the columns (Castro et al. 2009, algorithm 1): noisy, but right on average for any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from probity.audits.linear_form import LinearForm
from probity.audits.shapley import Inputs, enumerate_shapley, sample_shapley
from probity.data import TransformedFeature
from probity.errors import AuditError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Attribution", "ExplainedModel", "load_explained_model"]

_BATCH_ROWS = 16_384
_DEEP_ROWS = 8
"""Rows that DeepExplainer explains together, because each one that it is given has a fixed cost."""


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Shapley values of some rows.

    Attributes:
        contributions: Float64 of shape (rows, columns).
        outputs: Output of the whole model for these rows, shape (rows,).
        base_value: Mean output of the whole model over the background rows.
    """

    contributions: np.ndarray[Any, Any]
    outputs: np.ndarray[Any, Any]
    base_value: float

    @property
    def additivity_error(self) -> float:
        """Largest ``|sum of contributions + base value - output|`` over the rows; 0 without rows."""
        gaps = np.abs(self.contributions.sum(axis=1) + self.base_value - self.outputs)
        return float(gaps.max(initial=0.0))


@dataclass(frozen=True, kw_only=True)
class ExplainedModel:
    """A model that was read back from its Keras file.

    Attributes:
        columns: Source columns, in the order of the transform's outputs.
        space: What the contributions add up to: the ``logit``, or the ``probability`` where the model does not end in
            a sigmoid that can be taken off.
        coded: Whether its inputs are codes of values, so that arithmetic on them means nothing.
        has_joint_input: Whether the deep method can be used.
    """

    outputs: tuple[TransformedFeature, ...]
    columns: tuple[str, ...]
    space: Literal["logit", "probability"]
    whole: Any
    head: Any | None
    joined: tuple[str, ...]
    coded: bool = False

    @property
    def has_joint_input(self) -> bool:
        """Whether one layer joins all inputs that the model uses, so that the deep method applies."""
        return self.head is not None

    def predict(self, inputs: Inputs) -> np.ndarray[Any, Any]:
        """Returns the output of the whole model in :attr:`space`, float64 of shape (rows,)."""
        rows = len(next(iter(inputs.values())))
        parts = [
            self.whole({name: inputs[name][start : start + _BATCH_ROWS] for name in self.whole.input}, training=False)
            for start in range(0, rows, _BATCH_ROWS)
        ]
        return np.concatenate([np.zeros(0), *(np.asarray(part, np.float64).reshape(-1) for part in parts)])

    def probability(self, outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns outputs in :attr:`space` as probabilities."""
        return outputs if self.space == "probability" else 1.0 / (1.0 + np.exp(-np.clip(outputs, -500.0, 500.0)))

    def closed_form(self, form: LinearForm, rows: Inputs, *, background: Inputs) -> Attribution:
        """Explains rows of a model whose output is ``form``: exact, with no draw but that of the background."""
        values = np.zeros((len(next(iter(rows.values()))), len(self.columns)))
        for feature in self.outputs:
            if feature.name in form.weights:
                mean = background[feature.name].mean(axis=0, dtype=np.float64)
                moved = (rows[feature.name] - mean) @ form.weights[feature.name]
                values[:, self.columns.index(feature.source)] += moved
        return self._attribution(values, rows, background)

    def deep(self, rows: Inputs, *, background: Inputs) -> Attribution:
        """Explains rows with ``DeepExplainer``.

        Raises:
            AuditError: If the model holds an operation that DeepExplainer cannot take apart.
        """
        # Rows that the transform makes equal have equal values.
        matrix, place = np.unique(_join(rows, self.joined), axis=0, return_inverse=True)
        try:
            values = _deep_values(self.head, matrix, _join(background, self.joined))
        except Exception as error:  # SHAP raises whatever TensorFlow raised, with tensor contents in the text
            raise _unexplained(f"DeepExplainer stopped with {type(error).__name__}") from error
        return self._attribution(self._by_column(values)[place.reshape(-1)], rows, background)

    def enumerated(self, rows: Inputs, *, background: Inputs) -> Attribution:
        """Explains rows with :func:`~probity.audits.shapley.enumerate_shapley`: exact, for few columns."""
        values = enumerate_shapley(self.predict, rows, background=background, groups=self.groups)
        return self._attribution(values, rows, background)

    def sampled(self, rows: Inputs, *, background: Inputs, seed: int) -> Attribution:
        """Explains rows with :func:`~probity.audits.shapley.sample_shapley`: one order per row and background row."""
        values = sample_shapley(self.predict, rows, background=background, groups=self.groups, seed=seed)
        return self._attribution(values, rows, background)

    @property
    def groups(self) -> list[list[str]]:
        """Input names by source column, in the order of :attr:`columns`: what one column stands for."""
        return [[feature.name for feature in self.outputs if feature.source == name] for name in self.columns]

    def values(self, table: pa.Table, inputs: Inputs) -> pa.Table:
        """Returns the values of :attr:`columns`, for people to see and to find typical ones.

        A column that a user's preprocessing made of others is no raw column: its values are those of its input, or the
        names of the patterns in which its several inputs occur.

        Args:
            table: Raw rows.
            inputs: The same rows as model inputs.
        """
        import pyarrow as pa

        found = {}
        for name, members in zip(self.columns, self.groups, strict=True):
            if name in table.column_names:
                found[name] = table.column(name)
                continue
            matrix = np.concatenate([inputs[member] for member in members], axis=1)
            if matrix.shape[1] == 1:
                found[name] = pa.chunked_array([pa.array(matrix[:, 0], pa.float32())])
            else:
                patterns = np.unique(matrix, axis=0, return_inverse=True)[1].reshape(-1)
                found[name] = pa.chunked_array([pa.array([f"pattern {i + 1}" for i in patterns], pa.string())])
        return pa.table(found)

    def _attribution(self, values: np.ndarray[Any, Any], rows: Inputs, background: Inputs) -> Attribution:
        base = self.predict(background)
        return Attribution(contributions=values, outputs=self.predict(rows), base_value=float(base.mean()))

    def _by_column(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Sums the elements of a column: Shapley values of its one-hot elements add up to the column's."""
        features = {feature.name: feature for feature in self.outputs}
        summed = np.zeros((len(values), len(self.columns)))
        start = 0
        for name in self.joined:
            stop = start + features[name].width
            summed[:, self.columns.index(features[name].source)] += values[:, start:stop].sum(axis=1)
            start = stop
        return summed


def load_explained_model(path: Path, outputs: Sequence[TransformedFeature]) -> ExplainedModel:
    """Reads a Keras file and finds the layer that joins the inputs and the logit before the sigmoid.

    Args:
        path: A ``.keras`` file whose inputs carry the names of ``outputs``.
        outputs: Layout of the transform's outputs.

    Raises:
        AuditError: If the file cannot be read back, has other inputs, or more than one output number per row.
    """
    import tensorflow as tf

    try:
        model = tf.keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many types, some of which quote the file's content
        raise _unexplained(f"the Keras file cannot be read back ({type(error).__name__})") from error
    if not hasattr(model, "inputs") or not model.inputs or len(model.outputs) != 1:
        raise _unexplained("the model does not have named inputs and exactly one output")
    inputs = {tensor._keras_history.layer.name: tensor for tensor in model.inputs}
    unknown = sorted(set(inputs) - {feature.name for feature in outputs})
    if unknown:
        raise _unexplained(f"{len(unknown)} inputs of the model are no outputs of the transform")
    if model.outputs[0].shape.as_list()[1:] not in ([1], []):
        raise _unexplained("the model gives more than one number per row")
    output, space = _before_sigmoid(model.outputs[0])
    joint, joined = _joint_input(model, inputs)
    return ExplainedModel(
        outputs=tuple(outputs),
        columns=tuple(dict.fromkeys(feature.source for feature in outputs)),
        space=space,
        whole=tf.keras.Model(inputs, output),
        head=_head(joint, output),
        joined=joined,
    )


def _deep_values(head: Any, rows: np.ndarray[Any, Any], background: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns DeepExplainer's values, shape (rows, width), of the function that sums ``head`` over several rows.

    The sum has no interaction between its rows, so the values of each are its own. It saves a third of the time.
    """
    import shap
    import tensorflow as tf

    num_rows, width = rows.shape
    together = min(_DEEP_ROWS, max(1, num_rows))
    inputs = tf.keras.Input((together, width))
    each = head(tf.reshape(inputs, [-1, width]))
    several = tf.keras.Model(inputs, tf.reduce_sum(tf.reshape(each, [-1, together]), axis=1, keepdims=True))
    explainer = shap.DeepExplainer(several, np.repeat(background[:, None, :], together, axis=1))
    filled = np.concatenate([rows, np.repeat(rows[:1], -num_rows % together, axis=0)]).reshape(-1, together, width)
    # Additivity is measured by us against the whole model, not against the part that was rebuilt.
    values = np.asarray(explainer.shap_values(filled, check_additivity=False), np.float64)
    return values.reshape(-1, width)[:num_rows]


def _before_sigmoid(output: Any) -> tuple[Any, Literal["logit", "probability"]]:
    """Returns the tensor before a final sigmoid, or the output itself where there is none to take off."""
    import tensorflow as tf

    layer = output._keras_history.layer
    sigmoid = tf.keras.activations.sigmoid
    if getattr(layer, "activation", None) is not sigmoid or len(layer.inbound_nodes) != 1:
        return output, "probability"
    if isinstance(layer, tf.keras.layers.Activation):
        return layer.input, "logit"
    if isinstance(layer, tf.keras.layers.Dense):
        linear = tf.keras.layers.Dense(layer.units, use_bias=layer.use_bias)
        logit = linear(layer.input)
        linear.set_weights(layer.get_weights())
        return logit, "logit"
    return output, "probability"


def _joint_input(model: Any, inputs: Mapping[str, Any]) -> tuple[Any | None, tuple[str, ...]]:
    """Returns the tensor through which all inputs go, and their order in it; ``None`` where there is none."""
    import tensorflow as tf

    if len(inputs) == 1:
        (name,) = inputs
        return inputs[name], (name,)
    for layer in model.layers:
        if not isinstance(layer, tf.keras.layers.Concatenate) or len(layer.inbound_nodes) != 1:
            continue
        sources = [tensor._keras_history.layer for tensor in tf.nest.flatten(layer.input)]
        names = tuple(source.name for source in sources)
        direct = all(isinstance(source, tf.keras.layers.InputLayer) for source in sources)
        if direct and sorted(names) == sorted(inputs) and layer.output.shape.rank == 2:
            return layer.output, names
    return None, ()


def _head(joint: Any | None, output: Any) -> Any | None:
    """Returns the model behind the joint input; ``None`` if some input reaches the output on another way."""
    import tensorflow as tf

    if joint is None:
        return None
    try:
        return tf.keras.Model(joint, output)
    except ValueError:  # Keras: the graph is disconnected
        return None


def _join(inputs: Inputs, names: Sequence[str]) -> np.ndarray[Any, Any]:
    return np.concatenate([np.asarray(inputs[name], np.float32) for name in names], axis=1)


def _unexplained(seen: str) -> AuditError:
    return AuditError(
        "explanations",
        seen=seen,
        allowed="a functional Keras model of registered layers, with the transform's outputs as named inputs and one "
        "number per row as output",
        remedy="build the model from such layers, or accept a card without explanations",
    )
