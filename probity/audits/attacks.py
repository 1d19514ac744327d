"""The attacks audit: privacy measured from below, by attacking the model that would be released.

An epsilon is a promise from above. Here the promise is tried: membership inference on rows of the data, exposure of
planted rows, and a lower confidence bound on epsilon from which canaries can be told to have been in the one training
that there was. The audit knows nothing of the promise; the gate compares the two and believes neither alone.

Every estimator is tried on scores whose truth is known before it speaks (:mod:`probity.audits.self_check`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probity.audits import exposure, one_run, self_check
from probity.audits.accounting import default_delta
from probity.audits.attack_plots import draw_exposures, draw_roc
from probity.audits.attack_sample import draw_sample
from probity.audits.base import AuditInput
from probity.audits.intervals import bonferroni, normal_mean
from probity.audits.likelihood_ratio import NAME, confidence_logits, likelihood_ratio
from probity.audits.membership import Attack, Sample, Strength, run_attacks, strength, true_positive_rate_at
from probity.canaries import GRADIENT_SCORES, LABELS, ROWS, Coins, read_array
from probity.errors import AuditError, DataError
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import metric

if TYPE_CHECKING:
    from probity.audits.self_check import SelfCheck

__all__ = ["AttacksAudit"]

FALSE_POSITIVE_RATES = (0.001, 0.01)
_CHECKED_CANARIES = 2000
"""The self check needs no more: the estimator is the same, and its error does not grow with their number."""

ASSUMPTIONS = (
    "What an attacker is given: the row itself, its label and the model's score; and, for planted gradients, every "
    "noisy sum of the training. Attackers who know more, or who train models of their own to compare with, may do "
    "better: these numbers bound the leak from below and never from above.",
    "Membership of a row is taken to be a fair coin, which it is where the rows were split by hash or by chance. Rows "
    "that occur more than once are left out.",
)


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
            rows = _or_gap(_planted_rows, evidence, gaps)
            gradients = _or_gap(_planted_gradients, evidence, gaps)
        except DataError as error:  # planted and not to be found: the evidence is not what the run set out to make
            return self._report(evidence, "failed", reasons=(f"{error.argument}: {error.seen}",))
        canaries = [entry for entry in (_split_rows(sample), rows, gradients) if entry is not None]
        if not canaries:
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
            attacks = (*run_attacks(sample, seed=evidence.seed), *_by_shadows(sample, evidence))
            found = _membership(sample, attacks, evidence)
            findings += found
            reasons += _membership_words(found, evidence)
            draw_roc(workdir / "membership_roc.svg", {a.name: a.scores for a in attacks}, sample.members)
        findings += _bounds(canaries, evidence, delta=delta)
        reasons += _bound_words(canaries, findings, evidence, delta=delta)
        if rows is not None:
            found = _exposure(rows, evidence, workdir=workdir)
            findings += found
            reasons += _exposure_words(found)
        return self._report(evidence, "complete", reasons=(*reasons, *gaps, *ASSUMPTIONS), findings=tuple(findings))

    def _report(
        self, evidence: AuditInput, status: Any, *, reasons: tuple[str, ...], findings: tuple[Finding, ...] = ()
    ) -> AuditReport:
        return AuditReport(audit=self.name, status=status, subject=evidence.subject, reasons=reasons, findings=findings)


# -- what is looked for ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Canaries:
    """Things that were or were not in the training, by a coin each.

    Attributes:
        name: Under which the bound is reported.
        words: What they are.
        scores: Higher where one looks more as if it had been in.
        included: The coins.
    """

    name: str
    words: str
    scores: npt.NDArray[np.float64]
    included: npt.NDArray[np.bool_]


def _or_gap(make: Any, evidence: AuditInput, gaps: list[str]) -> Any:
    try:
        return make(evidence)
    except AuditError as error:
        gaps.append(f"{error.argument}: {error.seen}")
        return None


def _split_rows(sample: Sample | None) -> _Canaries | None:
    if sample is None or len(sample.members) < one_run.MIN_CANARIES:
        return None
    return _Canaries(name="split_rows", words="rows of the data", scores=-sample.losses, included=sample.members)


def _planted_rows(evidence: AuditInput) -> _Canaries | None:
    """Scores the planted rows: one that was trained on has a smaller loss than the model would give it otherwise."""
    from probity.predictor import SavedModelPredictor
    from probity.tfexample import read_records

    if evidence.canaries is None or evidence.canaries_folder is None or evidence.canaries.rows == 0:
        return None
    folder = evidence.canaries_folder
    coins = Coins.read(folder)
    _require_enough("planted rows", len(coins.rows))
    predictor = SavedModelPredictor(evidence.model_folder / "saved_model")
    batches = [predictor.predict_examples(batch) for batch in read_records(folder / ROWS)]
    labels = read_array(folder / LABELS, "labels").astype(bool)
    scores = np.clip(np.concatenate(batches).astype(np.float64), 1e-12, 1.0 - 1e-12)
    if not np.isfinite(scores).all() or len(scores) != len(labels):
        raise _unusable("planted rows", f"{int((~np.isfinite(scores)).sum())} scores that are not finite numbers")
    likelihoods = np.log(np.where(labels, scores, 1.0 - scores))
    return _Canaries(name="planted_rows", words="planted rows", scores=likelihoods, included=coins.rows)


def _planted_gradients(evidence: AuditInput) -> _Canaries | None:
    if evidence.canaries is None or evidence.canaries_folder is None or evidence.canaries.gradients == 0:
        return None
    coins = Coins.read(evidence.canaries_folder)
    _require_enough("planted gradients", len(coins.gradients))
    scores = read_array(evidence.model_folder / GRADIENT_SCORES, "scores").astype(np.float64)
    if scores.shape != coins.gradients.shape or not np.isfinite(scores).all():
        raise _unusable("planted gradients", "scores that are not one finite number for each")
    return _Canaries(name="planted_gradients", words="planted gradients", scores=scores, included=coins.gradients)


def _require_enough(name: str, number: int) -> None:
    if number < one_run.MIN_CANARIES:
        raise _unusable(name, f"{number}, of which at least {one_run.MIN_CANARIES} are needed to show anything")


def _unusable(name: str, seen: str) -> AuditError:
    return AuditError(name, seen=seen, allowed="enough canaries with finite scores", remedy="raise audits.canaries")


def _checks(
    evidence: AuditInput, canaries: list[_Canaries], sample: Sample | None, *, delta: float
) -> Iterator[SelfCheck]:
    confidence, seed = evidence.settings.confidence, evidence.seed
    numbers = {min(len(entry.scores), _CHECKED_CANARIES) for entry in canaries}
    for number in sorted(numbers):
        yield self_check.check_one_run(canaries=number, delta=delta, confidence=confidence, seed=seed)
    if sample is not None:
        rows = min(len(sample.members), _CHECKED_CANARIES)
        yield self_check.check_membership(rows=rows, confidence=confidence, seed=seed)
    if any(entry.name == "planted_rows" for entry in canaries):
        yield self_check.check_exposure(canaries=_CHECKED_CANARIES, seed=seed)


# -- membership --------------------------------------------------------------------------------------------------------


def _by_shadows(sample: Sample, evidence: AuditInput) -> Iterator[Attack]:
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


def _membership(sample: Sample, attacks: tuple[Attack, ...], evidence: AuditInput) -> list[Finding]:
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
    findings += _rates(strongest, sample, confidence=confidence)
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


def _rates(attack: Attack, sample: Sample, *, confidence: float) -> Iterator[Finding]:
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
                confidence=None if value is None else confidence,
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
    if found is None:
        reason = "fewer than two members or two others"
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


def _membership_words(findings: list[Finding], evidence: AuditInput) -> Iterator[str]:
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


# -- the lower bound ---------------------------------------------------------------------------------------------------


def _bounds(canaries: list[_Canaries], evidence: AuditInput, *, delta: float) -> Iterator[Finding]:
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


def _bound_words(
    canaries: list[_Canaries], findings: list[Finding], evidence: AuditInput, *, delta: float
) -> Iterator[str]:
    confidence = evidence.settings.confidence
    level = bonferroni(confidence, len(canaries))
    for entry in canaries:
        name = finding_id("attacks", "audited_epsilon_lower_bound", attack=entry.name)
        bound = next(finding.estimate.value for finding in findings if finding.id == name)
        number = len(entry.scores)
        noticed = self_check.detectable_epsilon(0.0, canaries=number, delta=delta, confidence=level, seed=evidence.seed)
        power = "any epsilon up to 32" if noticed is None else f"an epsilon below {noticed:g}"
        yield (
            f"From {number:,} {entry.words}: epsilon is at least {bound:.3g} at delta {delta:g}, with {confidence:.0%} "
            f"confidence. An attack that saw everything a Gaussian mechanism gives away could miss {power}, with so "
            "many."
        )


# -- exposure ----------------------------------------------------------------------------------------------------------


def _exposure(rows: _Canaries, evidence: AuditInput, *, workdir: Path) -> list[Finding]:
    found, ranks = exposure.exposures(rows.scores, rows.included, seed=evidence.seed)
    references = int((~rows.included).sum())
    if len(found) < 2 or references < 2:
        return []
    draw_exposures(workdir / "exposure.svg", found, largest=exposure.largest_exposure(references))
    confidence, mean = evidence.settings.confidence, float(found.mean())
    interval = normal_mean(mean, variance=float(found.var(ddof=1)), n=len(found), confidence=confidence)
    lower, upper = interval or (mean, mean)
    estimates = {
        "exposure": Estimate(
            value=mean, lower=lower, upper=upper, confidence=confidence, method="normal", n=len(found)
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
            neutral=exposure.NULL_MEAN if name == "exposure" else None,
        )
        for name, estimate in estimates.items()
    ]


def _exposure_words(findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.metric == "exposure":
            estimate = finding.estimate
            yield (
                f"Planted rows have a mean exposure of {estimate.value:.2f} bits ({estimate.lower:.2f} to "
                f"{estimate.upper:.2f}); {exposure.NULL_MEAN:.2f} would be expected if the model knew nothing of them."
            )
