"""The evidence of a run as one digest, how long it counts, and the statements that a release makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from probity import runs
from probity.claims import (
    ApprovalClaim,
    ApprovalTerms,
    AuditClaim,
    CardClaim,
    Claim,
    DatasetClaim,
    DecisionClaim,
    TrainingClaim,
    WaiverClaim,
)
from probity.decision import GateDecision, GatePolicy, Recipe
from probity.digest import canonical_json, digest_file, digest_json
from probity.history import EvidenceExpired, HistoryEntry, Moved, live_at, parse_time
from probity.review import SealedReview, SealedWaiver
from probity.run_reviews import CARD_FILES, evidence_digest, evidence_files
from probity.runs import RunFolder

__all__ = [
    "Evidence",
    "collect",
    "expired_audits",
    "outdated_comparison",
    "recipe_of",
]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a release states about its model."""

    claims: tuple[Claim, ...]
    """Everything but the release itself."""
    recipe: Recipe
    expires_at: str | None
    """When the first part of it expires; UTC, ISO 8601."""


def expired_audits(
    folder: RunFolder,
    policy: GatePolicy,
    history: tuple[Sequence[HistoryEntry], Sequence[str]],
    *,
    now: datetime,
) -> dict[str, str]:
    """Returns the audits whose reports no longer count, each with the reason.

    A report expires by its age, where the policy sets one, or because the history says so: monitoring found that the
    data have changed, or somebody asked for a new audit. A history that does not verify might say so: then nothing
    counts.

    Args:
        folder: The run.
        policy: Says how long a report counts.
        history: The model's, and what is wrong with it (:meth:`Project.history`).
        now: The time.
    """
    entries, problems = history
    if problems:
        return dict.fromkeys(policy.required_reports, f"the history of the model does not verify ({problems[0]})")
    expiries = _expiries(folder, policy)
    found = {name: f"it expired on {day}" for name, day in expiries.items() if day <= now}
    for name in policy.expires_after_days.keys() - expiries.keys():
        found[name] = "the policy lets it expire, and nothing on record says when it was made"
    for entry in entries:
        event = entry.event
        if isinstance(event, EvidenceExpired) and event.run == folder.id:
            for name in event.audits or policy.required_reports:
                found.setdefault(
                    name, f"{event.by} declared it expired on {event.at} ({event.why or 'no reason given'})"
                )
    return {name: reason.replace("+00:00", " UTC") for name, reason in found.items()}


def outdated_comparison(folder: RunFolder, policy: GatePolicy, history: Sequence[HistoryEntry]) -> dict[str, str]:
    """Returns the baseline audit with the reason, if a rule rests on it and another model than it saw is live.

    "The latest release" is the latest one when the gate decides, not when the run was audited: a run that waited while
    another one was released may be a step back from that. Nor does a release whose folder is gone or cannot be read
    count as none: the history says what is live.

    Args:
        folder: The run; one that was released was decided about before, and whatever was released since is no matter.
        policy: Says whether a rule compares with the latest release.
        history: The model's, oldest first.
    """
    report, live = folder.reports().get("baseline"), live_at(history)
    asked = any(name.startswith("change_from_baseline") for rule in policy.rules for name in rule.conditions)
    if not asked or report is None or live is None or not isinstance(live.event, Moved) or folder.release() is not None:
        return {}
    if live.model in (report.subject.baseline, folder.model().digest):
        return {}
    seen = "no release" if report.subject.baseline is None else "another release"
    return {
        "baseline": f"version {live.event.version} is live, and the candidate was compared with {seen} (if that "
        "version cannot be read, restore it or roll back)"
    }


def collect(
    folder: RunFolder,
    policy: GatePolicy,
    decision: GateDecision,
    *,
    reviews: Sequence[SealedReview] = (),
    waivers: Sequence[SealedWaiver] = (),
    terms: ApprovalTerms | None = None,
) -> Evidence:
    """Returns what a release of a run states, in the order of the flow.

    Args:
        folder: The run.
        policy: What the release needed.
        decision: The decision that it rests on.
        reviews: Approvals that it rests on.
        waivers: Waivers that lift checks of the decision.
        terms: Who could approve, where approval was needed.
    """
    expiries = _expiries(folder, policy)
    expiry = [*expiries.values(), *(parse_time(sealed.waiver.until) for sealed in waivers)]
    claims: list[Claim] = [_dataset(folder), _training(folder), *_audits(folder, expiries), _card(folder)]
    claims.append(
        DecisionClaim(
            decision=decision.record_digest(),
            verdict=decision.verdict,
            policy=canonical_json(policy.to_json()).decode(),
            evidence=evidence_digest(folder),
            files=evidence_files(folder),
            approval=terms,
        )
    )
    claims += [ApprovalClaim(sealed=review.line) for review in reviews]
    claims += [WaiverClaim(sealed=waiver.line, owner_key=waiver.owner.pem) for waiver in waivers]
    return Evidence(
        claims=tuple(claims), recipe=recipe_of(folder), expires_at=min(expiry).isoformat() if expiry else None
    )


def recipe_of(folder: RunFolder) -> Recipe:
    """Returns what the release number of a run's model is counted by."""
    config, dataset = folder.config(), folder.dataset()
    model = config.model.to_json()
    architecture = str(model.get("kind")) if model.get("module") is None else f"module {model['module']}"
    settings = {"model": model, "trainer": folder.model().settings, "name": folder.model().trainer}
    return Recipe(
        architecture=architecture,
        hyperparameters=digest_json({**settings, "transform": config.transform.to_json()}),
        data=dataset.content_digest,
    )


# --- statements -----------------------------------------------------------------------------------------------------


def _dataset(folder: RunFolder) -> DatasetClaim:
    dataset, files = folder.dataset(), folder.examples().files
    return DatasetClaim(
        name=dataset.name,
        content=dataset.content_digest,
        source=dataset.source_digest,
        num_rows=dataset.num_rows,
        splits={split: entry.digest for split, entry in files.items()},
    )


def _training(folder: RunFolder) -> TrainingClaim:
    model = folder.model()
    return TrainingClaim(
        run=folder.id,
        started_by=folder.provenance().get("started_by"),
        config=digest_file(folder.path / runs.CONFIG),
        model=digest_file(folder.path / runs.MODEL / "model.json"),
        trainer=model.trainer,
        mechanism=model.mechanism.to_json(),
        weights=model.weights,
        train_examples=model.train_examples,
        transform=model.transform,
    )


def _audits(folder: RunFolder, expiries: Mapping[str, datetime]) -> list[AuditClaim]:
    dates = _audit_dates(folder)
    return [
        AuditClaim(
            audit=name,
            status=report.status,
            report=report.record_digest(),
            examples=report.subject.examples,
            num_findings=len(report.findings),
            audited_at=dates[name].isoformat(),
            expires_at=expiries[name].isoformat() if name in expiries else None,
        )
        for name, report in sorted(folder.reports().items())
        if report is not None
    ]


def _card(folder: RunFolder) -> CardClaim:
    files = {name: digest_file(folder.path / runs.CARD / name) for name in CARD_FILES}
    return CardClaim(files=files, reports=folder.card().reports)


# --- age ------------------------------------------------------------------------------------------------------------


def _expiries(folder: RunFolder, policy: GatePolicy) -> dict[str, datetime]:
    dates = _audit_dates(folder)
    return {
        name: dates[name] + timedelta(days=days) for name, days in policy.expires_after_days.items() if name in dates
    }


def _audit_dates(folder: RunFolder) -> dict[str, datetime]:
    """Returns when each audit was made. One that was taken over from an earlier run is as old as that run."""
    dates = {}
    for receipt in folder.receipts():
        if f"{runs.AUDITS}/{receipt.stage}.json" in receipt.outputs:
            earlier = receipt.reused_from
            dates[receipt.stage] = parse_time(receipt.finished_at) if earlier is None else _created(earlier)
    return dates


def _created(run: str) -> datetime:
    return datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
