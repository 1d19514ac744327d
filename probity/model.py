"""What training did: the mechanism that was executed, and the model that came out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from probity.record import Digest, Number, Record

__all__ = ["DpSgd", "Mechanism", "NonPrivate", "TrainedModel"]


class NonPrivate(Record):
    """Training read the examples without clipping or noise. Epsilon is infinite."""

    kind: Literal["non_private"] = "non_private"


class DpSgd(Record):
    """Clipped, noisy gradient steps as they were executed (Abadi et al. 2016, algorithm 1).

    No field is an epsilon: :mod:`probity.audits.privacy` computes it, so a trainer cannot claim one.
    """

    kind: Literal["dp_sgd"] = "dp_sgd"
    noise_multiplier: float = Field(ge=0.0)
    """Standard deviation of the noise over ``l2_clip_norm``."""
    sampling: Literal["poisson", "shuffled"]
    """How batches were drawn, as it was done."""
    sampling_prob: float = Field(gt=0.0, le=1.0)
    steps: int = Field(ge=0)
    """Steps that were executed, each counted once."""
    l2_clip_norm: Number = Field(gt=0.0)
    """Bound on each example's gradient norm; infinite: no clipping."""
    unit: str = "row"


Mechanism = Annotated[NonPrivate | DpSgd, Field(discriminator="kind")]
"""What happened to the data during training: a closed union, so that an unknown mechanism cannot be read at all."""


class TrainedModel(Record):
    """A model and everything about its making that later stages rely on (``07_model/model.json``)."""

    schema_version: Literal[1] = 1
    trainer: str
    """Name of the trainer. For the reader; no audit may look at it."""
    mechanism: Mechanism
    digest: Digest
    """Digest of the folder ``saved_model``: the identity of the model from here on."""
    weights: Digest
    """Digest of the trainable weights' bytes: equal for equal data, settings, seed and hardware."""
    train_examples: Digest
    """Digest of the transformed training examples."""
    transform: Digest
    """Digest of the transform graph inside the model."""
    settings: dict[str, Any]
    """The trainer's settings, fully resolved."""
    seed: int
    num_train_examples: int = Field(ge=1)
    num_parameters: int = Field(ge=1)
    steps: int = Field(ge=1)
    """Optimiser steps that were executed."""
    epochs: int = Field(ge=1)
    """Epochs that were executed; fewer than asked when training stopped early."""
    best_epoch: int = Field(ge=1)
    """The epoch whose weights were kept."""
    history: dict[str, tuple[Number, ...]]
    """Per executed epoch: ``loss``, ``auc`` on train; ``val_loss``, ``val_auc`` on eval."""
    environment: dict[str, str]
    """Versions of Python and of the libraries that decide the numbers."""
    warnings: tuple[str, ...] = ()
