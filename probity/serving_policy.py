"""Where a released model is served, and what it has to show before."""

from __future__ import annotations

from pydantic import Field

from probity.record import Record, Slug

__all__ = ["InfraValidationConfig", "ServingConfig"]


class InfraValidationConfig(Record):
    """Loading the candidate in a clean server and asking it for real rows, before the gate decides."""

    latency_limit_ms: float = Field(default=1000.0, gt=0.0)
    """Largest 95th percentile of the milliseconds to an answer for one row; above it the model is held. A rule of the
    gate on ``serving_latency_p95_ms`` can be stricter."""
    rows: int = Field(default=64, ge=1, le=10_000)
    """Rows of the test split that are asked, each on both signatures; as many as there are if there are fewer."""
    requests: int = Field(default=200, ge=20, le=100_000)
    """Single-row requests that are timed."""
    start_seconds: float = Field(default=120.0, gt=0.0)
    """How long the server may take to load the model."""


class ServingConfig(Record):
    """Where a released model goes."""

    model_name: Slug
    """Name under which TensorFlow Serving offers the model; part of its path."""
    base_path: str = "serving"
    """Folder of TensorFlow Serving's layout, relative to the config file."""
    infra_validation: InfraValidationConfig | None = InfraValidationConfig()
    """Serve the candidate in a clean process and ask it for real rows, before the gate decides; ``null`` does not."""
