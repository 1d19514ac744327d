"""The pipeline: raw data to a gated, released model, one stage per number of the run folder.

:func:`run` is the only place that knows the order. Nothing here looks at which trainer was chosen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, cast

import yaml

from probity import runs
from probity.audits import registry as audits
from probity.audits import task_rows
from probity.audits.base import AuditInput, not_applicable, tasks_of
from probity.audits.baseline_tasks import compare_rows
from probity.canaries import Coins
from probity.claims import CLAIMS
from probity.decision import APPROVAL, GateDecision, GatePolicy
from probity.digest import digest_file, digest_tree
from probity.errors import AuditError, ConfigError, DataHeldError, ProbityError, ReleaseHeldError, TrackingError
from probity.findings import AuditReport, Subject
from probity.model_cards import render
from probity.model_cards.compose import compose
from probity.model_cards.publication import Publication
from probity.platform import adopt, canaries, gate, ingest, profile, schema, shadows, tracking, training, transform
from probity.platform.alerts import alerted
from probity.platform.edge_cases import read_edge_cases
from probity.platform.lineage import Lineage
from probity.platform.lineage_run import LineageRun
from probity.platform.lineage_words import keep_words
from probity.platform.live_rounds import LiveRounds
from probity.platform.person import current_user
from probity.platform.plan import EDGE_CASES, Plan, make_plan
from probity.platform.release import push
from probity.platform.release.approval import approval_terms, reviews_of
from probity.platform.release.data_review import data_words, require_reviewed_data
from probity.platform.release.evidence import collect, expired_audits, outdated_comparison
from probity.platform.release.history import utc_now
from probity.platform.release.project import Project
from probity.platform.release.registry import mirror
from probity.platform.release.verification import EXTRA, verify
from probity.platform.release.webhook import ask_for_review
from probity.platform.stages import Observer, Progress, Stages, Stopped, environment, installed_digest
from probity.review import SealedReview
from probity.run_publication import waived_in, waivers_of
from probity.runs import RunError, RunFolder, Workspace
from probity.storage import write_atomically, write_record
from probity.trainers.base import TrainingRequest

__all__ = ["audit", "decide", "policy_of", "release", "run", "stage_names"]


SERVING = "serving"
"""Stage and report of the infra validation."""
CASES = "cases"
"""Stage that reads the edge cases, before anything is trained."""


def stage_names() -> tuple[str, ...]:
    """Returns the stages in order, as ``--until`` takes them."""
    data = ("ingest", "statistics", "schema", "anomalies", CASES, "transform")
    return (
        *data,
        "canaries",
        "train",
        "shadows",
        "score",
        "baseline",
        *audits.names(),
        SERVING,
        "card",
        "gate",
        "release",
    )


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
    plan.require_ready()
    folder = workspace.new_run(config.name)
    with _recorded(plan, workspace, folder, observer, parent=parent) as lineage:
        stages = Stages(
            workspace, folder, lineage=lineage, observer=observer, use_cache=use_cache, until=until
        )  # fmt: skip
        # The runs of a comparison are looked at together, by whoever started it.
        telling = nullcontext() if parent is not None else alerted(config, folder, observer)
        with telling, _failures_kept(folder, stages):
            _write_config(plan, workspace, folder, further=(SERVING,) if plan.config.serving.infra_validation else ())
            _read_data(plan, folder, stages)
            _require_reviewed_data(plan, folder, observer)
            _train(plan, workspace, folder, stages)
            _audit(plan, folder, stages)
            _validate_infra(plan, folder, stages)
            _decide(plan, workspace, folder, stages)
            if push_release and folder.decision().verdict == "release":
                _release(plan, folder, stages, observer)
            elif folder.decision().waits_for_approval:
                _ask_for_review(plan, folder, observer)
    return folder


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
    with _recorded(plan, workspace, folder, observer) as lineage:
        stages = Stages(workspace, folder, lineage=lineage, observer=observer, use_cache=use_cache)
        with alerted(plan.config, folder, observer), _failures_kept(folder, stages):
            _write_config(plan, workspace, folder)
            _read_data(plan, folder, stages)
            _require_reviewed_data(plan, folder, observer)
            _adopt(model, folder, stages, members_known=members_known)
            _audit(plan, folder, stages, made_by=("adopt",))
            _decide(plan, workspace, folder, stages, made_by=("adopt",))
    return folder


def decide(folder: RunFolder, *, reviews: Sequence[SealedReview] = (), now: datetime | None = None) -> GateDecision:
    """Decides again from the stored evidence of a run. Equal evidence gives an equal decision, byte for byte.

    Args:
        folder: The run.
        reviews: What reviewers sealed about this run.
        now: The time at which waivers must be in force and evidence may not be expired; absent: now.
    """
    reports, moment, project = folder.reports(), now or utc_now(), Project.of_run(folder)
    policy, model, examples = policy_of(folder), folder.model(), folder.examples()
    history = project.history()
    card_path = folder.path / runs.CARD / "card.json"
    recorded = folder.receipt("card")
    intact = recorded is not None and folder.intact(recorded)
    return gate.decide(
        policy,
        reports=reports,
        model=model.digest,
        examples=examples.files["test"].digest,
        card=digest_file(card_path) if intact else None,
        card_subject=folder.card().subject if intact else None,
        open_risks=folder.card().open_risks() if intact else None,
        expired={
            **outdated_comparison(folder, policy, history[0]),
            **expired_audits(folder, policy, history, now=moment),
        },
        waivers=[sealed.waiver for sealed in waivers_of(folder, now=moment)],
        reviews=[sealed.review for sealed in reviews],
        started_by=approval_terms(folder, project).started_by,
        data=data_words(folder, project, history[0]),
    )


def policy_of(folder: RunFolder) -> GatePolicy:
    """Returns what a release of a run needs: the rules of its config, resolved against its data."""
    # What the run set out to audit, not what it happened to finish: an audit that is missing is a reason to hold.
    required = ("baseline", *folder.provenance()["audits"])
    return gate.make_policy(folder.config(), folder.dataset(), required_reports=required)


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
    with _recorded(plan, workspace, folder, observer) as lineage:
        _release(plan, folder, Stages(workspace, folder, lineage=lineage, observer=observer), observer)
    return folder


def require_permission(folder: RunFolder) -> GateDecision:
    """Returns the decision that a release of a run rests on, made now, with the approvals that were given.

    Guarantees: what the gate said at the time of the run, still as it was written, was ``release``, or ``hold`` for
    want of approval only; and what it says now, by the same policy, of the evidence as it is now, is ``release``.

    Raises:
        ReleaseHeldError: Otherwise.
    """
    first, words = folder.decision(), reviews_of(folder, Project.of_run(folder))
    again, written = decide(folder, reviews=words), folder.receipt("gate")
    if written is None or not folder.intact(written) or again.policy != first.policy:
        raise ReleaseHeldError(
            f"run {folder.id}",
            seen="its decision, or the policy in its config, was changed after the gate decided",
            allowed="a decision as it was written, by the policy that the config still states",
            remedy="run the pipeline again; a changed policy is a new decision, and never an old one edited",
        )
    if again.verdict != "release" or not (first.verdict == "release" or first.waits_for_approval):
        raise ReleaseHeldError(
            f"run {folder.id}",
            seen=f"the gate says hold: {', '.join(check.rule for check in again.blocking) or 'at the time of the run'}",
            allowed="a run whose verdict is release",
            remedy=f"see every check with: probity gate {folder.id}",
        )
    return again


# -- the stages, in order ---------------------------------------------------------------------------------------------


def _read_data(plan: Plan, folder: RunFolder, stages: Stages) -> None:
    config = plan.config
    curated = plan.curated_schema
    texts = schema.text_columns(curated) if curated else frozenset()
    domain = schema.reviewed_domain(curated, config.data.label.column) if curated else None

    def read(out: Path, report: Progress) -> None:
        target = _subfolder(out, runs.EXAMPLES)
        dataset, examples = ingest.ingest(
            config.data, name=config.name, root=plan.root, out=target, text_columns=texts, label_domain=domain
        )
        runs.write_splits(target, examples.files)
        write_record(out / runs.DATASET, dataset)

    source = ingest.source_digest(config.data, root=plan.root)
    settings: dict[str, object] = {
        "data": config.data.to_json(),
        "name": config.name,
        "source": source,
        "texts": sorted(texts),
    }
    if config.data.task == "multiclass":
        settings["domain"] = domain
    stages.perform("ingest", produce=read, settings=settings)
    dataset, examples = folder.dataset(), folder.examples()

    def describe(out: Path, report: Progress) -> None:
        target = _subfolder(out, runs.STATISTICS)
        write_record(target / "statistics.json", profile.profile(examples, dataset, out=target))

    stages.perform("statistics", produce=describe, inputs=("ingest",))
    statistics = folder.statistics()

    def make_schema(out: Path, report: Progress) -> None:
        made = schema.make_schema(
            statistics, dataset, folder=folder.path / runs.STATISTICS, curated=curated, out=out / runs.SCHEMA
        )
        write_record(out / runs.SCHEMA_RECORD, made)

    curated_digest = {"curated": digest_file(curated) if curated else None}
    stages.perform("schema", produce=make_schema, settings=curated_digest, inputs=("ingest", "statistics"))

    def validate(out: Path, report: Progress) -> None:
        found = schema.validate(
            statistics,
            folder.schema(),
            dataset,
            folder=folder.path / runs.STATISTICS,
            schema_path=folder.path / runs.SCHEMA,
        )
        write_record(out / runs.ANOMALIES, found)

    stages.perform("anomalies", produce=validate, inputs=("ingest", "statistics", "schema"))
    schema.require_valid(folder.anomalies())
    if plan.edge_cases is not None:
        _read_cases(plan, plan.edge_cases, folder, stages)


def _read_cases(plan: Plan, path: Path, folder: RunFolder, stages: Stages) -> None:
    missing = plan.config.data.missing_values

    def read(out: Path, report: Progress) -> None:
        found = read_edge_cases(path, dataset=folder.dataset(), schema=folder.schema(), missing_values=missing)
        found.write(out / runs.EDGE_CASES)

    settings = {"cases": digest_file(path), "name": path.name, "missing": missing}
    stages.perform(CASES, produce=read, settings=settings, inputs=("ingest", "schema"))


def _require_reviewed_data(plan: Plan, folder: RunFolder, observer: Observer) -> None:
    """Stands before everything that reads the data for a model: rejected data cost no privacy budget."""
    try:
        require_reviewed_data(folder, Project(config=plan.config, root=plan.root))
    except DataHeldError:
        _ask_for_review(plan, folder, observer, of="data")
        raise


def _train(plan: Plan, workspace: Workspace, folder: RunFolder, stages: Stages) -> None:
    config = plan.config
    examples, dataset = folder.examples(), folder.dataset()
    units = training.units_of(dataset, examples)
    coins = canaries.coins_for(config.audits.canaries, plants_gradients=plan.plants_gradients, seed=config.seed)
    clients = training.clients_of(dataset, examples, plan.settings)
    population = training.population_of(
        dataset, examples, units, planted=coins.planted, settings=plan.settings, clients=clients
    )
    proposal = plan.trainer.propose(plan.settings, population)
    if config.audits.shadow_models:
        shadows.require_trainable(plan.trainer, plan.settings, dataset, examples)
    private = training.is_private(proposal)
    public_first = private or plan.settings.public_preprocessing
    budget = training.RunBudget(
        config, workspace, dataset, population, run=folder.id, target_delta=training.target_delta(proposal)
    )

    def prepare(out: Path, report: Progress) -> None:
        target = _subfolder(out, runs.TRANSFORM)
        schema_, planned = folder.schema(), None
        if private:
            own_units = population.num_units - coins.planted
            planned = transform.planned_private_statistics(config.transform, dataset, schema_, own_units)
        with budget.pay_for_statistics(planned):
            made, transformed = transform.transform(
                examples,
                dataset,
                schema_,
                config.transform,
                root=plan.root,
                out=target,
                public_first=public_first,
                units=units,
            )
        write_record(target / "transform.json", made)
        runs.write_splits(target / "examples", transformed.files)

    settings = {
        "transform": config.transform.to_json(),
        "module": plan.module_digest(config.transform.module),
        "public_first": public_first,
    }
    stages.perform("transform", produce=prepare, settings=settings, inputs=("ingest", "schema"))
    inputs: tuple[str, ...] = ("ingest", "transform")
    if config.audits.canaries is not None:
        _plant(plan, folder, stages, coins)
        inputs = (*inputs, "canaries")
    asked: dict[str, object] = {
        "trainer": config.trainer.name,
        "settings": plan.settings.to_json(),
        "model": config.model.to_json(),
        "module": plan.module_digest(config.model.module),
        "seed": config.seed,
    }
    if (code := getattr(plan.trainer, "code", None)) is not None:
        asked["worker"] = code
    if plan.settings.across:
        asked["decision_threshold"] = config.audits.decision_threshold

    def request() -> TrainingRequest:
        graph, planted = folder.transform(), int(coins.rows.sum())
        return TrainingRequest(
            examples=folder.planted(),
            transform=graph,
            transform_folder=folder.path / runs.TRANSFORM,
            dataset=dataset,
            model=config.model,
            root=plan.root,
            settings=plan.settings,
            seed=config.seed,
            mechanism=training.settle(proposal, delta=budget.delta, statistics=graph.private_statistics),
            groups=training.groups_of(dataset, examples, plan.settings.across, planted=planted),
            decision_threshold=config.audits.decision_threshold,
            units=training.planted_units(units, planted=planted),
            gradient_canaries=coins.gradients if len(coins.gradients) else None,
            clients=clients,
        )

    def train(out: Path, report: Progress) -> None:
        key = stages.key("train", settings=asked, inputs=inputs)
        target = _subfolder(out, runs.MODEL)
        asked_for = request()
        with LiveRounds(config, folder, workspace, mechanism=asked_for.mechanism, delta=budget.delta) as rounds:
            told = replace(asked_for, rounds=rounds)
            model = budget.pay_for_training(plan.trainer, told, key=key, workdir=target, report=report)
        write_record(target / "model.json", model)

    stages.perform("train", produce=train, settings=asked, inputs=inputs)
    if config.audits.shadow_models:
        _shadow(plan, workspace, folder, stages, request(), settings={**asked, "number": config.audits.shadow_models})


def _shadow(
    plan: Plan,
    workspace: Workspace,
    folder: RunFolder,
    stages: Stages,
    request: TrainingRequest,
    *,
    settings: dict[str, object],
) -> None:
    inputs = ("ingest", "transform")

    def train(out: Path, report: Progress) -> None:
        key = stages.key("shadows", settings=settings, inputs=inputs)
        with training.checkpoint_folder(workspace.root / "checkpoints" / key.removeprefix("sha256:")) as kept:
            shadows.train_shadows(
                plan.trainer,
                replace(request, examples=folder.transformed()),
                raw=folder.examples(),
                number=plan.config.audits.shadow_models,
                kept=kept,
                out=_subfolder(out, runs.SHADOWS),
                report=report,
            )

    stages.perform("shadows", produce=train, settings=settings, inputs=inputs)


def _plant(plan: Plan, folder: RunFolder, stages: Stages, coins: Coins) -> None:
    def plant(out: Path, report: Progress) -> None:
        canaries.plant(
            coins,
            schema=folder.schema(),
            dataset=folder.dataset(),
            transform=folder.transform(),
            transform_folder=folder.path / runs.TRANSFORM,
            transformed=folder.transformed(),
            seed=plan.config.seed,
            out=_subfolder(out, runs.CANARIES),
        )

    settings = {"rows": len(coins.rows), "gradients": len(coins.gradients), "seed": plan.config.seed}
    stages.perform("canaries", produce=plant, settings=settings, inputs=("ingest", "schema", "transform"))


def _adopt(model: Path, folder: RunFolder, stages: Stages, *, members_known: bool) -> None:
    dataset, examples = folder.dataset(), folder.examples()

    def take(out: Path, report: Progress) -> None:
        target = _subfolder(out, runs.MODEL)
        units = training.units_of(dataset, examples)
        adopted = adopt.adopt(
            model,
            dataset=dataset,
            examples=examples,
            num_units=training.population_of(dataset, examples, units).num_units,
            members_known=members_known,
            environment=environment(),
            out=target,
        )
        write_record(target / "model.json", adopted)
        transform_folder = _subfolder(out, runs.TRANSFORM)
        write_record(transform_folder / "transform.json", adopt.empty_transform(adopted, dataset))
        runs.write_splits(_subfolder(transform_folder, "examples"), {})

    settings = {"model": digest_tree(model), "members_known": members_known}
    stages.perform("adopt", produce=take, settings=settings, inputs=("ingest",))


def _audit(plan: Plan, folder: RunFolder, stages: Stages, *, made_by: tuple[str, ...] = ("transform", "train")) -> None:
    dataset, examples, model = folder.dataset(), folder.examples(), folder.model()
    statements = plan.config.gate.joint_statements
    settings = {"audits": plan.config.audits.to_json(), "seed": plan.config.seed, "joint_statements": statements}
    model_folder = folder.path / runs.MODEL

    def score(out: Path, report: Progress) -> None:
        scored = task_rows.score_rows(model_folder / "saved_model", dataset=dataset, examples=examples)
        _subfolder(out, runs.AUDITS)
        scored.write(out / runs.SCORED_ROWS)

    try:
        stages.perform("score", produce=score, inputs=("ingest", made_by[-1]))
    except AuditError as error:
        # A model that cannot be scored is measured by nobody: every audit says so, and the gate holds.
        _write_failed(plan, folder, stages, str(error), inputs=("ingest", made_by[-1]))
        return
    evidence: AuditInput[task_rows.AnyRows] = AuditInput(
        model=model,
        model_folder=model_folder,
        dataset=dataset,
        examples=examples,
        schema=folder.schema(),
        transform=folder.transform(),
        transform_folder=folder.path / runs.TRANSFORM,
        transformed=folder.transformed(),
        scored=task_rows.read_rows(folder.path / runs.SCORED_ROWS, dataset.task),
        settings=plan.config.audits,
        seed=plan.config.seed,
        joint_statements=statements,
        canaries=folder.canaries(),
        canaries_folder=folder.path / runs.CANARIES,
        shadows=folder.shadows(),
        edge_cases=folder.edge_cases(),
    )

    released = push.latest(plan.base_path, plan.config.serving.model_name)
    project = Project(config=plan.config, root=plan.root)

    def compare(out: Path, report: Progress) -> None:
        path, digest = (released[1], released[0].model) if released else (None, None)
        found = _compare(evidence, path, digest, project=project)
        write_record(_subfolder(out, runs.AUDITS) / "baseline.json", found)

    stages.perform(
        "baseline",
        produce=compare,
        settings={**settings, "baseline": released[0].model if released else None},
        inputs=("ingest", made_by[-1], "score"),
    )
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


def _validate_infra(plan: Plan, folder: RunFolder, stages: Stages) -> None:
    """Serves the candidate once, unless the config says not to."""
    settings = plan.config.serving.infra_validation
    if settings is None:
        return
    examples, model = folder.examples(), folder.model()
    subject = Subject(model=model.digest, examples=examples.files["test"].digest)

    def serve(out: Path, report: Progress) -> None:
        from probity.platform.serving.infra_validation import validate

        saved_model = folder.path / runs.MODEL / "saved_model"
        found = validate(saved_model, examples.table("test"), subject=subject, settings=settings)
        write_record(_subfolder(out, runs.AUDITS) / f"{SERVING}.json", found)

    stages.perform(SERVING, produce=serve, settings=settings.to_json(), inputs=("ingest", "train"))


def _write_failed(plan: Plan, folder: RunFolder, stages: Stages, reason: str, *, inputs: tuple[str, ...]) -> None:
    subject = Subject(model=folder.model().digest, examples=folder.examples().files["test"].digest)

    def write(name: str, out: Path, report: Progress) -> None:
        found = AuditReport(audit=name, status="failed", subject=subject, reasons=(reason,))
        write_record(_subfolder(out, runs.AUDITS) / f"{name}.json", found)

    for name in ("baseline", *plan.audits):
        stages.perform(name, produce=partial(write, name), settings={"failed": reason}, inputs=inputs, cached=False)


def _run_audit(name: str, evidence: AuditInput[task_rows.AnyRows], out: Path, report: Progress) -> None:
    target = _subfolder(out, runs.AUDITS)
    workdir = _subfolder(target, name)
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


def _compare(
    evidence: AuditInput[task_rows.AnyRows], path: Path | None, digest: str | None, *, project: Project
) -> AuditReport:
    """Compares the candidate with the latest released model on the same rows (the test split).

    A version that does not verify could be anything, and a weak model put in the place of the live one would let a weak
    candidate pass: then there is no comparison, and the gate holds.
    """
    scored: task_rows.AnyRows | None = None
    subject = evidence.subject.model_copy(update={"baseline": digest})
    if path is not None:
        found = verify(path, trusted_keys=project.trusted(), signing=project.config.signing)
        if not found.intact:
            reason = f"the released model does not verify ({found.problems[0]})"
            return AuditReport(audit="baseline", status="failed", subject=subject, reasons=(reason,))
    if path is not None and digest == evidence.model.digest:
        scored = evidence.scored  # the candidate is what is live: its scores are known
    elif path is not None:
        try:
            scored = task_rows.score_rows(path, dataset=evidence.dataset, examples=evidence.examples)
        except Exception as error:  # TensorFlow has errors of its own; any of them means that there is no comparison
            reason = f"the released model cannot score these rows ({type(error).__name__})"
            return AuditReport(audit="baseline", status="failed", subject=subject, reasons=(reason,))
    return compare_rows(
        evidence.scored,
        scored,
        subject=subject,
        settings=evidence.settings,
        seed=evidence.seed,
        intersections=evidence.dataset.intersections,
        joint_statements=evidence.joint_statements,
    )


def _decide(
    plan: Plan,
    workspace: Workspace,
    folder: RunFolder,
    stages: Stages,
    *,
    made_by: tuple[str, ...] = ("transform", "train"),
) -> None:
    def write_card(out: Path, report: Progress) -> None:
        dataset, model = folder.dataset(), folder.model()
        card = compose(
            run=folder.id,
            created_at=folder.created_at,
            config=plan.config,
            dataset=dataset,
            split_rows={split: entry.num_rows for split, entry in folder.examples().files.items()},
            schema=folder.schema(),
            anomalies=folder.anomalies(),
            transform=folder.transform(),
            model=model,
            reports={name: report for name, report in folder.reports().items() if report is not None},
            canaries=folder.canaries(),
            cumulative=training.cumulative_spending(plan.config, workspace, dataset, model),
        )
        target = _subfolder(out, runs.CARD)
        write_record(target / "card.json", card)
        printed = Publication(card=card, waived=waived_in(folder), pictures=folder.pictures())
        write_atomically(target / "card.md", render.to_markdown(printed).encode())
        write_atomically(target / "card.html", render.to_html(printed).encode())

    served = (SERVING,) if folder.receipt(SERVING) else ()
    reports = ("baseline", *plan.audits, *served)
    read = ("ingest", "schema", "anomalies", *made_by, *reports)
    stages.perform("card", produce=write_card, inputs=read, cached=False)

    def write_decision(out: Path, report: Progress) -> None:
        write_record(out / runs.DECISION, decide(folder))

    stages.perform("gate", produce=write_decision, inputs=("ingest", made_by[-1], "card", *reports), cached=False)


def _ask_for_review(
    plan: Plan, folder: RunFolder, observer: Observer, *, of: Literal["model", "data"] = "model"
) -> None:
    try:
        ask_for_review(plan.config.gate.approval, folder, model_name=plan.config.serving.model_name, of=of)
    except ConfigError as error:
        observer.note(f"no message was sent to the reviewers - {error}")


def _release(plan: Plan, folder: RunFolder, stages: Stages, observer: Observer) -> None:
    project = Project(config=plan.config, root=plan.root)
    decision, policy = require_permission(folder), policy_of(folder)
    needed = any(check.rule == APPROVAL for check in decision.checks)
    lifted = {check.rule for check in decision.checks if check.lifted_by == "waiver"}
    keys = project.keys()
    if keys.created:
        observer.note(f"made a signing key, {plan.config.signing.key}; give its .pub to whoever verifies releases")
    evidence = collect(
        folder,
        policy,
        decision,
        reviews=[sealed for sealed in reviews_of(folder, project) if sealed.review.outcome == "approve"]
        if needed
        else (),
        waivers=[sealed for sealed in waivers_of(folder) if sealed.waiver.rule in lifted],
        terms=approval_terms(folder, project) if needed else None,
    )

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
        observer.note(f"not mirrored in MLflow's registry - {error}")


# -- around the stages ------------------------------------------------------------------------------------------------


@contextmanager
def _recorded(
    plan: Plan, workspace: Workspace, folder: RunFolder, observer: Observer, *, parent: str | None = None
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
def _failures_kept(folder: RunFolder, stages: Stages) -> Iterator[None]:
    try:
        yield
    except Stopped:
        write_atomically(folder.path / ".run" / "stopped", b"")
    except Exception as error:
        # The message of an unexpected error may quote data, so only expected ones are kept in words.
        message = str(error) if isinstance(error, ProbityError) else type(error).__name__
        folder.write_error(RunError(stage=stages.current, kind=type(error).__name__, message=message))
        raise


def _write_config(plan: Plan, workspace: Workspace, folder: RunFolder, *, further: tuple[str, ...] = ()) -> None:
    """Writes what was asked; ``further`` are reports beside the audits' that the gate is to require."""
    project = Project(config=plan.config, root=plan.root)
    people = project.reviewers()
    value = {
        "config": {**plan.config.to_json(), "trainer": {"name": plan.config.trainer.name, **plan.settings.to_json()}},
        "config_folder": os.path.relpath(plan.root, workspace.root.resolve()),
        "audits": [*plan.audits, *further],
        "environment": {**environment(), "installed": installed_digest()},
        "started_by": current_user(),
        "reviewers": people.to_json(),
        "waivers": [sealed.line for sealed in project.waivers()],
    }
    write_atomically(folder.path / runs.CONFIG, yaml.safe_dump(value, sort_keys=False).encode())


def _subfolder(out: Path, name: str) -> Path:
    target = out / name
    target.mkdir(parents=True, exist_ok=True)
    return target
