"""What people sign: reviewers approve or reject a run, owners answer for a rule that is not kept.

A review names the digest of the exact evidence that its reviewer looked at. Any later change of that evidence - a
report, the card, the config, the decision - gives another digest, and the review no longer counts; so a review cannot
be used for another run, and not again for the same one once something changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from probity.digest import digest_bytes
from probity.errors import SignatureError
from probity.history import Moment
from probity.keys import PublicKey, Signer, parse_public_key, trusted
from probity.record import Digest, Record
from probity.signing import seal, unseal

__all__ = [
    "Review",
    "Reviewer",
    "Reviewers",
    "SealedReview",
    "SealedWaiver",
    "Waiver",
    "quorum_problem",
    "seal_review",
    "seal_waiver",
    "unseal_review",
    "unseal_waiver",
]

_STATEMENT = "https://in-toto.io/Statement/v1"


class Review(Record):
    """A reviewer's word on one run."""

    schema_version: Literal[1] = 1
    run: str
    model_name: str
    model: Digest
    evidence: Digest
    """Digest of everything that was there to look at."""
    outcome: Literal["approve", "reject"]
    reviewer: str = Field(min_length=1)
    at: Moment
    comment: str = ""


class Waiver(Record):
    """Somebody answers, until a day, for a rule that a model does not keep."""

    schema_version: Literal[1] = 1
    model_name: str
    rule: str = Field(min_length=1)
    """Name of the rule, as the config has it."""
    condition: Digest
    """Digest of the rule as it was answered for, its threshold resolved: a rule that has come to ask for something else
    under the same name is not waived."""
    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    until: Moment
    """From then on the rule counts again."""
    at: Moment


class Reviewer(Record):
    """Somebody whose word counts."""

    name: str = Field(min_length=1)
    key: str
    """Public key in PEM, P-256 or Ed25519."""
    users: tuple[str, ...] = ()
    """Names under which the machines know them: whoever started a run may not approve it alone."""
    may_waive: bool = False
    """Whether they may answer for a rule that is not kept."""

    @field_validator("key")
    @classmethod
    def _is_key(cls, pem: str) -> str:
        return parse_public_key(pem).pem

    @property
    def public(self) -> PublicKey:
        """Their public key."""
        return parse_public_key(self.key)


class Reviewers(Record):
    """The reviewers of a project (``reviewers.yaml``)."""

    schema_version: Literal[1] = 1
    reviewers: tuple[Reviewer, ...] = ()

    @model_validator(mode="after")
    def _all_different(self) -> Reviewers:
        names = [reviewer.name for reviewer in self.reviewers]
        if len(set(names)) < len(names):
            raise ValueError("two reviewers have the same name")
        if len({reviewer.key for reviewer in self.reviewers}) < len(names):
            raise ValueError("two reviewers have the same key, so one person could approve twice")
        return self

    @property
    def keys(self) -> dict[str, PublicKey]:
        """All their public keys, by id."""
        return trusted(*(reviewer.public for reviewer in self.reviewers))

    def by_key(self, keyid: str) -> Reviewer | None:
        """Returns whose key this is."""
        return next((reviewer for reviewer in self.reviewers if reviewer.public.keyid == keyid), None)

    def who_started(self, user: str | None, *, release_keys: Collection[str]) -> tuple[str, ...]:
        """Returns the reviewers who are this user of the machine, or hold a key (by id) that signs releases."""
        return tuple(
            reviewer.name
            for reviewer in self.reviewers
            if user in (reviewer.name, *reviewer.users) or reviewer.public.keyid in release_keys
        )


@dataclass(frozen=True)
class SealedReview:
    """A review with the line that proves it."""

    review: Review
    line: str
    keyid: str

    @property
    def digest(self) -> str:
        """Digest of the sealed line."""
        return digest_bytes(self.line.encode())


@dataclass(frozen=True)
class SealedWaiver:
    """A waiver with the line that proves it."""

    waiver: Waiver
    line: str
    owner: PublicKey


def seal_review(review: Review, signer: Signer) -> str:
    """Returns the review as its reviewer seals it."""
    return _sealed("review", review, review.model, review.model_name, signer)


def seal_waiver(waiver: Waiver, signer: Signer) -> str:
    """Returns the waiver as its owner seals it."""
    return _sealed("waiver", waiver, digest_bytes(waiver.model_name.encode()), waiver.model_name, signer)


def unseal_review(line: str, reviewers: Reviewers) -> SealedReview:
    """Returns a review that one of the reviewers sealed in their own name.

    Raises:
        SignatureError: If it is not, or not in this version's form.
    """
    facts, keyid = _unsealed("review", line, reviewers)
    try:
        review = Review.from_json(facts)
    except ValidationError as error:
        raise _unreadable("review") from error
    _require_own(reviewers, keyid, review.reviewer, "review")
    return SealedReview(review=review, line=line, keyid=keyid)


def unseal_waiver(line: str, reviewers: Reviewers) -> SealedWaiver:
    """Returns a waiver that one of the reviewers sealed in their own name, who may waive.

    Raises:
        SignatureError: If it is not, or not in this version's form.
    """
    facts, keyid = _unsealed("waiver", line, reviewers)
    try:
        waiver = Waiver.from_json(facts)
    except ValidationError as error:
        raise _unreadable("waiver") from error
    owner = _require_own(reviewers, keyid, waiver.owner, "waiver")
    if not owner.may_waive:
        raise SignatureError(
            f"waiver of rule {waiver.rule}",
            seen=f"sealed by {owner.name}, who may not waive",
            allowed="a reviewer with may_waive: true in reviewers.yaml",
            remedy="ask somebody who may, or change reviewers.yaml",
        )
    return SealedWaiver(waiver=waiver, line=line, owner=owner.public)


def quorum_problem(approved: Collection[str], *, quorum: int, started_by: Iterable[str]) -> str | None:
    """Returns why these approvals are not enough, or ``None``.

    Whoever started the run counts, but not alone: with one approval needed it must be another's.
    """
    people, own = set(approved), set(started_by)
    if len(people) < quorum:
        return f"{len(people)} of {quorum} needed approvals"
    if not people - own:
        return "nobody but whoever started the run approved it"
    return None


def _sealed(kind: str, record: Record, subject: str, name: str, signer: Signer) -> str:
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": subject.removeprefix("sha256:")}}],
        "predicateType": f"urn:probity:v1:{kind}",
        "predicate": record.to_json(),
    }
    return seal(statement, signer).decode()


def _unsealed(kind: str, line: str, reviewers: Reviewers) -> tuple[Any, str]:
    sealed = unseal(line.encode(), reviewers.keys, name=kind)
    if sealed.payload.get("predicateType") != f"urn:probity:v1:{kind}":
        raise _unreadable(kind)
    return sealed.payload.get("predicate"), sealed.keyid


def _unreadable(kind: str) -> SignatureError:
    return SignatureError(
        kind,
        seen="another kind of statement",
        allowed=f"a {kind} as this version writes it",
        remedy="sign it again",
    )


def _require_own(reviewers: Reviewers, keyid: str, name: str, kind: str) -> Reviewer:
    reviewer = reviewers.by_key(keyid)
    if reviewer is None or reviewer.name != name:
        raise SignatureError(
            kind,
            seen="it names another person than the one whose key sealed it",
            allowed="a statement in the name of the key's owner",
            remedy="sign it again",
        )
    return reviewer
