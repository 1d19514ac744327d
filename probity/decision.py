"""The gate's nouns: the policy it applies, each check, the decision, and the release that may follow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from probity.record import Digest, Number, Record
from probity.release_policy import Approval
from probity.rule import JudgedBy, Rule, Severity
from probity.task import Task

__all__ = ["APPROVAL", "ON_UNCLEAR", "RISK_ANSWERS", "Check", "GateDecision", "GatePolicy", "Recipe", "Release"]

APPROVAL = "approval"
"""Name of the check of what people approved."""
ON_UNCLEAR = "where the data cannot judge a rule"
"""Ends what that check requires where an approval may also lift such rules."""
RISK_ANSWERS = "risk answers"
"""Name of the check of what the owner said about risk. No approval stands in for it."""


class GatePolicy(Record):
    """What a release needs, fully resolved: nothing is looked up elsewhere when the gate decides."""

    schema_version: Literal[1] = 1
    rules: tuple[Rule, ...]
    """Every rule must pass. Rates carry their threshold."""
    decision_threshold: float
    attributes: dict[str, tuple[str, ...]]
    """Declared sensitive attributes and their groups: a slice outside them is an error, not an empty result."""
    required_reports: tuple[str, ...]
    """Audits whose report must be there and complete (or, where an audit may say so, not applicable)."""
    task: Task = "binary"
    classes: tuple[str, ...] = ()
    """The classes of a multi-class label: a rule on another one is an error."""
    approval: Approval = Approval()
    judged_by: JudgedBy = "interval"
    """Whether a rule must hold for the whole interval, or for the value alone."""
    uncovered_preprocessing: Literal["forbidden", "allowed"] = "forbidden"
    require_risk_answers: bool = Field(default=False, exclude_if=lambda required: not required)
    """Whether the card must answer every question on risk."""
    expires_after_days: dict[str, int] = Field(default={}, exclude_if=lambda days: not days)
    """Audit to the number of days for which its report counts."""

    @property
    def joint_statements(self) -> int:
        """How many rules can be judged by an interval."""
        return sum(rule.is_statistical for rule in self.rules)


class Check(Record):
    """One condition and how it came out."""

    rule: str
    outcome: Literal["pass", "fail", "insufficient_evidence", "error"]
    required: str
    """The condition in words, for example ``ratio >= 0.8``."""
    observed: Number | None = None
    lower: Number | None = None
    upper: Number | None = None
    evidence: tuple[str, ...] = ()
    """Ids of the findings it rests on."""
    reason: str
    severity: Severity = Field(default="block", exclude_if=lambda severity: severity == "block")
    """A check that does not pass holds the release, unless it only warns."""
    lifted_by: Literal["waiver", "approval"] | None = Field(default=None, exclude_if=lambda by: by is None)
    """What lets the release happen although the check did not pass: somebody answers for it, by name and signature."""

    @model_validator(mode="after")
    def _pass_needs_evidence(self) -> Check:
        if self.outcome == "pass" and not self.evidence:
            raise ValueError("a check passes on evidence only")
        if self.lifted_by is not None and self.outcome not in ("fail", "insufficient_evidence"):
            raise ValueError("what passed needs no lifting, and what could not be judged cannot be lifted")
        return self

    @property
    def blocks(self) -> bool:
        """Whether it holds the release."""
        return self.outcome != "pass" and self.severity == "block" and self.lifted_by is None


class GateDecision(Record):
    """The verdict with every check (``10_decision.json``), written on "hold" as well.

    Guarantees: the verdict is ``release`` only if at least one check passed, and every other one passed too, only
    warns, or was lifted by somebody who signed for it; a decision that says otherwise cannot be built or read.
    """

    schema_version: Literal[1] = 1
    verdict: Literal["release", "hold"]
    model: Digest | None
    """Digest of the candidate's SavedModel; ``None`` if there was no readable model record."""
    policy: Digest
    """Digest of the policy that was applied."""
    card: Digest | None
    """Digest of the card that the reader will see."""
    checks: tuple[Check, ...]

    @model_validator(mode="after")
    def _fails_closed(self) -> GateDecision:
        passed = any(check.outcome == "pass" for check in self.checks) and not self.blocking
        if (self.verdict == "release") != passed:
            raise ValueError("the verdict does not follow from the checks")
        if self.verdict == "release" and (self.model is None or self.card is None):
            raise ValueError("a release needs a model and a card")
        return self

    @property
    def blocking(self) -> tuple[Check, ...]:
        """The checks that hold the release."""
        return tuple(check for check in self.checks if check.blocks)

    @property
    def waits_for_approval(self) -> bool:
        """Whether approvals are all that a held run lacks: none was given yet, and nothing else holds it."""
        approval = next((check for check in self.checks if check.rule == APPROVAL), None)
        if approval is None or approval.outcome != "insufficient_evidence":
            return False
        others = [check for check in self.blocking if check is not approval]
        liftable = approval.required.endswith(ON_UNCLEAR)
        return all(
            liftable and check.outcome == "insufficient_evidence" and check.rule != RISK_ANSWERS for check in others
        )


class Recipe(Record):
    """What a model was made of, as far as its release number tells (one version of one is one model)."""

    architecture: str
    """Kind of the architecture, or the digest of the user's module."""
    hyperparameters: Digest
    """Digest of everything that was set: layers, trainer and its settings, transform."""
    data: Digest
    """Content digest of the data."""


class Release(Record):
    """A version in TensorFlow Serving's layout (``11_release.json``, and ``RELEASE.json`` inside the version)."""

    schema_version: Literal[1] = 1
    run: str
    model_name: str
    version: int
    """Epoch seconds of the push, or the next free number after it."""
    path: str
    """The version's folder, relative to the config file."""
    model: Digest
    """Digest of the pushed SavedModel: equal to the audited one."""
    card: Digest
    decision: Digest
    dataset: Digest
    """Content digest of the data."""
    released_at: str
    """UTC, ISO 8601."""
    number: str | None = Field(default=None, exclude_if=lambda number: number is None)
    """Release number ``pipeline.major.minor``: another architecture, other hyper-parameters, other data."""
    recipe: Recipe | None = Field(default=None, exclude_if=lambda recipe: recipe is None)
    """What the release number is counted by."""
    restores: int | None = Field(default=None, exclude_if=lambda version: version is None)
    """After a rollback: the earlier version whose bytes these are."""
