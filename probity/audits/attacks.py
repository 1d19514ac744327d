"""The attacks audit: privacy measured from below, by attacking the model that would be released.

An epsilon is a promise from above. Here the promise is tried: membership inference on rows of the data, exposure of
planted rows, and a lower confidence bound on epsilon from which canaries can be told to have been in the one training
that there was. The audit knows nothing of the promise; the gate compares the two and believes neither alone.

Every estimator is tried on scores whose truth is known before it speaks (:mod:`probity.audits.self_check`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probity.audits import self_check
from probity.audits.accounting import default_delta
from probity.audits.attack_canaries import PLANTED_ROWS, Tried, planted_gradients, planted_rows, split_rows
from probity.audits.attack_findings import bounds, by_shadows, exposure, membership
from probity.audits.attack_plots import draw_roc
from probity.audits.attack_sample import NothingToAttackError, draw_sample
from probity.audits.attack_words import ASSUMPTIONS, bound_words, exposure_words, membership_words
from probity.audits.base import AuditInput
from probity.audits.intervals import bonferroni
from probity.audits.membership import Sample, run_attacks
from probity.errors import DataError
from probity.findings import AuditReport, Finding

if TYPE_CHECKING:
    from probity.audits.self_check import SelfCheck

__all__ = ["AttacksAudit"]

_CHECKED_CANARIES = 2000
"""The self check needs no more: the estimator is the same, and its error does not grow with their number."""


class AttacksAudit:
    """Membership inference, exposure, and a lower bound on epsilon.

    Guarantees: ``failed``, without a number, where an estimator does not pass its own check; ``not_applicable``, with
    the reason, where there is nothing to attack; equal evidence and seed give an equal report, whatever the order of
    the rows. Beside the report it keeps one SVG per plot.
    """

    name = "attacks"

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Attacks the model; see :class:`probity.audits.base.Audit`."""
        gaps: list[str] = []
        sample = _or_gap(draw_sample, evidence, gaps)
        try:
            rows = _or_gap(planted_rows, evidence, gaps)
            gradients = _or_gap(planted_gradients, evidence, gaps)
        except DataError as error:  # planted and not to be found: the evidence is not what the run set out to make
            return self._report(evidence, "failed", reasons=(f"{error.argument}: {error.seen}",))
        by_split = _or_gap(lambda given: split_rows(sample, given), evidence, gaps)
        canaries = [entry for entry in (by_split, rows, gradients) if entry is not None]
        if not canaries and sample is None:
            return self._report(evidence, "not_applicable", reasons=tuple(gaps))
        delta = evidence.model.target_delta or default_delta(evidence.model.num_train_units)
        problems = [
            f"the estimator of {check.estimator} failed its own check, so nothing is reported: {problem}"
            for check in _checks(evidence, canaries, sample, delta=delta)
            for problem in check.problems
        ]
        if problems:
            return self._report(evidence, "failed", reasons=tuple(problems))
        findings: list[Finding] = []
        reasons: list[str] = []
        if sample is not None:
            attacks = (*run_attacks(sample, seed=evidence.seed), *by_shadows(sample, evidence))
            found = membership(sample, attacks, evidence)
            findings += found
            reasons += membership_words(found, evidence)
            draw_roc(workdir / "membership_roc.svg", {a.name: a.scores for a in attacks}, sample.members)
        findings += bounds(canaries, evidence, delta=delta) if canaries else ()
        reasons += bound_words(canaries, findings, evidence, delta=delta)
        if rows is not None:
            found = exposure(rows, evidence, workdir=workdir)
            findings += found
            reasons += exposure_words(found)
        return self._report(evidence, "complete", reasons=(*reasons, *gaps, *ASSUMPTIONS), findings=tuple(findings))

    def _report(
        self, evidence: AuditInput, status: Any, *, reasons: tuple[str, ...], findings: tuple[Finding, ...] = ()
    ) -> AuditReport:
        return AuditReport(audit=self.name, status=status, subject=evidence.subject, reasons=reasons, findings=findings)


def _or_gap(make: Any, evidence: AuditInput, gaps: list[str]) -> Any:
    try:
        return make(evidence)
    except NothingToAttackError as error:
        gaps.append(f"{error.argument}: {error.seen}")
        return None


def _checks(evidence: AuditInput, canaries: list[Tried], sample: Sample | None, *, delta: float) -> Iterator[SelfCheck]:
    confidence, seed = evidence.settings.confidence, evidence.seed
    level = bonferroni(confidence, len(canaries))
    numbers = {min(len(entry.scores), _CHECKED_CANARIES) for entry in canaries}
    for number in sorted(numbers):
        yield self_check.check_one_run(canaries=number, delta=delta, confidence=level, seed=seed)
    if sample is not None:
        rows = min(len(sample.members), _CHECKED_CANARIES)
        yield self_check.check_membership(rows=rows, confidence=confidence, seed=seed)
    if any(entry.name == PLANTED_ROWS for entry in canaries):
        yield self_check.check_exposure(canaries=_CHECKED_CANARIES, seed=seed)
