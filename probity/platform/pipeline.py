"""The pipeline: raw data to a gated, released model, one stage per number of the run folder.

:func:`run` is the only place that knows the order. Nothing here looks at which trainer was chosen. What a stage does is
in the module that its group has beside this one: ``data_stages``, ``training_stages``, ``audit_stages``,
``decision_stages``, ``release_stage``; how a stage is performed, kept and taken over is in ``stages``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import yaml

from probity import runs
from probity.errors import ConfigError, DataHeldError, ProbityError
from probity.platform import tracking
from probity.platform.alerts import alerted
from probity.platform.audit_stages import SERVING, audit_model, audit_stages, validate_infra
from probity.platform.data_stages import CASES, DATA_STAGES, read_data
from probity.platform.decision_stages import DECISION_STAGES, decide_on_model
from probity.platform.lineage import Lineage
from probity.platform.lineage_run import LineageRun
from probity.platform.person import current_user
from probity.platform.plan import EDGE_CASES, Plan, make_plan
from probity.platform.release.data_review import require_reviewed_data
from probity.platform.release.project import Project
from probity.platform.release.webhook import ask_for_review
from probity.platform.release_stage import release_model
from probity.platform.stages import Observer, Stages, Stopped, environment, installed_digest
from probity.platform.training_stages import ADOPTED, TRAINING_STAGES, adopt_model, train_model
from probity.platform.verdict import require_permission
from probity.runs import RunError, RunFolder
from probity.storage import write_atomically
from probity.workspace import Workspace

__all__ = ["audit", "release", "run", "stage_names"]


def stage_names() -> tuple[str, ...]:
    """Returns the stages in order, as ``--until`` takes them."""
    return (*DATA_STAGES, *TRAINING_STAGES, *audit_stages(), *DECISION_STAGES, "release")


def run(
    plan: Plan,
    *,
    workspace: Workspace,
    observer: Observer,
    until: str | None = None,
    use_cache: bool = True,
    push_release: bool = True,
    parent: str | None = None,
) -> RunFolder:
    """Runs the pipeline to a decision, and releases the model if the decision says so.

    Args:
        plan: What to run.
        workspace: Where the run folder goes.
        observer: Who is told how it goes.
        until: Stop after this stage.
        use_cache: Whether finished stages of earlier runs may be taken over.
        push_release: Whether to push on verdict ``release``; otherwise :func:`release` does it later.
        parent: MLflow run that this run is a part of.

    Returns:
        The run folder; it holds a decision unless ``until`` stopped before it.

    Raises:
        ProbityError: If a stage could not do its work. What was finished before stays on disk.
    """
    _require_stage(plan, until)
    plan.require_ready()
    folder = workspace.new_run(plan.config.name)
    # The runs of a comparison are looked at together, by whoever started it.
    telling = nullcontext() if parent is not None else alerted(plan.config, folder, observer)
    with _recorded(plan, workspace, folder, observer=observer, parent=parent) as lineage:
        stages = Stages(workspace, folder, lineage=lineage, observer=observer, use_cache=use_cache, until=until)
        with telling, _failures_kept(stages):
            _write_config(plan, stages, further=(SERVING,) if plan.config.serving.infra_validation else ())
            read_data(plan, stages)
            _require_reviewed_data(plan, stages)
            train_model(plan, stages)
            audit_model(plan, stages)
            validate_infra(plan, stages)
            decide_on_model(plan, stages)
            if push_release and folder.decision().verdict == "release":
                release_model(plan, stages)
            elif folder.decision().waits_for_approval:
                _ask_for_review(plan, stages)
    return folder


def _require_stage(plan: Plan, until: str | None) -> None:
    """Refuses to stop after a stage that runs of this plan do not have."""
    config = plan.config
    optional = {
        "canaries": config.audits.canaries is not None,
        "shadows": config.audits.shadow_models > 0,
        SERVING: config.serving.infra_validation is not None,
        **dict.fromkeys((CASES, EDGE_CASES), config.audits.edge_cases is not None),
    }
    if until is not None and not optional.get(until, True):
        raise ConfigError(
            f"--until {until}",
            seen="a config whose runs have no such stage",
            allowed="a stage that the run has",
            remedy="ask for it with audits.canaries, audits.shadow_models or audits.edge_cases, or stop after another",
        )


def audit(
    plan: Plan,
    model: Path,
    *,
    workspace: Workspace,
    observer: Observer,
    members_known: bool,
    use_cache: bool = True,
) -> RunFolder:
    """Audits a SavedModel that was trained elsewhere, to a card and a decision. Nothing is trained or released.

    Args:
        plan: What to run; its data are the rows to audit on. Trainer, model and transform are not looked at.
        model: Folder of the SavedModel.
        workspace: Where the run folder goes.
        observer: Who is told how it goes.
        members_known: Whether the training split holds the rows that the model was trained on.
        use_cache: Whether finished stages of earlier runs may be taken over.

    Raises:
        ConfigError: If the model cannot be asked for scores of these rows.
        ProbityError: If a stage could not do its work. What was finished before stays on disk.
    """
    folder = workspace.new_run(plan.config.name)
    with _recorded(plan, workspace, folder, observer=observer) as lineage:
        stages = Stages(workspace, folder, lineage=lineage, observer=observer, use_cache=use_cache)
        with alerted(plan.config, folder, observer), _failures_kept(stages):
            _write_config(plan, stages)
            read_data(plan, stages)
            _require_reviewed_data(plan, stages)
            adopt_model(model, stages, members_known=members_known)
            audit_model(plan, stages, made_by=ADOPTED)
            decide_on_model(plan, stages, made_by=ADOPTED)
    return folder


def release(folder: RunFolder, *, workspace: Workspace, observer: Observer) -> RunFolder:
    """Pushes the model of a finished run, after deciding once more from the stored evidence.

    Raises:
        ReleaseHeldError: If the verdict, then or now, is hold.
        DigestMismatchError: If the SavedModel is not the one that was audited.
    """
    require_permission(folder)
    if folder.release() is not None:
        return folder
    root = (workspace.root / folder.provenance()["config_folder"]).resolve()
    plan = make_plan(folder.config(), root=root)
    with _recorded(plan, workspace, folder, observer=observer) as lineage:
        release_model(plan, Stages(workspace, folder, lineage=lineage, observer=observer))
    return folder


# -- people -----------------------------------------------------------------------------------------------------------


def _require_reviewed_data(plan: Plan, stages: Stages) -> None:
    """Stands before everything that reads the data for a model: rejected data cost no privacy budget."""
    try:
        require_reviewed_data(stages.folder, Project(config=plan.config, root=plan.root))
    except DataHeldError:
        _ask_for_review(plan, stages, of="data")
        raise


def _ask_for_review(plan: Plan, stages: Stages, *, of: Literal["model", "data"] = "model") -> None:
    try:
        ask_for_review(plan.config.gate.approval, stages.folder, model_name=plan.config.serving.model_name, of=of)
    except ConfigError as error:
        stages.observer.note(f"no message was sent to the reviewers - {error}")


# -- around the stages ------------------------------------------------------------------------------------------------


@contextmanager
def _recorded(
    plan: Plan, workspace: Workspace, folder: RunFolder, *, observer: Observer, parent: str | None = None
) -> Iterator[LineageRun]:
    """Holds the run's lock, writes lineage, and tracks the run whatever its end."""
    with folder.lock:
        try:
            yield Lineage(workspace.metadata).run(folder.id, plan.config.name)
        finally:
            try:
                tracking.track_run(plan.config, folder, workspace, parent=parent)
            except ProbityError as error:
                observer.note(f"not tracked in MLflow - {error}")


@contextmanager
def _failures_kept(stages: Stages) -> Iterator[None]:
    folder = stages.folder
    try:
        yield
    except Stopped:
        write_atomically(folder.path / ".run" / "stopped", b"")
    except Exception as error:
        # The message of an unexpected error may quote data, so only expected ones are kept in words.
        message = str(error) if isinstance(error, ProbityError) else type(error).__name__
        folder.write_error(RunError(stage=stages.current, kind=type(error).__name__, message=message))
        raise


def _write_config(plan: Plan, stages: Stages, *, further: tuple[str, ...] = ()) -> None:
    """Writes what was asked; ``further`` are reports beside the audits' that the gate is to require."""
    project = Project(config=plan.config, root=plan.root)
    people = project.reviewers()
    value = {
        "config": {**plan.config.to_json(), "trainer": {"name": plan.config.trainer.name, **plan.settings.to_json()}},
        "config_folder": os.path.relpath(plan.root, stages.workspace.root.resolve()),
        "audits": [*plan.audits, *further],
        "environment": {**environment(), "installed": installed_digest()},
        "started_by": current_user(),
        "reviewers": people.to_json(),
        "waivers": [sealed.line for sealed in project.waivers()],
    }
    write_atomically(stages.folder.path / runs.CONFIG, yaml.safe_dump(value, sort_keys=False).encode())
