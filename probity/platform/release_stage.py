"""The stage after the decision: the model is pushed, with all that its release rests on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from probity import runs
from probity.claims import CLAIMS
from probity.decision import APPROVAL, GateDecision
from probity.errors import TrackingError
from probity.platform.lineage_words import keep_words
from probity.platform.plan import Plan
from probity.platform.release import push
from probity.platform.release.approval import approval_terms, reviews_of
from probity.platform.release.evidence import Evidence, collect
from probity.platform.release.project import Project
from probity.platform.release.registry import mirror
from probity.platform.release.verification import EXTRA
from probity.platform.stages import Progress, Stages
from probity.platform.verdict import policy_of, require_permission
from probity.run_publication import waivers_of
from probity.runs import RunFolder
from probity.storage import write_atomically, write_record

__all__ = ["release_model"]


def release_model(plan: Plan, stages: Stages) -> None:
    """Pushes the model of a run, after deciding once more from the stored evidence.

    Raises:
        ReleaseHeldError: If the verdict, then or now, is hold.
        DigestMismatchError: If the SavedModel is not the one that was audited.
    """
    project, folder = Project(config=plan.config, root=plan.root), stages.folder
    decision = require_permission(folder)
    keys = project.keys()
    if keys.created:
        stages.observer.note(
            f"made a signing key, {plan.config.signing.key}; give its .pub to whoever verifies releases"
        )
    evidence = _evidence(folder, decision, project=project)

    def publish(out: Path, report: Progress) -> None:
        pushed = push.push(
            folder.path / runs.MODEL / "saved_model",
            card_folder=folder.path / runs.CARD,
            decision=decision,
            run=folder.id,
            model_name=plan.config.serving.model_name,
            base_path=plan.base_path,
            base_label=plan.config.serving.base_path,
            dataset=folder.dataset().content_digest,
            evidence=evidence,
            keys=keys,
            writers=project.writers(),
            recheck=partial(require_permission, folder),
        )
        write_record(out / runs.RELEASE, pushed)
        if pushed.run == folder.id:
            version = project.base_path / pushed.model_name / str(pushed.version)
            write_atomically(out / runs.CLAIMS, (version / EXTRA / CLAIMS).read_bytes())
        if decision != folder.decision():
            write_record(out / runs.RELEASE_DECISION, decision)

    keep_words(folder, project)  # the release is made from the approvals too
    made_by = "adopt" if folder.receipt("adopt") else "train"
    stages.perform("release", produce=publish, inputs=(made_by, "card", "gate"), cached=False)
    try:
        mirror(project, workspace=folder.path.parents[1])
    except TrackingError as error:
        stages.observer.note(f"not mirrored in MLflow's registry - {error}")


def _evidence(folder: RunFolder, decision: GateDecision, *, project: Project) -> Evidence:
    """Returns what the release rests on: the approvals that it needed, and the waivers that lifted a rule."""
    needed = any(check.rule == APPROVAL for check in decision.checks)
    lifted = {check.rule for check in decision.checks if check.lifted_by == "waiver"}
    reviews = reviews_of(folder, project) if needed else ()
    return collect(
        folder,
        policy_of(folder),
        decision,
        reviews=[sealed for sealed in reviews if sealed.review.outcome == "approve"],
        waivers=[sealed for sealed in waivers_of(folder) if sealed.waiver.rule in lifted],
        terms=approval_terms(folder, project) if needed else None,
    )
