"""probity: training with evidence - private and fair, or held.

The nouns and the errors are exported here; the actors live in the subpackages. Importing this package imports no
framework: every name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from probity import errors as _errors

__version__ = "0.1.0"

_NOUNS = {
    "AuditReport": "findings",
    "Anomalies": "data",
    "Check": "decision",
    "Dataset": "data",
    "Estimate": "findings",
    "Examples": "data",
    "Finding": "findings",
    "GateDecision": "decision",
    "GatePolicy": "decision",
    "Mechanism": "model",
    "ModelCard": "card",
    "Predictor": "predictor",
    "PrivacyStatement": "findings",
    "Release": "decision",
    "RunConfig": "config",
    "Schema": "data",
    "Statistics": "data",
    "TrainedModel": "model",
    "Transform": "data",
    "load_config": "config_file",
    "parse_config": "config_file",
}

__all__ = sorted([*_NOUNS, *_errors.__all__, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _errors.__all__:
        return getattr(_errors, name)
    if name in _NOUNS:
        return getattr(import_module(f"probity.{_NOUNS[name]}"), name)
    raise AttributeError(f"module 'probity' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
