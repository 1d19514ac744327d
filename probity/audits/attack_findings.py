"""What the attacks found, as findings: the strongest attack's numbers for the model, and each attack's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probity.audits import exposure as exposure_of_rows
from probity.audits import one_run
from probity.audits.attack_canaries import Tried
from probity.audits.attack_plots import draw_exposures
from probity.audits.base import AuditInput
from probity.audits.intervals import bonferroni, normal_quantile
from probity.audits.likelihood_ratio import NAME, confidence_logits, likelihood_ratio
from probity.audits.membership import Attack, Sample, Strength, strength, true_positive_rate_at
from probity.canaries import read_array
from probity.findings import Estimate, Finding, finding_id
from probity.metric import metric

__all__ = ["bounds", "by_shadows", "exposure", "membership"]

FALSE_POSITIVE_RATES = (0.001, 0.01)
_FEWEST = 10
"""With fewer members or others in a group, a number would be about single rows."""


def by_shadows(sample: Sample, evidence: AuditInput) -> Iterator[Attack]:
    """Yields the likelihood-ratio attack if shadow models were trained."""
    if evidence.shadows is None:
        return
    trained_on = read_array(evidence.shadows, "trained_on").astype(bool)[:, sample.positions]
    shadows = read_array(evidence.shadows, "scores").astype(np.float64)[:, sample.positions]
    yield Attack(
        name=NAME,
        scores=likelihood_ratio(
            confidence_logits(sample.scores, sample.labels), confidence_logits(shadows, sample.labels), trained_on
        ),
    )


def membership(sample: Sample, attacks: tuple[Attack, ...], evidence: AuditInput) -> list[Finding]:
    """Returns the findings of all attacks, the strongest one's as those of the model, overall and by group."""
    confidence = evidence.settings.confidence
    measured = {
        attack.name: strength(attack.scores, sample.members, confidence=confidence, attacks=len(attacks))
        for attack in attacks
    }
    found = [(attack, measured[attack.name]) for attack in attacks if measured[attack.name] is not None]
    if not found:
        return []
    strongest, best = max(found, key=lambda entry: entry[1].auc[0] if entry[1] else 0.0)
    method = f"DeLong, Bonferroni over {len(attacks)} attacks"
    findings = [*_of_strength(best, confidence=confidence, method=method)]
    findings += _rates(strongest, sample, confidence=bonferroni(confidence, len(attacks)), together=confidence)
    for attack, each in found:
        findings += _of_strength(each, confidence=confidence, method=method, attack=attack.name)
    for slice_, rows in _slices(sample, evidence):
        findings += _in_slice(strongest, sample, rows, slice_, evidence)
    return findings


def _of_strength(
    found: Strength | None,
    *,
    confidence: float,
    method: str,
    attack: str | None = None,
    slice_: dict[str, str] | None = None,
    reason: str | None = None,
    rows: int = 0,
) -> Iterator[Finding]:
    triples = {
        "membership_auc": (None if found is None else found.auc, method, 0.5),
        "membership_advantage": (None if found is None else found.advantage, "Dvoretzky-Kiefer-Wolfowitz", 0.0),
    }
    for name, (triple, how, neutral) in triples.items():
        value, lower, upper = triple or (None, None, None)
        yield Finding(
            id=finding_id("attacks", name, attack=attack, slice_=slice_),
            metric=name,
            attack=attack,
            slice=slice_ or {},
            estimate=Estimate(
                value=value,
                lower=lower,
                upper=upper,
                confidence=None if value is None else confidence,
                method=how,
                n=rows if found is None else found.members + found.others,
            ),
            direction=metric(name).direction,
            neutral=neutral,
            evidence="sufficient" if reason is None else "insufficient",
            reason=reason,
        )


def _rates(attack: Attack, sample: Sample, *, confidence: float, together: float) -> Iterator[Finding]:
    name = "membership_true_positive_rate"
    others = int((~sample.members).sum())
    for rate in FALSE_POSITIVE_RATES:
        found = true_positive_rate_at(attack.scores, sample.members, false_positive_rate=rate, confidence=confidence)
        value, lower, upper = found or (None, None, None)
        yield Finding(
            id=finding_id("attacks", name, threshold=rate),
            metric=name,
            threshold=rate,
            estimate=Estimate(
                value=value,
                lower=lower,
                upper=upper,
                confidence=None if value is None else together,
                method="Clopper-Pearson at thresholds from order statistics",
                n=int(sample.members.sum()),
            ),
            direction=metric(name).direction,
            neutral=rate,
            evidence="sufficient" if found else "insufficient",
            reason=None if found else f"{others} rows that were not trained on are too few for a rate of {rate:g}",
        )


def _slices(sample: Sample, evidence: AuditInput) -> Iterator[tuple[dict[str, str], npt.NDArray[np.bool_]]]:
    """Yields each group of each sensitive attribute, each label, and rows that the model is right or wrong about."""
    for attribute, groups in sample.names.items():
        for i, group in enumerate(groups):
            yield {attribute: group}, sample.groups[attribute] == i
    taken = set(sample.names)
    by_label = "label" if "label" not in taken else "label (as trained)"
    yield {by_label: "positive"}, sample.labels
    yield {by_label: "negative"}, ~sample.labels
    right = (sample.scores > evidence.settings.decision_threshold) == sample.labels
    by_prediction = "prediction" if "prediction" not in taken else "prediction (of the model)"
    yield {by_prediction: "correct"}, right
    yield {by_prediction: "wrong"}, ~right


def _in_slice(
    attack: Attack, sample: Sample, rows: npt.NDArray[np.bool_], slice_: dict[str, str], evidence: AuditInput
) -> Iterator[Finding]:
    members = sample.members[rows]
    found = strength(attack.scores[rows], members, confidence=evidence.settings.confidence)
    fewest, minimum = int(min(members.sum(), (~members).sum())), evidence.settings.min_group_size
    reason = None
    if found is None or fewest < _FEWEST:
        found, reason = None, f"fewer than {_FEWEST} members or others"
    elif fewest < minimum:
        reason = f"fewer than {minimum} members or others"
    yield from _of_strength(
        found,
        confidence=evidence.settings.confidence,
        method="DeLong",
        slice_=slice_,
        reason=reason,
        rows=int(rows.sum()),
    )


def bounds(canaries: list[Tried], evidence: AuditInput, *, delta: float) -> Iterator[Finding]:
    """Yields a bound for each kind of canary, all of them together at the stated confidence, and the largest."""
    confidence = evidence.settings.confidence
    found = [
        one_run.lower_bound(
            entry.scores,
            entry.included,
            delta=delta,
            confidence=bonferroni(confidence, len(canaries)),
            seed=evidence.seed,
        )
        for entry in canaries
    ]
    largest = max(range(len(found)), key=lambda i: found[i].epsilon)
    name = "audited_epsilon_lower_bound"
    named: list[tuple[str | None, int]] = [(None, largest), *((e.name, i) for i, e in enumerate(canaries))]
    for attack, i in named:
        yield Finding(
            id=finding_id("attacks", name, attack=attack),
            metric=name,
            attack=attack,
            estimate=Estimate(
                value=found[i].epsilon,
                lower=found[i].epsilon,
                upper=math.inf,
                confidence=confidence,
                method=f"one training run (Steinke et al. 2023), {found[i].guesses.made:,} guesses",
                n=found[i].guesses.canaries,
            ),
            direction=metric(name).direction,
            neutral=0.0,
        )


def exposure(rows: Tried, evidence: AuditInput, *, workdir: Path) -> list[Finding]:
    """Returns mean and largest exposure of the planted rows, and draws all of them."""
    found, ranks = exposure_of_rows.exposures(rows.scores, rows.included, seed=evidence.seed)
    references = int((~rows.included).sum())
    if len(found) < 2 or references < 2:
        return []
    draw_exposures(
        workdir / "exposure.svg",
        found,
        largest=exposure_of_rows.largest_exposure(references),
        expected_mean=exposure_of_rows.null_mean(references),
    )
    confidence, mean = evidence.settings.confidence, float(found.mean())
    spread = exposure_of_rows.mean_variance(rows.scores, rows.included, seed=evidence.seed)
    half = normal_quantile(confidence) * math.sqrt(spread)
    lower, upper = mean - half, mean + half
    estimates = {
        "exposure": Estimate(
            value=mean, lower=lower, upper=upper, confidence=confidence, method="normal, both samples", n=len(found)
        ),
        "largest_exposure": Estimate(
            value=float(found.max()), method=f"rank {int(ranks.min())} of {references + 1:,}", n=len(found)
        ),
    }
    return [
        Finding(
            id=finding_id("attacks", name),
            metric=name,
            estimate=estimate,
            direction=metric(name).direction,
            neutral=exposure_of_rows.null_mean(references) if name == "exposure" else None,
        )
        for name, estimate in estimates.items()
    ]
