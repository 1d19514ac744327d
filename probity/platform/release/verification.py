"""Checks a released version, offline, with public keys only: every byte, every statement, and what follows from them.

What a pass means: holders of trusted keys state that these bytes are the model that was audited, that the card speaks
of it, that the gate's policy let it through and that the reviewers whom the policy asked for approved exactly this
evidence. What no signature can mean: that the statements are true. Whoever holds the release key can sign anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from probity.claims import (
    CLAIMS,
    AuditClaim,
    CardClaim,
    Claim,
    DatasetClaim,
    DecisionClaim,
    ReleaseClaim,
    TrainingClaim,
)
from probity.decision import GateDecision, Release
from probity.digest import digest_bytes, digest_file, digest_json
from probity.errors import SignatureError
from probity.history import parse_time
from probity.keys import TrustedKeys
from probity.platform.release.model_signature import MODEL_SIGNATURE, model_signature_problem
from probity.platform.release.permission import approval_problems, waiver_problems
from probity.release_policy import SigningConfig
from probity.signed_log import Line, read_lines

__all__ = ["EXTRA", "Problem", "Verification", "parse_claims", "require_verified", "verify"]

EXTRA = "assets.extra/probity"
"""Where a version holds what is not the SavedModel: the SavedModel's own place for extra files."""

_CLAIM: TypeAdapter[Claim] = TypeAdapter(Claim)
_ORDER = ("dataset", "training", "audit", "card", "decision", "approval", "waiver", "release")


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was signed."""

    where: str
    """A file, a line of the claims, or a pair of statements."""
    what: str
    expired: bool = False
    """Whether it is no more than old: everything is as it was signed, and no longer counts."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of checking a version."""

    path: Path
    release: Release | None
    """What the signed claims say was released; ``None`` if they do not say."""
    problems: tuple[Problem, ...]
    claims: tuple[Claim, ...] = ()
    """The statements that were signed by trusted keys, oldest first."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def intact(self) -> bool:
        """Whether everything is as it was signed, be it expired."""
        return all(problem.expired for problem in self.problems)


def verify(
    path: Path,
    *,
    trusted_keys: TrustedKeys,
    now: datetime | None = None,
    signing: SigningConfig | None = None,
    placed: bool = True,
) -> Verification:
    """Checks a version's folder against what was signed. Reads nothing outside of it, and asks nobody.

    Guarantees: every file of the version is named in a signed statement with its digest, and every file that is there
    is named; a change of any byte, a file more or less, a symbolic link, a line of the claims that was changed,
    dropped, added or moved, a version under another number or model name, each is a problem that says where. Never
    raises for what is in the folder.

    Args:
        path: ``<model_name>/<version>``.
        trusted_keys: Release keys that are believed, by id.
        now: The time at which nothing may be expired; absent: now.
        signing: Where the SavedModel was not signed by one of the keys: by whom it must have been.
        placed: Whether the folder must lie under the version's own number and model name.
    """
    if not path.is_dir() or path.is_symlink():
        problem = Problem(path.name, "not a folder" if not path.is_symlink() else "a symbolic link")
        return Verification(path=path, release=None, problems=(problem,))
    files, problems = _files(path)
    lines, broken = _claim_lines(path, trusted_keys)
    claims, unread = parse_claims(lines)
    problems += [Problem(*part) for part in (*broken, *unread)]
    last = claims[-1] if claims else None
    if not isinstance(last, ReleaseClaim):
        problems.append(Problem(CLAIMS, "no release is stated in its last line"))
        return Verification(path=path, release=None, problems=tuple(problems), claims=claims)
    problems += _file_problems(files, last)
    problems += _place_problems(path, last.release, placed=placed)
    problems += _claim_problems(claims, lines, last)
    problems += _evidence_problems(path / EXTRA, claims, last)
    wrong = model_signature_problem(
        path, path / EXTRA / MODEL_SIGNATURE, keys=tuple(trusted_keys.values()), signing=signing
    )
    if wrong is not None:
        problems.append(Problem(f"{EXTRA}/{MODEL_SIGNATURE}", wrong))
    if last.expires_at is not None and parse_time(last.expires_at) <= (now or datetime.now(UTC)):
        problems.append(Problem("evidence", f"it expired on {last.expires_at}; audit the model again", expired=True))
    return Verification(path=path, release=last.release, problems=tuple(problems), claims=claims)


def require_verified(path: Path, *, trusted_keys: TrustedKeys, signing: SigningConfig | None = None) -> Release:
    """Returns what was released, if the version verifies.

    Raises:
        SignatureError: With the first problem, if there is one.
    """
    found = verify(path, trusted_keys=trusted_keys, signing=signing)
    if found.release is None or not found.ok:
        raise SignatureError(
            f"{path.parent.name}/{path.name}",
            seen=f"{found.problems[0]} ({len(found.problems)} problems in all)",
            allowed="a version as it was released, signed by a key that is trusted here",
            remedy="see every problem with: probity verify PATH, and restore the version or roll back to another",
        )
    return found.release


def parse_claims(lines: tuple[Line, ...]) -> tuple[tuple[Claim, ...], tuple[tuple[str, str], ...]]:
    """Reads the statements of a ``claims.jsonl`` whose lines verify.

    Returns:
        The statements up to the first that cannot be read, and what was wrong with that one.
    """
    claims: list[Claim] = []
    for line in lines:
        try:
            claims.append(_CLAIM.validate_python({**line.facts, "kind": line.kind}))
        except ValidationError:
            return tuple(claims), ((f"{CLAIMS}, line {line.number}", "no statement that this version knows"),)
    return tuple(claims), ()


# --- files ----------------------------------------------------------------------------------------------------------


def _files(path: Path) -> tuple[dict[str, str], list[Problem]]:
    files, problems = {}, []
    for entry in sorted(path.rglob("*")):
        name = entry.relative_to(path).as_posix()
        if entry.is_symlink():
            problems.append(Problem(name, "a symbolic link, whose target may change unseen"))
        elif entry.is_file():
            files[name] = digest_file(entry)
        elif not entry.is_dir():
            problems.append(Problem(name, "neither a file nor a folder"))
    return files, problems


def _claim_lines(path: Path, keys: TrustedKeys) -> tuple[tuple[Line, ...], list[tuple[str, str]]]:
    try:
        content = (path / EXTRA / CLAIMS).read_bytes()
    except OSError:
        return (), [(CLAIMS, "absent; without signed claims nothing is known about this version")]
    lines, problems = read_lines(content, keys, name=CLAIMS)
    broken = [(where, what) for where, _, what in (problem.partition(": ") for problem in problems)]
    if not content.endswith(b"\n"):
        broken.append((CLAIMS, "it does not end with a line end"))
    return lines, broken


def _file_problems(files: dict[str, str], claim: ReleaseClaim) -> Iterator[Problem]:
    stated, claims = dict(claim.files), f"{EXTRA}/{CLAIMS}"
    for name, digest in files.items():
        if name == claims:
            continue
        if name not in stated:
            yield Problem(name, "it is not part of what was released")
        elif stated.pop(name) != digest:
            yield Problem(name, "it was changed after it was released")
    for name in stated:
        if name not in files:
            yield Problem(name, "absent")


def _place_problems(path: Path, release: Release, *, placed: bool) -> Iterator[Problem]:
    if placed and path.name != str(release.version):
        yield Problem(path.name, f"the folder holds version {release.version} and has another number")
    if placed and path.resolve().parent.name != release.model_name:
        yield Problem(path.name, f"the folder holds a version of model {release.model_name} and lies below another")
    written = _json(path / EXTRA / "RELEASE.json")
    if written != release.to_json():
        yield Problem(f"{EXTRA}/RELEASE.json", "it does not say what the signed claims say")


# --- statements -----------------------------------------------------------------------------------------------------


def _claim_problems(claims: tuple[Claim, ...], lines: tuple[Line, ...], last: ReleaseClaim) -> Iterator[Problem]:
    """Whether the statements are all there, in their order, and about one model."""
    release = last.release
    for line, claim in zip(lines, claims, strict=False):
        where = f"{CLAIMS}, line {line.number}"
        if line.subject != release.model or line.name != release.model_name:
            yield Problem(where, "it is about another model than the release")
        if isinstance(claim, ReleaseClaim) and (claim.release.model, claim.release.run) != (release.model, release.run):
            yield Problem(where, "it releases another model")
    kinds = [claim.kind for claim in claims]
    if kinds != sorted(kinds, key=_ORDER.index):
        yield Problem(CLAIMS, "the statements are not in their order")
    for kind in ("dataset", "training", "card", "decision"):
        if kinds.count(kind) != 1:
            yield Problem(CLAIMS, f"{kinds.count(kind)} statements about the {kind}, where one is needed")
    earlier = [claim.release.version for claim in claims[:-1] if isinstance(claim, ReleaseClaim)]
    if (release.restores is None) == bool(earlier) or (earlier and release.restores != earlier[-1]):
        yield Problem(CLAIMS, "the version that was restored is not the one whose claims these are")


def _evidence_problems(extra: Path, claims: tuple[Claim, ...], last: ReleaseClaim) -> Iterator[Problem]:
    """Whether card, decision and audits say the same as the statements about them, and let the model through."""
    one = {claim.kind: claim for claim in claims}
    release, decision = last.release, _decision(extra / "10_decision.json")
    card, stated, data = one.get("card"), one.get("decision"), one.get("dataset")
    if decision is None or not isinstance(stated, DecisionClaim):
        yield Problem("10_decision.json", "no readable decision")
        return
    if not decision.record_digest() == stated.decision == release.decision:
        yield Problem("10_decision.json", "not the decision that was signed")
    if (decision.verdict, stated.verdict) != ("release", "release"):
        yield Problem("10_decision.json", "the gate says hold")
    if decision.model != release.model or decision.card != release.card:
        yield Problem("10_decision.json", "it is about another model, or another card")
    seen = stated.files.get("07_model/saved_model"), stated.files.get("09_card/card.json")
    if digest_json(stated.files) != stated.evidence or seen != (release.model, release.card):
        yield Problem("decision", "the evidence that was decided on is not what was released")
    if digest_bytes(stated.policy.encode()) != decision.policy:
        yield Problem("policy", "the policy that was signed is not the one that was applied")
    if isinstance(card, CardClaim):
        yield from _card_problems(extra, card, claims, release)
    if isinstance(data, DatasetClaim) and data.content != release.dataset:
        yield Problem("dataset", "the release names other data than the statement about the data")
    training = one.get("training")
    if isinstance(training, TrainingClaim) and training.run != release.run:
        yield Problem("training", "it is about another run than the release")
    yield from (Problem("approval", what) for what in approval_problems(claims, stated, release))
    yield from (Problem("waiver", what) for what in waiver_problems(claims, decision, last))


def _card_problems(extra: Path, claim: CardClaim, claims: tuple[Claim, ...], release: Release) -> Iterator[Problem]:
    card: Any = _json(extra / "card.json")
    if claim.files.get("card.json") != release.card:
        yield Problem("card.json", "not the card that was signed")
    if not isinstance(card, dict) or card.get("reports") != claim.reports:
        yield Problem("card.json", "it was made from other reports than those that were signed")
        return
    if (card.get("subject") or {}).get("model") != release.model:
        yield Problem("card.json", "it is about another model")
    audits = {claim.audit: claim.report for claim in claims if isinstance(claim, AuditClaim)}
    for name, digest in claim.reports.items():
        if audits.get(name) != digest:
            yield Problem(f"audit {name}", "the card rests on another report than the one that was signed")
    data = next((claim for claim in claims if isinstance(claim, DatasetClaim)), None)
    tested = (card.get("subject") or {}).get("examples")
    if data is not None and tested != data.splits.get("test"):
        yield Problem("card.json", "it was measured on other rows than the signed test split")


def _decision(path: Path) -> GateDecision | None:
    try:
        return GateDecision.from_json(_json(path))
    except ValidationError:
        return None


def _json(path: Path) -> object:
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value
