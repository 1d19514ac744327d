"""Checks a run's folder against what was attested when its model was released: the evidence itself, file by file.

A version holds digests of the reports and the data; the run's folder holds the reports and the data. Who has both can
follow the chain from the rows to the served bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from probity.claims import AuditClaim, Claim, DatasetClaim, DecisionClaim, ReleaseClaim
from probity.digest import digest_file
from probity.errors import DataError, DigestMismatchError
from probity.keys import TrustedKeys
from probity.platform.release.verification import Problem, Verification, parse_claims
from probity.run_reviews import evidence_files
from probity.runs import CLAIMS, EXAMPLES, RELEASE, RunFolder
from probity.signed_log import read_lines

__all__ = ["verify_run"]


def verify_run(folder: RunFolder, *, trusted_keys: TrustedKeys) -> Verification:
    """Checks a released run, offline.

    Guarantees: a change of any byte of the config, the data's record, the raw examples, the SavedModel or its record, a
    report, the card, the decision or the claims is a problem that names the file.

    Args:
        folder: The run.
        trusted_keys: Release keys that are believed, by id.
    """
    try:
        content = (folder.path / CLAIMS).read_bytes()
    except OSError:
        problem = Problem(CLAIMS, "absent; nothing is attested about a run that was not released")
        return Verification(path=folder.path, release=None, problems=(problem,))
    lines, broken = read_lines(content, trusted_keys, name=CLAIMS)
    claims, unread = parse_claims(lines)
    problems = [Problem(where, what) for where, _, what in (problem.partition(": ") for problem in broken)]
    problems += [Problem(*part) for part in unread]
    if not content.endswith(b"\n") or not claims or not isinstance(claims[-1], ReleaseClaim):
        problems.append(Problem(CLAIMS, "no release is stated in its last line"))
        return Verification(path=folder.path, release=None, problems=tuple(problems), claims=claims)
    release = claims[-1].release
    problems += _evidence_problems(folder, claims)
    try:
        recorded = folder.release()
    except DataError:
        recorded = None
    if recorded != release or release.run != folder.id:
        problems.append(Problem(RELEASE, "it does not say what the signed claims say"))
    return Verification(path=folder.path, release=release, problems=tuple(problems), claims=claims)


def _evidence_problems(folder: RunFolder, claims: tuple[Claim, ...]) -> Iterator[Problem]:
    reports = folder.reports()
    for claim in claims:
        if isinstance(claim, DecisionClaim):
            yield from _file_problems(folder, claim)
        elif isinstance(claim, DatasetClaim):
            yield from _example_problems(folder, claim)
        elif isinstance(claim, AuditClaim):
            report = reports.get(claim.audit)
            if report is None or report.record_digest() != claim.report:
                yield Problem(f"08_audits/{claim.audit}.json", "not the report that was signed")


def _file_problems(folder: RunFolder, claim: DecisionClaim) -> Iterator[Problem]:
    try:
        found = evidence_files(folder)
    except DigestMismatchError as error:
        yield Problem(error.argument, error.seen)
        return
    for name in sorted({*found, *claim.files}):
        if found.get(name, "absent") != claim.files.get(name, "absent"):
            yield Problem(name, "not what was decided on")


def _example_problems(folder: RunFolder, claim: DatasetClaim) -> Iterator[Problem]:
    try:
        files = folder.examples().files
    except DataError as error:
        yield Problem(error.argument, error.seen)
        return
    for split, digest in claim.splits.items():
        path = folder.path / EXAMPLES / files[split].path if split in files else None
        if path is None or not path.is_file() or digest_file(path) != digest:
            yield Problem(f"{EXAMPLES}/{split}", "not the rows that were signed")
