"""Mini-batch training with Keras: one fit of a request's architecture, as the plain trainer and its mitigations use it.

Every fit starts from the request's seed, so two fits of one request differ by what was asked of them and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from probity.errors import TrainingError
from probity.trainers.base import Progress, TrainingRequest
from probity.trainers.objective import Objective, objective_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from probity.trainers.plain import PlainSettings

__all__ = ["Fitted", "Penalty", "Rows", "compiled", "fit", "rows_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows to fit on.

    Attributes:
        inputs: Model inputs by name, each float32 of shape (rows, width).
        labels: In {0, 1}; the number of the class; or the number to predict. Float32 of shape (rows,).
        weights: Weight of each row's loss, float32 of shape (rows,); ``None``: each counts once.
    """

    inputs: Mapping[str, npt.NDArray[np.float32]]
    labels: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The rows as Keras takes validation data."""
        parts = (dict(self.inputs), self.labels)
        return parts if self.weights is None else (*parts, self.weights)


class Penalty(Protocol):
    """What a method adds to the loss of each batch."""

    def wrap(self, model: Any) -> Any:
        """Returns a model that trains ``model`` with the penalty."""
        ...

    def batches(self, split: str, rows: Rows, *, batch_size: int) -> Any:
        """Returns a split as batches with what the penalty is computed on, as a ``tf.data.Dataset``.

        ``train`` has no end: one iterator serves all epochs.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A model after training, and how it got there.

    Attributes:
        model: The Keras model, with the kept weights.
        settings: As they were fitted to the devices.
        devices: Number of devices that trained.
        steps: Optimiser steps.
        epochs: Epochs that were executed.
        best_epoch: The epoch whose weights were kept.
        history: One number for each epoch, by metric.
    """

    model: Any
    settings: PlainSettings
    devices: int
    steps: int
    epochs: int
    best_epoch: int
    history: dict[str, tuple[float, ...]]
    warnings: list[str] = field(default_factory=list)


def rows_of(request: TrainingRequest, split: str) -> Rows:
    """Reads a split of the request."""
    inputs, labels = request.examples.arrays(split)
    return Rows(inputs=inputs, labels=labels)


def fit(
    request: TrainingRequest,
    settings: PlainSettings,
    *,
    train: Rows,
    validation: Rows,
    report: Progress,
    logs: Path,
    penalty: Penalty | None = None,
) -> Fitted:
    """Trains once, and keeps the weights of the epoch with the smallest loss on the eval split.

    Guarantees: with the same arguments, library versions and hardware, the weights are equal bit by bit.

    Args:
        request: The architecture and the seed.
        settings: Those of the trainer ``plain``.
        train: The rows to fit on.
        validation: The rows to choose the epoch on; with none, the last epoch's weights are kept.
        report: Told how far training is.
        logs: Folder for TensorBoard.
        penalty: What is added to the loss.

    Raises:
        ConfigError: If the user's ``build_model`` cannot be used.
        TrainingError: If the loss is not finite.
    """
    import tensorflow as tf

    objective = objective_of(request.dataset, train.labels)
    model, trained, settings, devices, warnings = compiled(request, settings, objective=objective, penalty=penalty)
    watch = _watch(settings, report, shown=objective.shown)
    if not len(validation):
        warnings.append("the eval split is empty: no early stopping, the last epoch's weights were kept")
    trained.fit(
        **_data(_targeted(train, objective), _targeted(validation, objective), settings, penalty),
        epochs=settings.epochs,
        verbose=0,
        callbacks=[watch, tf.keras.callbacks.TensorBoard(logs, write_graph=False)],
    )
    _require_finite(watch)
    return Fitted(
        model=objective.finished(model),
        settings=settings,
        devices=devices,
        steps=int(trained.optimizer.iterations.numpy()),
        epochs=len(watch.history["loss"]),
        best_epoch=watch.best_epoch,
        history={name: tuple(numbers) for name, numbers in watch.history.items()},
        warnings=warnings,
    )


def _targeted(rows: Rows, objective: Objective) -> Rows:
    return replace(rows, labels=objective.targets(rows.labels))


def compiled(
    request: TrainingRequest, settings: PlainSettings, *, objective: Objective, penalty: Penalty | None = None
) -> tuple[Any, Any, PlainSettings, int, list[str]]:
    """Returns the request's model with initial weights, the same ready to train, and how it was fitted to the devices.

    Returns:
        The model; what to call ``fit`` of, which is the model itself unless there is a penalty; settings; number of
        devices; warnings.
    """
    import tensorflow as tf

    from probity.trainers.architecture import build

    tf.keras.utils.set_random_seed(request.seed)
    tf.config.experimental.enable_op_determinism()
    strategy, devices = _strategy()
    settings, warnings = _fit_to_devices(settings, devices)
    with strategy.scope():
        model = build(request.model, request.transform.outputs, root=request.root, head=objective.head)
        trained = model if penalty is None else penalty.wrap(model)
        # The metrics of weighted fits count each row once, so that epochs of different fits can be compared.
        trained.compile(
            optimizer=_optimizer(settings), loss=objective.loss, metrics=objective.metrics(), weighted_metrics=[]
        )
    return model, trained, settings, devices, warnings


def _data(train: Rows, validation: Rows, settings: PlainSettings, penalty: Penalty | None) -> dict[str, Any]:
    if penalty is None:
        return {
            "x": dict(train.inputs),
            "y": train.labels,
            "sample_weight": train.weights,
            "batch_size": settings.batch_size,
            "validation_data": validation.arguments if len(validation) else None,
        }
    size = settings.batch_size
    batches = {
        "x": penalty.batches("train", train, batch_size=size),
        "steps_per_epoch": math.ceil(len(train) / size),
    }
    if len(validation):
        batches["validation_data"] = penalty.batches("eval", validation, batch_size=size)
    return batches


def _strategy() -> tuple[Any, int]:
    """Returns the distribution strategy and its number of devices: all of them, when there is more than one."""
    import tensorflow as tf

    for kind in ("GPU", "CPU"):
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy(devices), len(devices)
        if devices:
            break
    return tf.distribute.get_strategy(), 1


def _fit_to_devices(settings: PlainSettings, devices: int) -> tuple[PlainSettings, list[str]]:
    """Makes the batch size a multiple of the number of devices, so that every device has equally many rows."""
    fitting = math.ceil(settings.batch_size / devices) * devices
    if fitting == settings.batch_size:
        return settings, []
    return settings.model_copy(update={"batch_size": fitting}), [
        f"batch_size was raised from {settings.batch_size} to {fitting}, a multiple of the {devices} devices"
    ]


def _optimizer(settings: PlainSettings) -> Any:
    import tensorflow as tf

    kind = {"adam": tf.keras.optimizers.Adam, "sgd": tf.keras.optimizers.SGD}[settings.optimizer]
    return kind(settings.learning_rate, weight_decay=settings.weight_decay or None)


def _watch(settings: PlainSettings, report: Progress, *, shown: tuple[str, str]) -> Any:
    """Returns the callback that reports each epoch, stops training in time, and brings the best weights back.

    Keras's own ``EarlyStopping`` brings them back only when it did stop training.
    """
    import tensorflow as tf

    class Watch(tf.keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
            self.history: dict[str, list[float]] = {}
            self.best_epoch, self.best_loss, self.best_weights = 1, math.inf, None

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            numbers = {name: float(number) for name, number in (logs or {}).items()}
            for name, number in numbers.items():
                self.history.setdefault(name, []).append(number)
            if not all(math.isfinite(number) for number in numbers.values()):
                self.model.stop_training = True
                return
            # Without an eval split there is nothing to choose by: the last epoch counts as the best.
            loss = numbers.get("val_loss", -math.inf)
            if loss < self.best_loss or "val_loss" not in numbers:
                self.best_epoch, self.best_loss = epoch + 1, loss
                self.best_weights = self.model.get_weights()
            elif epoch + 1 - self.best_epoch >= settings.patience:
                self.model.stop_training = True
            score = f", eval {shown[1]} {numbers[shown[0]]:.4f}" if shown[0] in numbers else ""
            report((epoch + 1) / (settings.epochs + 1), f"epoch {epoch + 1} of {settings.epochs}{score}")

        def on_train_end(self, logs: dict[str, float] | None = None) -> None:
            if self.best_weights is not None:
                self.model.set_weights(self.best_weights)

    return Watch()


def _require_finite(watch: Any) -> None:
    """Raises unless all losses were finite."""
    if not all(math.isfinite(number) for numbers in watch.history.values() for number in numbers):
        raise TrainingError(
            "trainer plain",
            seen=f"the loss was not a finite number in epoch {len(watch.history['loss'])}",
            allowed="a finite loss in every epoch",
            remedy="use a smaller learning_rate, or scale the features (transform.numeric: bucketize)",
        )
