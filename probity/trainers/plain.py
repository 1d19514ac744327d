"""The plain trainer: mini-batch gradient descent in Keras, without clipping or noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from probity.errors import TrainingError
from probity.model import Mechanism, NonPrivate, TrainedModel
from probity.task import TASKS, Task
from probity.trainers.base import Population, Progress, TrainerSettings, TrainingRequest

__all__ = ["PlainSettings", "PlainTrainer"]


class PlainSettings(TrainerSettings):
    """Settings of the trainer ``plain``."""

    epochs: int = Field(default=8, ge=1, le=10_000)
    """Largest number of passes over the training split."""
    batch_size: int = Field(default=256, ge=1)
    """Rows per optimiser step; raised to the next multiple of the number of devices."""
    learning_rate: float = Field(default=0.001, gt=0.0, allow_inf_nan=False)
    """Step size of the optimiser."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """``adam``, or ``sgd`` without momentum."""
    weight_decay: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Decoupled weight decay per step, as a share of the learning rate (Loshchilov & Hutter 2019)."""
    patience: int = Field(default=2, ge=1)
    """Stop after this many epochs without a smaller loss on the eval split; the best epoch's weights are kept."""


class PlainTrainer:
    """Trains without privacy: the mechanism is :class:`~probity.model.NonPrivate`."""

    name: ClassVar[str] = "plain"
    settings_type: ClassVar[type[TrainerSettings]] = PlainSettings
    plants_gradients: ClassVar[bool] = False
    tasks: ClassVar[frozenset[Task]] = frozenset(TASKS)

    def propose(self, settings: TrainerSettings, population: Population) -> Mechanism:
        """Returns that no noise will be added."""
        return NonPrivate()

    def train(self, request: TrainingRequest, *, workdir: Path, report: Progress) -> TrainedModel:
        """Trains, exports and says what happened; see :meth:`probity.trainers.base.Trainer.train`.

        Guarantees: with the same data, settings, seed, library versions and hardware, the weights are equal bit by bit.

        Raises:
            ConfigError: If the user's ``build_model`` cannot be used.
            TrainingError: If the loss is not finite, or the scores are not what the task asks for.
        """
        import tensorflow as tf

        from probity.trainers.architecture import build
        from probity.trainers.export import export, weights_digest
        from probity.trainers.objective import objective_of
        from probity.trainers.outcome import environment, require_scores

        if not isinstance(request.settings, PlainSettings):
            raise TypeError(f"the trainer plain takes PlainSettings, not {type(request.settings).__name__}")
        tf.keras.utils.set_random_seed(request.seed)
        tf.config.experimental.enable_op_determinism()
        strategy, devices = _strategy()
        settings, warnings = _fit_to_devices(request.settings, devices)
        train, labels = request.examples.arrays("train")
        validation, eval_labels = request.examples.arrays("eval")
        objective = objective_of(request.dataset, labels)
        with strategy.scope():
            network = build(request.model, request.transform.outputs, root=request.root, head=objective.head)
            network.compile(optimizer=_optimizer(settings), loss=objective.loss, metrics=objective.metrics())
        watch = _watch(settings, report, shown=objective.shown)
        if not len(eval_labels):
            warnings.append("the eval split is empty: no early stopping, the last epoch's weights were kept")
        network.fit(
            train,
            objective.targets(labels),
            validation_data=(validation, objective.targets(eval_labels)) if len(eval_labels) else None,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            verbose=0,
            callbacks=[watch, tf.keras.callbacks.TensorBoard(workdir / "logs", write_graph=False)],
        )
        _require_finite(watch)
        model = objective.finished(network)
        require_scores(model, train, objective.task)
        report(1.0, "exporting the model")
        return TrainedModel(
            trainer=self.name,
            mechanism=NonPrivate(),
            digest=export(model, request.transform, transform_folder=request.transform_folder, workdir=workdir),
            weights=weights_digest(model),
            train_examples=request.examples.files["train"].digest,
            transform=request.transform.digest,
            settings=settings.to_json(),
            seed=request.seed,
            num_train_examples=len(labels),
            num_train_units=request.num_units,
            num_parameters=model.count_params(),
            steps=int(network.optimizer.iterations.numpy()),
            epochs=len(watch.history["loss"]),
            best_epoch=watch.best_epoch,
            chosen_on_eval=bool(len(eval_labels)),
            history={name: tuple(numbers) for name, numbers in watch.history.items()},
            environment=environment(devices=devices),
            warnings=tuple(warnings),
        )


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
