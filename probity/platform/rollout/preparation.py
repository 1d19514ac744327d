"""Two released versions to the plan of a rollout: both verified, the decision read from the candidate's own card."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from probity.card import ModelCard
from probity.errors import ConfigError, ReleaseError
from probity.platform.release.push import EXTRA, releases, verify_release
from probity.rollout import RolloutPlan
from probity.storage import read_record

__all__ = ["prepare", "set_aside", "state_path"]


def state_path(base_path: Path, model_name: str) -> Path:
    """Returns where a rollout's state lies: beside the model's folder, where no server looks."""
    return base_path / f"{model_name}.rollout.json"


def prepare(
    base_path: Path, model_name: str, *, candidate: int, incumbent: int | None, settings: Mapping[str, Any]
) -> RolloutPlan:
    """Returns the plan that puts one released version in the place of another.

    Guarantees: both versions still are what was released; threshold and favourable outcome are those of the candidate's
    card, by which it was audited.

    Args:
        base_path: Folder of TensorFlow Serving's layout.
        model_name: The model.
        candidate: The version that is to take over.
        incumbent: The version that answers now; ``None``: the newest release before the candidate.
        settings: Further fields of the plan.

    Raises:
        ConfigError: If the plan is not possible.
        ReleaseError: If a version is not there, or not a release.
        DigestMismatchError: If a version was changed since.
    """
    known = [release.version for release, _ in releases(base_path, model_name)]
    before = [version for version in known if version != candidate]
    if candidate not in known or (incumbent or (before or [0])[0]) not in before:
        raise ReleaseError(
            f"model {model_name}",
            seen=f"released versions {', '.join(map(str, sorted(known))) or 'none'}",
            allowed="two different released versions, the candidate (--to) and the incumbent (--from)",
            remedy="release the candidate first, and look at: probity releases MODEL",
        )
    chosen = incumbent or before[0]
    for version in (chosen, candidate):
        verify_release(base_path / model_name / str(version))
    card = read_record(base_path / model_name / str(candidate) / EXTRA / "card.json", ModelCard)
    try:
        return RolloutPlan.model_validate(
            {
                "model_name": model_name,
                "incumbent": chosen,
                "candidate": candidate,
                "decision_threshold": card.metrics.decision_threshold,
                "favourable_outcome": card.metrics.favourable_outcome,
                **settings,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            "--" + "-".join(str(part) for part in first["loc"][:1]).replace("_", "-") if first["loc"] else "rollout",
            seen=f"no possible plan: {first['msg'].removeprefix('Value error, ')}",
            allowed="stages such as 1,10,50,100, shares and tolerances in their ranges",
            remedy="see probity rollout --help",
        ) from error


def set_aside(path: Path, *, now: datetime) -> None:
    """Renames the state of an earlier rollout, so that another one can begin; it is kept."""
    if path.exists():
        path.rename(path.with_name(f"{path.stem}.until-{now:%Y%m%dT%H%M%SZ}.json"))
