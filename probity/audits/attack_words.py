"""What the attacks found, in words: how well could an attacker do, and what does it not say?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from probity.audits import one_run, self_check
from probity.audits.attack_canaries import Tried
from probity.audits.base import AuditInput
from probity.audits.intervals import bonferroni
from probity.findings import Finding, finding_id

__all__ = ["ASSUMPTIONS", "bound_words", "exposure_words", "membership_words"]

ASSUMPTIONS = (
    "What an attacker is given: the row itself, its label and the model's score; and, for planted gradients, every "
    "noisy sum of the training. Attackers who know more, or who train models of their own to compare with, may do "
    "better: these numbers bound the leak from below and never from above.",
    "Membership of a row is taken to be a fair coin, which it is where the rows were split by hash or by chance. Rows "
    "that occur more than once are left out.",
)


def membership_words(findings: list[Finding], evidence: AuditInput) -> Iterator[str]:
    """Yields how well the strongest membership attack does, and which group is exposed most."""
    overall = next((f for f in findings if f.id == finding_id("attacks", "membership_auc")), None)
    if overall is None or overall.estimate.value is None:
        return
    value, lower = overall.estimate.value, overall.estimate.lower or 0.0
    named = next(f for f in findings if f.attack and f.metric == "membership_auc" and f.estimate == overall.estimate)
    strongest = str(named.attack).replace("_", " ")
    noticed = (
        "That is better than guessing." if lower > 0.5 else "These rows do not show that it is better than guessing."
    )
    yield (
        f"Shown one row that was trained on and one that was not, the strongest of the attacks ({strongest}) picks the "
        f"right one in {value:.1%} of all cases, where guessing gives 50 %. {noticed}"
    )
    groups = [
        f
        for f in findings
        if f.slice
        and f.metric == "membership_auc"
        and f.evidence == "sufficient"
        and set(f.slice) <= _attributes(evidence)
    ]
    if groups:
        most = max(groups, key=lambda f: f.estimate.value or 0.0)
        name, group = next(iter(most.slice.items()))
        yield (
            f"Of the groups that are large enough, {name}={group} is exposed most: AUC {most.estimate.value:.3f} "
            f"({most.estimate.lower:.3f} to {most.estimate.upper:.3f}). It was looked for, so its interval flatters it."
        )


def _attributes(evidence: AuditInput) -> set[str]:
    return {attribute.name for attribute in evidence.dataset.sensitive}


def bound_words(canaries: list[Tried], findings: list[Finding], evidence: AuditInput, *, delta: float) -> Iterator[str]:
    """Yields what each kind of canary shows, and what it could not have shown."""
    confidence = evidence.settings.confidence
    level = bonferroni(confidence, len(canaries))
    for entry in canaries:
        name = finding_id("attacks", "audited_epsilon_lower_bound", attack=entry.name)
        bound = next(finding.estimate.value for finding in findings if finding.id == name)
        number = len(entry.scores)
        noticed = self_check.detectable_epsilon(0.0, canaries=number, delta=delta, confidence=level, seed=evidence.seed)
        power = "any epsilon up to 32" if noticed is None else f"an epsilon below {noticed:g}"
        most = one_run.lower_bound(
            entry.included.astype(np.float64), entry.included, delta=delta, confidence=level, seed=evidence.seed
        )
        yield (
            f"From {number:,} {entry.words}: epsilon is at least {bound:.3g} at delta {delta:g}, with "
            f"{100 * confidence:g} % confidence. With so many, an attack that saw everything a Gaussian mechanism "
            f"gives away could miss {power}, and no attack could show more than {most.epsilon:.3g}."
        )


def exposure_words(findings: list[Finding]) -> Iterator[str]:
    """Yields what the planted rows' exposure means."""
    for finding in findings:
        if finding.metric == "exposure":
            estimate = finding.estimate
            yield (
                f"Planted rows have a mean exposure of {estimate.value:.2f} bits ({estimate.lower:.2f} to "
                f"{estimate.upper:.2f}); {finding.neutral:.2f} would be expected if the model knew nothing of them."
            )
