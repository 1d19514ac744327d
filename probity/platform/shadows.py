"""Shadow models: trainings like the one under attack, on halves of the data that an attacker would know.

They tell how a row's score looks when it was trained on and when it was not (:mod:`probity.audits.likelihood_ratio`).
None of them is released or kept: what is left is one score for each row and model. So they cost time, and nothing is
charged to the privacy budget for them.

References:
    Carlini et al. (2022), Membership Inference Attacks From First Principles, algorithm 1.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probity.audits.accounting import default_delta
from probity.canaries import read_array, write_arrays
from probity.data import Dataset, Examples, SplitFile, TransformedExamples
from probity.digest import digest_file
from probity.errors import ConfigError, DataError
from probity.platform import training
from probity.predictor import SavedModelPredictor
from probity.tfexample import write_arrays as write_examples
from probity.trainers.base import Groups, Population, Progress, Trainer, TrainerSettings, TrainingRequest

__all__ = ["require_trainable", "train_shadows"]

_BATCH_ROWS = 16_384

Inputs = Mapping[str, npt.NDArray[np.float32]]


def require_trainable(trainer: Trainer, settings: TrainerSettings, dataset: Dataset, raw: Examples) -> None:
    """Raises before anything is trained or paid for, if the settings do not fit the half of the data of a shadow model.

    Raises:
        ConfigError: If they do not.
    """
    units = _units(dataset, raw)
    rows = raw.files["train"].num_rows + raw.files["test"].num_rows
    number = rows if units is None else int(units.max()) + 1
    fewest = max(1, int(number / 2 - 4.0 * math.sqrt(number) / 2))
    try:
        trainer.propose(settings, Population(num_rows=fewest, num_units=fewest, unit=dataset.privacy_unit))
    except ConfigError as error:
        raise ConfigError(
            f"audits.shadow_models with {error.argument}",
            seen=f"{error.seen}; a shadow model is trained on half of the {number} units of train and test",
            allowed=error.allowed,
            remedy=f"{error.remedy}, or leave shadow models out",
        ) from error


def train_shadows(
    trainer: Trainer,
    request: TrainingRequest,
    *,
    raw: Examples,
    number: int,
    kept: Path | None,
    out: Path,
    report: Progress,
) -> None:
    """Trains shadow models and writes which rows each was trained on and how it scores all rows.

    Guarantees: what is finished is found again in ``kept``, so an interrupted stage loses one training at most.

    Args:
        trainer: Who trained the model under attack.
        request: How; its examples are the rows without canaries.
        raw: The raw rows, for the protected units.
        number: Number of shadow models.
        kept: A folder that outlives this attempt and belongs to it; ``None``: nothing is kept.
        out: Gets ``shadows.npz``: ``trained_on``, bool, and ``scores``, float32, both of shape (number, rows), with the
            rows of the training split before those of the test split.
        report: Told how far this is.
    """
    inputs, labels = _pool(request.examples)
    units = _units(request.dataset, raw)
    members, scores = [], []
    for i in range(number):
        report(i / number, f"shadow model {i + 1} of {number}")
        path = None if kept is None else kept / f"shadow-{i}.npz"
        found = None if path is None else _finished(path, len(labels))
        if found is None:
            found = _shadow(trainer, request, inputs, labels, units, raw=raw, i=i)
            if path is not None:
                write_arrays(path, trained_on=found[0], scores=found[1])
        members.append(found[0])
        scores.append(found[1])
    write_arrays(out / "shadows.npz", trained_on=np.stack(members), scores=np.stack(scores))


def _shadow(
    trainer: Trainer,
    request: TrainingRequest,
    inputs: Inputs,
    labels: npt.NDArray[np.float32],
    units: npt.NDArray[np.int64] | None,
    *,
    raw: Examples,
    i: int,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Trains on a half of the units, drawn anew, and scores every row."""
    draw = np.random.default_rng([request.seed, i])
    own_units = np.arange(len(labels)) if units is None else units
    half = (draw.random(int(own_units.max()) + 1) < 0.5)[own_units]
    own = None if units is None else np.unique(units[half], return_inverse=True)[1].astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        examples = _written({name: array[half] for name, array in inputs.items()}, labels[half], request, place)
        rows = int(half.sum())
        population = Population(
            num_rows=rows, num_units=rows if own is None else int(own.max()) + 1, unit=request.dataset.privacy_unit
        )
        proposal = trainer.propose(request.settings, population)
        delta = training.target_delta(proposal) or default_delta(population.num_units)
        shadow = replace(
            request,
            examples=examples,
            seed=request.seed + 1 + i,
            mechanism=training.settle(proposal, delta=delta),
            units=own,
            groups=_groups(request.groups, raw, request.dataset, half),
            gradient_canaries=None,
            checkpoints=None,
        )
        workdir = place / "model"
        workdir.mkdir()
        trainer.train(shadow, workdir=workdir, report=lambda done, text: None)
        return half, _scores(workdir, inputs, raw)


def _pool(examples: TransformedExamples) -> tuple[Inputs, npt.NDArray[np.float32]]:
    train, train_labels = examples.arrays("train")
    test, test_labels = examples.arrays("test")
    joined = {name: np.concatenate([train[name], test[name]]) for name in train}
    return joined, np.concatenate([train_labels, test_labels])


def _units(dataset: Dataset, raw: Examples) -> npt.NDArray[np.int64] | None:
    """Returns the number of the protected unit of each row; ``None`` where each row is one."""
    if dataset.privacy_unit == training.ROW:
        return None
    import pyarrow as pa

    parts = [raw.table(split).column(dataset.privacy_unit).chunks for split in ("train", "test")]
    column = pa.chunked_array([chunk for chunks in parts for chunk in chunks]).combine_chunks().dictionary_encode()
    codes: npt.NDArray[np.int64] = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _written(
    inputs: Inputs, labels: npt.NDArray[np.float32], request: TrainingRequest, folder: Path
) -> TransformedExamples:
    target = folder / "examples"
    target.mkdir()
    path = target / "train.tfrecord.gz"
    write_examples(path, dict(inputs), labels)
    others = {}
    for split in ("eval", "test"):
        entry = request.examples.files[split]
        shutil.copyfile(request.examples.path(split), target / Path(entry.path).name)
        others[split] = entry
    train = SplitFile(path=path.name, digest=digest_file(path), num_rows=len(labels))
    return replace(request.examples, folder=target, files={**others, "train": train})


def _groups(groups: Groups | None, raw: Examples, dataset: Dataset, half: npt.NDArray[np.bool_]) -> Groups | None:
    """Returns the groups of the rows that a shadow model is trained on, where the trainer asks for them."""
    if groups is None:
        return None
    pool = [training.combined_codes(dataset, raw.table(split), groups.across) for split in ("train", "test")]
    return replace(groups, codes={"train": np.concatenate(pool)[half], "eval": groups.codes["eval"]})


def _scores(folder: Path, inputs: Inputs, raw: Examples) -> npt.NDArray[np.float32]:
    """Returns the shadow model's scores of all rows: by its Keras file, or as it would be served where it has none."""
    if not (folder / "model.keras").is_file():
        predictor = SavedModelPredictor(folder / "saved_model")
        return np.concatenate([predictor.predict(raw.table(split)) for split in ("train", "test")])
    import tensorflow as tf

    model: Any = tf.keras.models.load_model(folder / "model.keras", compile=False)
    names = [tensor.name for tensor in tf.nest.flatten(model.input)]
    rows = len(next(iter(inputs.values())))
    parts = [
        np.asarray(model({name: inputs[name][begin : begin + _BATCH_ROWS] for name in names}, training=False)).ravel()
        for begin in range(0, rows, _BATCH_ROWS)
    ]
    found: npt.NDArray[np.float32] = np.concatenate(parts).astype(np.float32)
    return found


def _finished(path: Path, rows: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]] | None:
    try:
        half, scores = read_array(path, "trained_on").astype(bool), read_array(path, "scores").astype(np.float32)
    except DataError:  # it is not there, or was cut off
        return None
    return (half, scores) if half.shape == scores.shape == (rows,) else None
