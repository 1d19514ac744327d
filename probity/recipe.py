"""The recipe of a model: how raw columns become its inputs, its architecture, and who trains it with which settings."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from probity.record import Record, Slug

__all__ = ["ModelConfig", "PrivateStatisticsConfig", "TrainerConfig", "TransformConfig"]


class PrivateStatisticsConfig(Record):
    """What may be spent on differentially private statistics for constants that no public fact states."""

    epsilon: float = Field(gt=0.0, allow_inf_nan=False)
    """Epsilon of all statistics together; it is part of the privacy statement and of a ``target_epsilon``."""
    delta: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Delta of the vocabularies; a tenth of the largest power of ten below one over the number of units when absent."""


class TransformConfig(Record):
    """How raw columns become model inputs. Everything here is in the exported graph, so serving does the same."""

    numeric: Literal["bucketize", "z_score", "min_max"] = "bucketize"
    """Numeric columns: one-hot of quantile buckets, z-score, or scaling to [0, 1]."""
    num_buckets: int = Field(default=32, ge=2, le=1000)
    """Number of quantile buckets for ``bucketize``."""
    max_vocabulary: int = Field(default=1000, ge=1)
    """Most frequent values kept per categorical column when the schema gives no domain; others count as unknown."""
    boundaries: dict[str, tuple[float, ...]] = Field(default={})
    """Bucket boundaries by numeric column, ascending: public facts, used instead of quantiles of the training rows."""
    private_statistics: PrivateStatisticsConfig | None = None
    """For trainers that are private: compute constants that no public fact states with noise, and charge for them."""
    module: str | None = None
    """A Python file beside the config with ``preprocessing_fn(inputs)`` that replaces the built-in transform."""

    @field_validator("boundaries")
    @classmethod
    def _ascending(cls, boundaries: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for column, edges in boundaries.items():
            if not edges or list(edges) != sorted(set(edges)) or not all(map(math.isfinite, edges)):
                raise ValueError(f"boundaries of {column!r} must be at least one, finite, ascending and different")
        return boundaries


class ModelConfig(Record):
    """The architecture: built in (``kind``), or a function of the user's (``module``)."""

    kind: Literal["mlp", "logistic", "linear"] | None = None
    """A built-in architecture: a multi-layer perceptron, logistic regression (for classes), or linear regression (for
    ``task: regression``)."""
    hidden: tuple[int, ...] = ()
    """Units of the hidden layers of ``mlp``."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout rate after each hidden layer."""
    module: str | None = None
    """A Python file beside the config with ``build_model(inputs)``."""

    @model_validator(mode="after")
    def _one_architecture(self) -> ModelConfig:
        if (self.kind is None) == (self.module is None):
            raise ValueError("give exactly one of kind and module")
        if self.kind == "mlp" and not self.hidden:
            raise ValueError("kind mlp needs hidden, for example [128, 64]")
        if self.kind != "mlp" and (self.hidden or self.dropout):
            raise ValueError("hidden and dropout belong to kind mlp")
        if any(units < 1 for units in self.hidden):
            raise ValueError("hidden layers need at least one unit")
        return self


class TrainerConfig(BaseModel):
    """Name of a trainer and, beside it, that trainer's own settings."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    name: Slug = "plain"
    """An entry point of the group ``probity.trainers``: ``plain``, or that of an installed plug-in."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as written, without the name."""
        return dict(self.model_extra or {})
