"""Exponentiated gradient: fairlearn's reduction of a constraint to a sequence of weighted trainings.

The optimum of Agarwal et al. is a randomised classifier: each row is decided by one of several models, drawn with the
given probabilities. A served score cannot be drawn, so what is exported is one model whose score is the *probability of
a positive decision*: the sum of the probabilities of those models that decide positively. Whoever draws with that
probability has the randomised classifier itself; the decision ``score > 0.5`` is its weighted majority, for which the
constraint is not guaranteed and is measured by the audits. The score takes few values: it ranks rows coarsely and is no
calibrated probability of the label. Averaging the models' scores instead ranks rows as finely as a single model does,
and gives up the link to the randomised classifier.

References:
    Agarwal et al. (2018), A Reductions Approach to Fair Classification, algorithm 1 and theorem 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from probity.digest import digest_bytes
from probity.trainers.base import Groups, TrainingRequest
from probity.trainers.fitting import Rows, compiled
from probity.trainers.mitigation.settings import Constraint, ExponentiatedGradientSettings
from probity.trainers.objective import objective_of

if TYPE_CHECKING:
    from probity.trainers.plain import PlainSettings

__all__ = ["Ensemble", "Score", "combined", "reduce"]

_POSITIVE = 0.5
"""The reduction weighs rows so that the better decision is the more probable one."""
_NEGLIGIBLE = 1e-6
"""A model that decides fewer rows than this is left out; the linear programme leaves such remainders."""
_BATCH_ROWS = 8192

Arrays = list[npt.NDArray[np.float32]]
Score = Literal["expected_decision", "mean_probability"]


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """A randomised classifier.

    Attributes:
        weights: For each model its weights, or the class that it always decides for.
        shares: The probability of each model; they add up to 1.
        trainings: Number of models that were trained on the way.
        steps: Optimiser steps of all of them.
    """

    weights: tuple[Arrays | int, ...]
    shares: tuple[float, ...]
    trainings: int
    steps: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """One trained model: its weights, and its decisions on the rows it was trained on, int64 of shape (rows,)."""

    weights: Arrays
    decisions: npt.NDArray[np.int64]


@dataclass(eq=False)
class _Learner:
    """Trains the request's architecture under weights, from the same initial weights each time.

    It remembers what it trained: the reduction asks for the same weights several times.
    """

    model: Any
    settings: PlainSettings
    epochs: int
    seed: int
    rows: Rows
    said: Callable[[int], None]
    initial: Arrays = field(init=False)
    state: Arrays = field(init=False)
    known: dict[str, _Known] = field(default_factory=dict)
    steps: int = 0

    def __post_init__(self) -> None:
        self.initial = self.model.get_weights()
        self.model.optimizer.build(self.model.trainable_variables)
        self.state = [variable.numpy() for variable in self.model.optimizer.variables]

    def learn(self, labels: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> _Known:
        import tensorflow as tf

        key = digest_bytes(labels.tobytes() + weights.tobytes())
        if key not in self.known:
            tf.keras.utils.set_random_seed(self.seed)
            self.model.set_weights(self.initial)
            for variable, value in zip(self.model.optimizer.variables, self.state, strict=True):
                variable.assign(value)
            size = self.settings.batch_size
            self.model.fit(
                dict(self.rows.inputs), labels, sample_weight=weights, epochs=self.epochs, batch_size=size, verbose=0
            )
            self.steps += int(self.model.optimizer.iterations.numpy())
            scores = self.model.predict(dict(self.rows.inputs), batch_size=_BATCH_ROWS, verbose=0)[:, 0]
            decisions = (scores > _POSITIVE).astype(np.int64)
            self.known[key] = _Known(weights=self.model.get_weights(), decisions=decisions)
            self.said(len(self.known))
        return self.known[key]


def reduce(
    request: TrainingRequest,
    plain: PlainSettings,
    settings: ExponentiatedGradientSettings,
    *,
    groups: Groups,
    rows: Rows,
    epochs: int,
    said: Callable[[int], None],
) -> tuple[Any, Ensemble]:
    """Finds the randomised classifier and the one model that scores as it decides.

    Args:
        request: Architecture and seed.
        plain: How each model is trained.
        settings: The constraint, and how long to look.
        groups: The group of each training row.
        rows: The training rows; planted ones among them, which are of no group, are left out.
        epochs: Epochs of each training; nothing is chosen on the eval split.
        said: Told how many models were trained.
    """
    from fairlearn.reductions import ExponentiatedGradient

    member = groups.codes["train"] >= 0
    own = Rows(inputs={name: array[member] for name, array in rows.inputs.items()}, labels=rows.labels[member])
    _, trained, fitted, _, _ = compiled(request, plain, objective=objective_of(request.dataset, own.labels))
    learner = _Learner(model=trained, settings=fitted, epochs=epochs, seed=request.seed, rows=own, said=said)
    search = ExponentiatedGradient(
        _estimator(learner),
        _moment(settings.constraint, settings.eps, favourable=request.dataset.favourable_outcome),
        eps=settings.eps,
        max_iter=settings.max_iter,
    )
    numbers = np.arange(len(own), dtype=np.int64)[:, None]  # the learner holds the rows themselves
    search.fit(numbers, own.labels.astype(np.int64), sensitive_features=groups.codes["train"][member])
    kept = [place for place, share in search.weights_.items() if share > _NEGLIGIBLE]
    shares = np.array([search.weights_[place] for place in kept])
    ensemble = Ensemble(
        weights=tuple(_weights_of(search.predictors_[place]) for place in kept),
        shares=tuple(float(share) for share in shares / shares.sum()),
        trainings=len(learner.known),
        steps=learner.steps,
    )
    return combined(request, ensemble, score=settings.score), ensemble


def combined(request: TrainingRequest, ensemble: Ensemble, *, score: Score) -> Any:
    """Returns the Keras model that scores as :class:`ExponentiatedGradientSettings` says under ``score``."""
    import tensorflow as tf

    from probity.trainers.architecture import build

    inputs = {
        feature.name: tf.keras.Input((feature.width,), name=feature.name) for feature in request.transform.outputs
    }
    votes, constant = [], 0.0
    for i, (weights, share) in enumerate(zip(ensemble.weights, ensemble.shares, strict=True)):
        if isinstance(weights, int):
            constant += share * weights
            continue
        single = build(request.model, request.transform.outputs, root=request.root)
        single.set_weights(weights)
        named = tf.keras.Model(single.input, single.output, name=f"model_{i}")
        used = {tensor.name for tensor in tf.nest.flatten(single.input)}
        own = named({name: tensor for name, tensor in inputs.items() if name in used})
        votes.append(share * (own if score == "mean_probability" else tf.cast(own > _POSITIVE, tf.float32)))
    total = tf.add_n(votes) if votes else tf.zeros_like(next(iter(inputs.values()))[:, :1])
    return tf.keras.Model(inputs, tf.clip_by_value(total + constant, 0.0, 1.0), name=score)


def _estimator(learner: _Learner) -> Any:
    """Returns the learner as fairlearn calls it: rows by number, clones that share the learner."""

    class Estimator:
        found: _Known

        def __sklearn_clone__(self) -> Estimator:
            return Estimator()

        def fit(self, X: Any, y: Any, sample_weight: Any) -> Estimator:
            labels, weights = (np.asarray(part, np.float32).reshape(-1) for part in (y, sample_weight))
            self.found = learner.learn(labels, weights)
            return self

        def predict(self, X: Any) -> npt.NDArray[np.int64]:
            decisions: npt.NDArray[np.int64] = self.found.decisions[np.asarray(X).reshape(-1)]
            return decisions

    return Estimator()


def _weights_of(predictor: Any) -> Arrays | int:
    """Returns the weights of a model; fairlearn answers with a constant where all rows are to be decided alike."""
    constant = getattr(predictor, "constant", None)
    weights: Arrays | int = predictor.found.weights if constant is None else int(constant)
    return weights


def _moment(constraint: Constraint, bound: float, *, favourable: str) -> Any:
    from fairlearn import reductions

    # Equal true negative rates are equal false positive rates.
    opportunity = "TruePositiveRateParity" if favourable == "positive" else "FalsePositiveRateParity"
    names = {
        "demographic_parity": "DemographicParity",
        "equal_opportunity": opportunity,
        "false_positive_rate_parity": "FalsePositiveRateParity",
        "equalized_odds": "EqualizedOdds",
    }
    return getattr(reductions, names[constraint])(difference_bound=bound)
