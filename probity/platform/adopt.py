"""Adopts a SavedModel that was trained elsewhere, so that the audits can ask it as they ask one of our own.

A model that answers as ours do is taken as it is. Any other is wrapped: a new SavedModel calls it and gives its answer
the form that the audits know. Nothing is said about how it was trained, because nobody here saw that.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from probity.data import Column, ColumnKind, Dataset, Examples, Transform
from probity.digest import digest_tree
from probity.errors import ConfigError
from probity.model import TrainedModel, Unknown

__all__ = ["adopt", "empty_transform"]

_SCORES = "scores"
_MISSING: Mapping[ColumnKind, Any] = {ColumnKind.TEXT: "", ColumnKind.FLOAT: float("nan"), ColumnKind.INT: 0}


def adopt(
    model: Path,
    *,
    dataset: Dataset,
    examples: Examples,
    num_units: int,
    members_known: bool,
    environment: dict[str, str],
    out: Path,
) -> TrainedModel:
    """Writes ``out/saved_model`` and says what is known of the model.

    Args:
        model: Folder of the SavedModel.
        dataset: The columns that it may ask for.
        examples: The rows that it will be asked about.
        num_units: Number of protected units in the training split.
        members_known: Whether the training split is what the model was trained on.
        environment: Versions, for the record.
        out: An existing empty folder.

    Raises:
        ConfigError: If it is no SavedModel, or has no signature that gives one score for a row of these columns.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(model))
        signatures = dict(loaded.signatures)
    except Exception as error:  # TensorFlow raises many types
        raise _refused(f"it cannot be loaded as a SavedModel ({type(error).__name__})") from error
    warnings: list[str] = []
    target = out / "saved_model"
    if _answers_as_ours(signatures, dataset.num_scores):
        shutil.copytree(model, target)
    else:
        _wrap(loaded, signatures, dataset, target=target, warnings=warnings)
    digest = digest_tree(target)
    train = examples.files["train"]
    return TrainedModel(
        trainer="elsewhere",
        mechanism=Unknown(),
        digest=digest,
        weights=digest_tree(model),
        train_examples=train.digest,
        transform=digest,
        settings={},
        seed=0,
        num_train_examples=train.num_rows,
        members_known=members_known,
        num_train_units=num_units,
        num_parameters=_count(loaded),
        chosen_on_eval=False,
        history={},
        environment=environment,
        warnings=tuple(warnings),
    )


def empty_transform(model: TrainedModel, dataset: Dataset) -> Transform:
    """Returns the record of a transform of which nothing is known but the columns that it may read."""
    return Transform(digest=model.transform, inputs=dataset.features, outputs=(), constants=())


def _count(loaded: Any) -> int | None:
    """Returns the number of weights that the SavedModel lists, or ``None`` if it lists none."""
    variables = getattr(loaded, "trainable_variables", None) or getattr(loaded, "variables", None) or ()
    return sum(int(v.shape.num_elements() or 0) for v in variables if hasattr(v, "shape")) or None


def _answers_as_ours(signatures: Mapping[str, Any], num_scores: int) -> bool:
    function = signatures.get("serving_default")
    if function is None or not _takes_examples(function) or list(function.structured_outputs) != [_SCORES]:
        return False
    shape = function.structured_outputs[_SCORES].shape
    return bool((shape.rank == 1 and num_scores == 1) or (shape.rank == 2 and shape[1] == num_scores))


def _takes_examples(function: Any) -> bool:
    specs = list(function.structured_input_signature[1].values())
    return len(specs) == 1 and specs[0].dtype.name == "string" and specs[0].shape.rank in (1, None)


def _wrap(loaded: Any, signatures: Mapping[str, Any], dataset: Dataset, *, target: Path, warnings: list[str]) -> None:
    """Saves a model that asks the given one and answers as ours do."""
    import tensorflow as tf

    name, function = _usable(signatures, dataset)
    output = _output_of(name, function, dataset)
    module = tf.Module()
    module.loaded = loaded
    if _takes_examples(function):
        (argument,) = function.structured_input_signature[1]

        def serve(examples: Any) -> dict[str, Any]:
            return {_SCORES: _scores_of(function(**{argument: examples})[output], dataset)}
    else:
        asked = function.structured_input_signature[1]
        columns = {column.name: column for column in dataset.columns}
        specs = {key: tf.io.VarLenFeature(str(columns[key].kind)) for key in asked}
        whole = sorted(key for key in asked if columns[key].kind is ColumnKind.INT)
        if whole:
            warnings.append(f"the model is given 0 where a whole number is missing, in {', '.join(whole)}")

        def serve(examples: Any) -> dict[str, Any]:
            parsed = tf.io.parse_example(examples, specs)
            found = {key: _filled(parsed[key], columns[key].kind) for key in asked}
            given = {
                key: tf.cast(found[key], spec.dtype) if spec.dtype != tf.string else found[key]
                for key, spec in asked.items()
            }
            shaped = {key: value[:, None] if asked[key].shape.rank == 2 else value for key, value in given.items()}
            return {_SCORES: _scores_of(function(**shaped)[output], dataset)}

    trace: Callable[..., Any] = tf.function
    served = trace(serve).get_concrete_function(tf.TensorSpec([None], tf.string, "examples"))
    tf.saved_model.save(module, str(target), signatures={"serving_default": served})
    warnings.append(f"the model's signature {name} was wrapped: its answer {output} is taken for the score")


def _filled(column: Any, kind: ColumnKind) -> Any:
    """Returns one value for each row of a sparse column, with what stands for a missing one."""
    import tensorflow as tf

    missing = tf.fill([column.dense_shape[0]], tf.constant(_MISSING[kind], column.dtype))
    return tf.tensor_scatter_nd_update(missing, column.indices[:, :1], column.values)


def _usable(signatures: Mapping[str, Any], dataset: Dataset) -> tuple[str, Any]:
    """Returns the signature to ask: ``serving_default`` if it can be asked, else the first that can."""
    columns = {column.name: column for column in dataset.features}
    order = sorted(signatures, key=lambda name: (name != "serving_default", name))
    for name in order:
        asked = signatures[name].structured_input_signature[1]
        if _takes_examples(signatures[name]) or (set(asked) <= set(columns) and _fit(asked, columns)):
            return name, signatures[name]
    shown = "; ".join(f"{name} takes {', '.join(signatures[name].structured_input_signature[1])}" for name in order)
    raise _refused(f"no signature takes serialized tf.Example or columns of these data ({shown or 'none at all'})")


def _fit(asked: Mapping[str, Any], columns: Mapping[str, Column]) -> bool:
    return all(
        (spec.dtype.name == "string") == (columns[name].kind is ColumnKind.TEXT) and spec.shape.rank in (1, 2)
        for name, spec in asked.items()
    )


def _output_of(name: str, function: Any, dataset: Dataset) -> str:
    outputs = list(function.structured_outputs)
    if _SCORES in outputs or len(outputs) == 1:
        chosen = _SCORES if _SCORES in outputs else str(outputs[0])
        shape = function.structured_outputs[chosen].shape
        # Of a binary label the scores of both labels will do: the second is that of the positive one.
        widths = (1, 2) if dataset.task == "binary" else (dataset.num_scores,)
        if (shape.rank == 1 and 1 in widths) or (shape.rank == 2 and shape[1] in widths):
            return chosen
        raise _refused(f"the answer {chosen} of signature {name} has the shape {shape}")
    raise _refused(f"signature {name} gives {len(outputs)} answers ({', '.join(outputs)}), none of which is scores")


def _scores_of(answer: Any, dataset: Dataset) -> Any:
    """Returns the scores, float32 of shape (rows, scores); of a binary label that of the positive one."""
    import tensorflow as tf

    answer = tf.cast(answer, tf.float32)
    if answer.shape.rank == 1:
        return answer[:, None]
    return answer[:, -1:] if dataset.task == "binary" else answer


def _refused(seen: str) -> ConfigError:
    return ConfigError(
        "MODEL",
        seen=seen,
        allowed="a TensorFlow SavedModel with a signature that takes serialized tf.Example, or the feature columns by "
        "name, and gives one score in [0, 1] for each row (for other tasks: a number, or a score for each class)",
        remedy="export it with such a signature: tf.saved_model.save(model, folder, signatures=...)",
    )
