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
from probity.platform.release.webhook import announce
from probity.platform.rollout.comparison import is_harmed
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
    bytes, so that a server without a router loads them too. The webhook of the config's ``alerts`` is told of such an
    end once by each process that has to write it down; it is told also if that fails, and whether it answers changes
    nothing.

    Raises:
        SignatureError: From what is returned, if the history or a version does not verify.
        ReleaseError: Likewise, if it cannot be written.
    """
    alerted: set[tuple[str, str]] = set()

    def tell(state: RolloutState, transition: Transition) -> None:
        taken_back, new = transition.to in ("rolled_back", "stopped"), True
        try:
            # A rollback of this rollout may have published its version and died before the entry.
            mend_history(project.base_path, project.model_name, keys=project.keys(), writers=project.writers())
            new = _tell(project, state, transition)
            if taken_back:
                _take_back(project, state, transition)
        finally:
            key = (transition.at, transition.to)
            if taken_back and new and key not in alerted:
                alerted.add(key)
                _alert(project, state)
        if workspace is not None:
            try:
                mirror(project, workspace=workspace)
            except TrackingError as error:
                _LOG.warning("not mirrored in MLflow's registry: %s", error.seen)

    return tell


def _tell(project: Project, state: RolloutState, transition: Transition) -> bool:
    """Returns whether the history did not know of it."""
    plan, entries = state.plan, project.history()[0]
    told = {(entry.event.at, entry.event.stage) for entry in entries if isinstance(entry.event, StageEntered)}
    if (transition.at, transition.to) in told:
        return False
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
    return True


def _take_back(project: Project, state: RolloutState, transition: Transition) -> None:
    live = live_at(project.history()[0])
    if live is not None and getattr(live.event, "version", None) == state.plan.candidate:
        why = f"rollout: {transition.reason}"
        roll_back(project, to=state.plan.incumbent, why=why, still_answers=True)


def _alert(project: Project, state: RolloutState) -> None:
    """Says what was taken back: metrics and counts; groups, and what a person gave as a reason, stay in the history."""
    plan, seen = state.plan, state.evidence[-1].comparisons
    harmed = sorted({entry.metric for entry in seen if is_harmed(entry, plan)})
    cause = f" for {', '.join(harmed)}" if state.status == "rolled_back" else " by a person"
    answers = max((entry.candidate_requests for entry in seen), default=0)
    words = (
        f"Model {plan.model_name}: the rollout of version {plan.candidate} was {state.status.replace('_', ' ')}{cause} "
        f"at stage {state.stage}, after {answers} answers of it in that stage. Version {plan.incumbent} answers. "
        f"See: probity rollout {plan.model_name} --show"
    )
    if (problem := announce(project.config.alerts.webhook_variable, words)) is not None:
        _LOG.warning("nobody was alerted: %s", problem)
