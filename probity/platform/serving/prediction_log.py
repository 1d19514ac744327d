"""The hook for a log of predictions: what a server tells it, and nothing about where it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TRACKING_HEADER", "Prediction", "PredictionLog"]

TRACKING_HEADER = "x-tracking-id"
"""HTTP header, and key of gRPC metadata, by which a client names a request. It never reaches the model."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answered request.

    Attributes:
        tracking_id: What the client sent, else a random one; the answer carries it in the same header.
        model_name: The model.
        version: The version that answered.
        signature_name: The signature that was asked.
        inputs: Arrays by input name, the first axis being the rows. They are the request's own; do not change them.
        outputs: Arrays by output name, the same rows.
        answered_at: Seconds since the epoch.
    """

    tracking_id: str
    model_name: str
    version: int
    signature_name: str
    inputs: Mapping[str, np.ndarray[Any, Any]]
    outputs: Mapping[str, np.ndarray[Any, Any]]
    answered_at: float


class PredictionLog(Protocol):
    """Keeps predictions. One per process, called in the thread that answers: it must not wait for a disk."""

    def record(self, prediction: Prediction) -> None:
        """Takes a prediction. An exception is counted in the metrics and does not reach the client."""
        ...

    def close(self) -> None:
        """Writes what is still held; called once, after the last answer."""
        ...
