"""What is attested about a released model, statement by statement (``claims.jsonl``).

The file is a signed log (:mod:`probity.signed_log`) whose every line has the model's SavedModel as subject: the data,
the training, each audit, the card, the decision, the approvals and waivers it rests on, and last the release, which
names every file of the version. Reports stay in the run folder - they count small groups -, so an audit is attested by
its digest, which the card repeats.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from probity.decision import Release
from probity.record import Digest, Record

__all__ = [
    "CLAIMS",
    "ApprovalClaim",
    "ApprovalTerms",
    "AuditClaim",
    "CardClaim",
    "Claim",
    "DatasetClaim",
    "DecisionClaim",
    "ReleaseClaim",
    "TrainingClaim",
    "WaiverClaim",
]

CLAIMS = "claims.jsonl"


class DatasetClaim(Record):
    """The rows that the model was trained and audited on."""

    kind: Literal["dataset"] = "dataset"
    name: str
    content: Digest
    source: Digest
    num_rows: int = Field(ge=0)
    splits: dict[str, Digest]
    """Digest of the raw examples of each split."""


class TrainingClaim(Record):
    """How the model came about."""

    kind: Literal["training"] = "training"
    run: str
    started_by: str | None
    config: Digest
    """Digest of the resolved config."""
    model: Digest
    """Digest of the model's record, ``07_model/model.json``."""
    trainer: str
    mechanism: dict[str, Any]
    weights: Digest
    train_examples: Digest
    transform: Digest


class AuditClaim(Record):
    """One audit report."""

    kind: Literal["audit"] = "audit"
    audit: str
    status: Literal["complete", "not_applicable", "failed"]
    report: Digest
    """Digest of the report's JSON value, as the card repeats it."""
    examples: Digest | None
    """The rows that it was measured on."""
    num_findings: int = Field(ge=0)
    audited_at: str
    expires_at: str | None = None
    """From when on nothing may rest on it; UTC, ISO 8601."""


class CardClaim(Record):
    """The model card."""

    kind: Literal["card"] = "card"
    files: dict[str, Digest]
    reports: dict[str, Digest]


class ApprovalTerms(Record):
    """Who could approve, and how many had to."""

    quorum: int = Field(ge=1)
    reviewers: dict[str, str]
    """Reviewer to public key in PEM."""
    started_by: tuple[str, ...]
    """Reviewers who started the run; they do not count alone."""


class DecisionClaim(Record):
    """The gate's decision, the policy it applied, and the evidence that it saw."""

    kind: Literal["decision"] = "decision"
    decision: Digest
    verdict: Literal["release", "hold"]
    policy: str
    """The policy that was applied, as canonical JSON text: its digest is the one in the decision."""
    evidence: Digest
    """Digest of everything that was there to decide on; an approval names the same."""
    files: dict[str, str]
    """What that was: file of the run to its digest, or ``absent``."""
    approval: ApprovalTerms | None = None
    """``None``: no approval was needed."""


class ApprovalClaim(Record):
    """A reviewer's approval, as they sealed it."""

    kind: Literal["approval"] = "approval"
    sealed: str


class WaiverClaim(Record):
    """A waiver, as its owner sealed it, with the public key that the owner was known by."""

    kind: Literal["waiver"] = "waiver"
    sealed: str
    owner_key: str


class ReleaseClaim(Record):
    """The version that was made of it, and every file in it."""

    kind: Literal["release"] = "release"
    release: Release
    by: str
    why: str = ""
    files: dict[str, Digest]
    """Every file of the version but the claims themselves."""
    expires_at: str | None = None
    """When the first thing that the release rests on expires."""
    replaces: int | None = None
    """After a rollback: the version that was live until then."""


Claim = Annotated[
    DatasetClaim | TrainingClaim | AuditClaim | CardClaim | DecisionClaim | ApprovalClaim | WaiverClaim | ReleaseClaim,
    Field(discriminator="kind"),
]
