"""The stages that measure a model: scores, the comparison with what is released, every audit, one stay in a server.

An audit that fails leaves a report that says so, and the gate holds; it ends no run.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

from probity import runs
from probity.audits import registry as audits
from probity.audits.base import AuditInput, not_applicable, tasks_of
from probity.audits.baseline_tasks import compare_rows
from probity.audits.task_rows import AnyRows, read_rows, score_rows
from probity.errors import AuditError
from probity.findings import AuditReport, Subject
from probity.platform.data_stages import CASES
from probity.platform.plan import EDGE_CASES, Plan
from probity.platform.release import push
from probity.platform.release.project import Project
from probity.platform.release.verification import verify
from probity.platform.stages import Progress, Stages, subfolder
from probity.platform.training_stages import TRAINED
from probity.runs import RunFolder
from probity.storage import write_record

__all__ = ["BASELINE", "SERVING", "audit_model", "audit_stages", "validate_infra"]

BASELINE = "baseline"
"""Stage and report of the comparison with the latest released model."""
SERVING = "serving"
"""Stage and report of the infra validation."""


def audit_stages() -> tuple[str, ...]:
    """Returns the stages of this module, in order."""
    return ("score", BASELINE, *audits.names(), SERVING)


def audit_model(plan: Plan, stages: Stages, *, made_by: tuple[str, ...] = TRAINED) -> None:
    """Scores the rows and performs the comparison with the released model and the audits of the plan.

    Args:
        plan: What to run.
        stages: Of the run.
        made_by: The stages that the model was made by, its own last.
    """
    try:
        _score(stages, made_by=made_by)
    except AuditError as error:
        # A model that cannot be scored is measured by nobody: every audit says so, and the gate holds.
        _write_failed(plan, stages, str(error), made_by=made_by)
        return
    evidence = _evidence(plan, stages.folder)
    settings = {
        "audits": plan.config.audits.to_json(),
        "seed": plan.config.seed,
        "joint_statements": plan.config.gate.joint_statements,
    }
    _compare_with_released(plan, stages, evidence=evidence, settings=settings, made_by=made_by)
    optional = {"canaries": evidence.canaries, "shadows": evidence.shadows}
    performed = tuple(stage for stage, left in optional.items() if left is not None)
    for name in plan.audits:
        further = (CASES,) if name == EDGE_CASES else ()
        stages.perform(
            name,
            produce=partial(_run_audit, name, evidence),
            settings=settings,
            inputs=("ingest", "schema", *made_by, "score", *performed, *further),
        )


def _score(stages: Stages, *, made_by: tuple[str, ...]) -> None:
    folder = stages.folder

    def score(out: Path, report: Progress) -> None:
        saved_model = folder.path / runs.MODEL / "saved_model"
        scored = score_rows(saved_model, dataset=folder.dataset(), examples=folder.examples())
        subfolder(out, runs.AUDITS)
        scored.write(out / runs.SCORED_ROWS)

    stages.perform("score", produce=score, inputs=("ingest", made_by[-1]))


def _write_failed(plan: Plan, stages: Stages, reason: str, *, made_by: tuple[str, ...]) -> None:
    subject = Subject(model=stages.folder.model().digest, examples=stages.folder.examples().files["test"].digest)

    def write(name: str, out: Path, report: Progress) -> None:
        found = AuditReport(audit=name, status="failed", subject=subject, reasons=(reason,))
        write_record(subfolder(out, runs.AUDITS) / f"{name}.json", found)

    for name in (BASELINE, *plan.audits):
        stages.perform(
            name,
            produce=partial(write, name),
            settings={"failed": reason},
            inputs=("ingest", made_by[-1]),
            cached=False,
        )


def _evidence(plan: Plan, folder: RunFolder) -> AuditInput[AnyRows]:
    dataset = folder.dataset()
    return AuditInput(
        model=folder.model(),
        model_folder=folder.path / runs.MODEL,
        dataset=dataset,
        examples=folder.examples(),
        schema=folder.schema(),
        transform=folder.transform(),
        transform_folder=folder.path / runs.TRANSFORM,
        transformed=folder.transformed(),
        scored=read_rows(folder.path / runs.SCORED_ROWS, dataset.task),
        settings=plan.config.audits,
        seed=plan.config.seed,
        joint_statements=plan.config.gate.joint_statements,
        canaries=folder.canaries(),
        canaries_folder=folder.path / runs.CANARIES,
        shadows=folder.shadows(),
        edge_cases=folder.edge_cases(),
    )


def _run_audit(name: str, evidence: AuditInput[AnyRows], out: Path, report: Progress) -> None:
    target = subfolder(out, runs.AUDITS)
    workdir = subfolder(target, name)
    audit = audits.load(name)
    try:
        if evidence.dataset.task in tasks_of(audit):
            # An audit that measures other tasks than binary ones looks at the task first, and then at these rows.
            found = audit.run(cast("AuditInput", evidence), workdir=workdir)
        else:
            found = not_applicable(name, evidence)
    except AuditError as error:
        found = AuditReport(audit=name, status="failed", subject=evidence.subject, reasons=(str(error),))
    if not any(workdir.iterdir()):
        workdir.rmdir()
    write_record(target / f"{name}.json", found)


# -- the latest released model ----------------------------------------------------------------------------------------


def _compare_with_released(
    plan: Plan,
    stages: Stages,
    *,
    evidence: AuditInput[AnyRows],
    settings: dict[str, object],
    made_by: tuple[str, ...],
) -> None:
    released = push.latest(plan.base_path, plan.config.serving.model_name)
    project = Project(config=plan.config, root=plan.root)

    def compare(out: Path, report: Progress) -> None:
        path, digest = (released[1], released[0].model) if released else (None, None)
        found = _compare(evidence, path, digest=digest, project=project)
        write_record(subfolder(out, runs.AUDITS) / f"{BASELINE}.json", found)

    stages.perform(
        BASELINE,
        produce=compare,
        settings={**settings, "baseline": released[0].model if released else None},
        inputs=("ingest", made_by[-1], "score"),
    )


def _compare(evidence: AuditInput[AnyRows], path: Path | None, *, digest: str | None, project: Project) -> AuditReport:
    """Compares the candidate with the latest released model on the same rows (the test split).

    A version that does not verify could be anything, and a weak model put in the place of the live one would let a weak
    candidate pass: then there is no comparison, and the gate holds.
    """
    scored: AnyRows | None = None
    subject = evidence.subject.model_copy(update={"baseline": digest})
    if path is not None:
        found = verify(path, trusted_keys=project.trusted(), signing=project.config.signing)
        if not found.intact:
            reason = f"the released model does not verify ({found.problems[0]})"
            return AuditReport(audit=BASELINE, status="failed", subject=subject, reasons=(reason,))
    if path is not None and digest == evidence.model.digest:
        scored = evidence.scored  # the candidate is what is live: its scores are known
    elif path is not None:
        try:
            scored = score_rows(path, dataset=evidence.dataset, examples=evidence.examples)
        except Exception as error:  # TensorFlow has errors of its own; any of them means that there is no comparison
            reason = f"the released model cannot score these rows ({type(error).__name__})"
            return AuditReport(audit=BASELINE, status="failed", subject=subject, reasons=(reason,))
    return compare_rows(
        evidence.scored,
        scored,
        subject=subject,
        settings=evidence.settings,
        seed=evidence.seed,
        intersections=evidence.dataset.intersections,
        joint_statements=evidence.joint_statements,
    )


# -- in a server ------------------------------------------------------------------------------------------------------


def validate_infra(plan: Plan, stages: Stages) -> None:
    """Serves the candidate once, unless the config says not to."""
    settings, folder = plan.config.serving.infra_validation, stages.folder
    if settings is None:
        return
    examples, model = folder.examples(), folder.model()
    subject = Subject(model=model.digest, examples=examples.files["test"].digest)

    def serve(out: Path, report: Progress) -> None:
        from probity.platform.serving.infra_validation import validate

        saved_model = folder.path / runs.MODEL / "saved_model"
        found = validate(saved_model, examples.table("test"), subject=subject, settings=settings)
        write_record(subfolder(out, runs.AUDITS) / f"{SERVING}.json", found)

    stages.perform(SERVING, produce=serve, settings=settings.to_json(), inputs=("ingest", "train"))
