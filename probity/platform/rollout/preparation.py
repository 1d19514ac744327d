"""Two released versions to the plan of a rollout: both verified, the decision read from the candidate's own card."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from probity.card import ModelCard
from probity.config_file import load_config
from probity.errors import ConfigError, ReleaseError, SignatureError
from probity.platform.release.project import Project
from probity.platform.release.push import releases
from probity.platform.release.verification import EXTRA, require_verified, verify
from probity.rollout import RolloutPlan
from probity.storage import read_record

__all__ = ["prepare", "project_of", "set_aside"]


def project_of(model_name: str, config: Path) -> Project:
    """Returns the project of a model.

    Raises:
        ConfigError: If the config cannot be read, or is that of another model.
    """
    project = Project(config=load_config(config), root=config.resolve().parent)
    if project.model_name != model_name:
        raise ConfigError(
            f"MODEL {model_name!r}",
            seen=f"{config.name} is about {project.model_name}",
            allowed="the serving.model_name of the config",
            remedy="name the model's config with --config FILE",
        )
    return project


def prepare(project: Project, *, candidate: int, incumbent: int | None, settings: Mapping[str, Any]) -> RolloutPlan:
    """Returns the plan that puts one released version in the place of another.

    Guarantees: the candidate verifies and has not expired, the incumbent still is what was released; threshold, classes
    and favourable outcome are those of the candidate's card, by which it was audited.

    Args:
        project: Config and folder of the model.
        candidate: The version that is to take over.
        incumbent: The version that answers now; ``None``: the newest release beside the candidate.
        settings: Further fields of the plan.

    Raises:
        ConfigError: If the plan is not possible.
        ReleaseError: If a version is not there, or not a release.
        SignatureError: If a version does not verify.
    """
    chosen = _incumbent(project, candidate=candidate, asked=incumbent)
    _require_intact(project, candidate=candidate, incumbent=chosen)
    card = read_record(project.base_path / project.model_name / str(candidate) / EXTRA / "card.json", ModelCard)
    if "decision_threshold" in settings and card.metrics.task != "regression":
        raise ConfigError(
            "--decision-threshold",
            seen=f"a {card.metrics.task} model",
            allowed="a model that predicts a number; others decide as they were audited",
            remedy="leave it out",
        )
    versions = {"model_name": project.model_name, "incumbent": chosen, "candidate": candidate}
    return _planned({**versions, **_deciding(card), **settings})


def _incumbent(project: Project, *, candidate: int, asked: int | None) -> int:
    """Returns the version that answers now, where both versions are released ones."""
    model_name = project.model_name
    known = [release.version for release, _ in releases(project.base_path, model_name)]
    others = [version for version in known if version != candidate]
    if candidate not in known or (asked or (others or [0])[0]) not in others:
        raise ReleaseError(
            f"model {model_name}",
            seen=f"released versions {', '.join(map(str, sorted(known))) or 'none'}",
            allowed="two different released versions, the candidate (--to) and the incumbent (--from)",
            remedy=f"release the candidate first, and look at: probity releases {model_name}",
        )
    return asked or others[0]


def _require_intact(project: Project, *, candidate: int, incumbent: int) -> None:
    """Refuses a candidate that may not be served, and an incumbent that nobody could go back to."""
    versions, keys = project.base_path / project.model_name, project.trusted()
    require_verified(versions / str(candidate), trusted_keys=keys, signing=project.config.signing)
    present = verify(versions / str(incumbent), trusted_keys=keys, signing=project.config.signing)
    if not present.intact:
        raise SignatureError(
            f"{project.model_name}/{incumbent}",
            seen=str(present.problems[0]),
            allowed="a version as it was released; this one would be what a rollback comes back to",
            remedy="restore it, or name another with --from",
        )


def _planned(value: Mapping[str, Any]) -> RolloutPlan:
    try:
        return RolloutPlan.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            "--" + "-".join(str(part) for part in first["loc"][:1]).replace("_", "-") if first["loc"] else "rollout",
            seen=f"no possible plan: {first['msg'].removeprefix('Value error, ')}",
            allowed="stages such as 1,10,50,100, shares and tolerances in their ranges",
            remedy="see probity rollout --help",
        ) from error


def _deciding(card: ModelCard) -> dict[str, Any]:
    """Returns how a model's answers are outcomes for people, as it was audited."""
    chosen, task = card.metrics, card.metrics.task
    return {
        "task": task,
        "decision_threshold": chosen.decision_threshold if task == "binary" else None,
        "favourable_outcome": chosen.favourable_outcome,
        "classes": card.data.classes,
        "favourable": card.data.favourable,
    }


def set_aside(path: Path, *, now: datetime) -> None:
    """Renames the state of an earlier rollout, so that another one can begin; it is kept."""
    if path.exists():
        path.rename(path.with_name(f"{path.stem}.until-{now:%Y%m%dT%H%M%SZ}.json"))
