"""The stages of a rollout, told to the model's signed history; and a rollback, to the serving folder.

The state file is written first. A process that dies before the history is told leaves that to the next one, so every
transition is told again whenever a rollout is opened, and told once: an entry of the same time and stage is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from probity.errors import TrackingError
from probity.history import StageEntered, live_at
from probity.platform.person import current_user
from probity.platform.release.history import NO_MODEL, add_event, mend_history
from probity.platform.release.project import Project
from probity.platform.release.push import releases
from probity.platform.release.registry import mirror
from probity.platform.release.rollback import roll_back
from probity.rollout import RolloutState, Transition

__all__ = ["telling"]

_LOG = logging.getLogger(__name__)


def telling(project: Project, *, workspace: Path | None = None) -> Callable[[RolloutState, Transition], None]:
    """Returns what tells a model's history of transitions, as often as it is asked to, once each.

    Args:
        project: Config and folder of the model.
        workspace: Where MLflow's store lies by default, to mirror the history in its registry; ``None``: it is not
            mirrored. A registry that cannot be written holds no rollout up.

    Guarantees: after ``rolled_back`` or ``stopped`` the newest version in the serving folder holds the incumbent's
    bytes, so that a server without a router loads them too.

    Raises:
        SignatureError: From what is returned, if the history or a version does not verify.
        ReleaseError: Likewise, if it cannot be written.
    """

    def tell(state: RolloutState, transition: Transition) -> None:
        # A rollback of this rollout may have published its version and died before the entry.
        mend_history(project.base_path, project.model_name, keys=project.keys(), writers=project.writers())
        _tell(project, state, transition)
        if transition.to in ("rolled_back", "stopped"):
            _take_back(project, state, transition)
        if workspace is not None:
            try:
                mirror(project, workspace=workspace)
            except TrackingError as error:
                _LOG.warning("not mirrored in MLflow's registry: %s", error.seen)

    return tell


def _tell(project: Project, state: RolloutState, transition: Transition) -> None:
    plan, entries = state.plan, project.history()[0]
    told = {(entry.event.at, entry.event.stage) for entry in entries if isinstance(entry.event, StageEntered)}
    if (transition.at, transition.to) in told:
        return
    found = releases(project.base_path, plan.model_name)
    models = {release.version: release.model for release, _ in found}  # somebody may have removed the candidate
    event = StageEntered(
        at=transition.at,
        by=current_user(),
        why=transition.reason,
        version=plan.candidate,
        stage=transition.to,
        incumbent=plan.incumbent,
    )
    signer = project.keys().signer
    add_event(
        project.base_path,
        plan.model_name,
        event,
        model=models.get(plan.candidate, NO_MODEL),
        keys=project.writers(),
        signer=signer,
    )


def _take_back(project: Project, state: RolloutState, transition: Transition) -> None:
    live = live_at(project.history()[0])
    if live is not None and getattr(live.event, "version", None) == state.plan.candidate:
        why = f"rollout: {transition.reason}"
        roll_back(project, to=state.plan.incumbent, why=why, still_answers=True)
