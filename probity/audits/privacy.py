"""The privacy audit: what was executed becomes a statement, by an accountant. Nobody else states an epsilon.

A trainer reports what it did (:data:`probity.model.Mechanism`), the transform what its constants cost; this audit asks
two accountants (:mod:`probity.audits.accounting`) and writes down what may be claimed and what may not. A mechanism
without noise gives an infinite epsilon, which is stated and never left out; a mechanism that cannot be accounted for,
or accountants that contradict each other, give a failed report, and the gate holds.

References:
    NIST SP 800-226 (2025), Guidelines for Evaluating Differential Privacy Guarantees.
    Ponomareva et al. (2023), How to DP-fy ML, section 5.3: what to report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from probity.audits.accounting import (
    consistent,
    default_delta,
    epsilon_of,
    neighbouring_relation,
    renyi_epsilon_of,
    unaccountable,
)
from probity.audits.base import AuditInput
from probity.audits.privacy_events import Noiseless, Noisy, Spent
from probity.data import PrivateStatistics, Transform
from probity.findings import AuditReport, EpsilonByEpoch, Estimate, Finding, PrivacyStatement, finding_id
from probity.metric import metric
from probity.model import (
    CLIENT,
    AdaptiveClipping,
    DpFedAvg,
    DpFtrl,
    DpSgd,
    Encrypted,
    Federated,
    Mechanism,
    TrainedModel,
    Unknown,
)
from probity.storage import write_record
from probity.task import TASKS

__all__ = ["BY_EPOCH", "PrivacyAudit"]

BY_EPOCH = "by_epoch.json"
"""Beside the report: what the training had spent after single epochs."""
_POINTS = 5

FLOATING_POINT = "noise and sums are real numbers: they are computed in single precision and rounded to a grid"


_FEDERATED = (
    " That the rows stayed with their clients is no such bound: the updates that clients send, and the model made of "
    "them, can reveal rows, and federation alone gives no guarantee."
)
_SECURE = {
    "none": "secure aggregation: none. The server saw each client's update and is trusted with it",
    "simulated": "secure aggregation: simulated. The arithmetic of a secure sum was executed in one process in the "
    "clear; nothing was hidden from a curious server. Executed for real it would hide single updates from a server "
    "that follows the protocol, and not their sum",
}
_SHARES = (
    "Training ran on secret shares: that hides the rows from the servers while the model is trained, and does not stop "
    "the model from memorising them."
)

_UNKNOWN = (
    "mechanism unknown: the model was trained elsewhere, and nobody here saw what was done to the data. What attacks "
    "could show is in the report of the audit attacks: it bounds epsilon from below only"
)


class PrivacyAudit:
    """States epsilon for what was executed, at a delta below one over the number of protected units."""

    name = "privacy"
    tasks = frozenset(TASKS)

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Accounts for the mechanism and for private statistics.

        Guarantees: the report is complete with an epsilon that two accountants agree on (infinite without noise), or
        failed; it never holds a finite epsilon for something that the accountants do not know.
        """
        model, unit = evidence.model, _unit(evidence.model.mechanism, declared=evidence.dataset.privacy_unit)
        if isinstance(model.mechanism, Unknown):
            return AuditReport(audit=self.name, status="not_applicable", subject=evidence.subject, reasons=(_UNKNOWN,))
        delta = model.target_delta or default_delta(model.num_train_units)
        spent = _spent(model.mechanism, evidence.transform.private_statistics)
        if reasons := _obstacles(spent, unit=unit, delta=delta, num_units=model.num_train_units):
            return self._failed(evidence, *reasons)
        epsilon, second = epsilon_of(spent, delta=delta), renyi_epsilon_of(spent, delta=delta)
        if not consistent(epsilon, second):
            return self._failed(
                evidence,
                f"two accountants contradict each other: privacy loss distributions give epsilon {epsilon:.6g}, which "
                f"must not be above the {second:.6g} of Rényi accounting",
            )
        course = _by_epoch(model, spent, delta=delta)
        if course is not None:
            write_record(workdir / BY_EPOCH, course)
        return AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            findings=tuple(
                Finding(
                    id=finding_id(self.name, name),
                    metric=name,
                    estimate=Estimate(value=value, method="exact", n=model.num_train_units),
                    direction=metric(name).direction,
                )
                for name, value in (("epsilon", epsilon), ("delta", delta))
            ),
            privacy_statement=_statement(
                evidence, model.mechanism, spent=spent, epsilon=epsilon, second_epsilon=second, delta=delta
            ),
        )

    def _failed(self, evidence: AuditInput, *reasons: str) -> AuditReport:
        return AuditReport(audit=self.name, status="failed", subject=evidence.subject, reasons=reasons)


def _unit(mechanism: Mechanism | Unknown, *, declared: str) -> str:
    """Returns the unit to account for: clients that are no column of the data are a unit of their own."""
    return CLIENT if isinstance(mechanism, DpFedAvg | DpFtrl) and mechanism.unit == CLIENT else declared


def _obstacles(spent: Sequence[Spent], *, unit: str, delta: float, num_units: int) -> list[str]:
    """Returns why no epsilon can be stated, if none can."""
    reasons = [reason for entry in spent if (reason := unaccountable(entry, unit=unit)) is not None]
    if delta * num_units >= 1.0:
        reasons.append(
            f"delta {delta:g} is not below one over the {num_units} units: publishing one unit's rows outright would "
            "count as private"
        )
    return reasons


def _spent(mechanism: Noisy | Noiseless, statistics: PrivateStatistics | None) -> tuple[Spent, ...]:
    return (mechanism,) if statistics is None else (mechanism, statistics)


def _by_epoch(model: TrainedModel, spent: Sequence[Spent], *, delta: float) -> EpsilonByEpoch | None:
    """Returns what had been spent after single epochs; ``None`` where steps do not say how far the training had come.

    That is so without a private mechanism, and where steps are counted that were not executed.
    """
    mechanism, *rest = spent
    if not isinstance(mechanism, DpSgd) or not model.epochs or mechanism.steps != model.steps:
        return None
    last = model.epochs
    epochs = sorted({-(-last * part // _POINTS) for part in range(1, _POINTS + 1)})
    return EpsilonByEpoch(
        delta=delta,
        epochs=tuple(epochs),
        epsilon=tuple(epsilon_of([_until(mechanism, epoch, last), *rest], delta=delta) for epoch in epochs),
    )


def _until(mechanism: DpSgd, epoch: int, last: int) -> DpSgd:
    """Returns the mechanism as it had been executed at the end of an epoch; parts of a step count as a whole one."""
    taken = {"steps": -(-mechanism.steps * epoch // last)}
    if mechanism.max_participations is not None:
        taken["max_participations"] = -(-mechanism.max_participations * epoch // last)
    return mechanism.model_copy(update=taken)


def _statement(
    evidence: AuditInput,
    mechanism: Noisy | Noiseless,
    *,
    spent: tuple[Spent, ...],
    epsilon: float,
    second_epsilon: float,
    delta: float,
) -> PrivacyStatement:
    model, unit = evidence.model, _unit(mechanism, declared=evidence.dataset.privacy_unit)
    private = not math.isinf(epsilon)
    described = _described(unit)
    relation = neighbouring_relation(spent)
    shown = _rounded_up(epsilon)
    text = (
        f"The released weights are ({shown}, {delta:g})-differentially private with respect to one "
        f"{described} of "
        f"the training split (neighbouring data sets: {relation}). Whatever anybody computes from them, the "
        "probability "
        f"of any outcome changes by at most a factor e^{shown}, apart from {delta:g}, with or without that "
        f"{described}. "
        "The guarantee is on the stated assumptions and leaves out what is listed as not covered."
        if private
        else (
            "Training was not differentially private: epsilon is infinite. Nothing bounds what the model may reveal "
            f"about any one {described} of the training data."
            + (_FEDERATED if isinstance(mechanism, Federated) else "")
        )
    )
    if isinstance(mechanism, Encrypted):
        text += f" {_SHARES}"
    uncovered = _uncovered_preprocessing(evidence.transform)
    trained = (*model.uncovered, *_uncovered_canaries(evidence))
    return PrivacyStatement(
        epsilon=epsilon,
        delta=delta,
        unit=unit,
        neighbouring_relation=relation,
        accountant=f"dp_accounting {version('dp-accounting')}, privacy loss distributions (PLD)",
        second_accountant=f"dp_accounting {version('dp-accounting')}, Rényi divergences (RDP)",
        second_epsilon=second_epsilon,
        sampling=_sampling(mechanism),
        composed=tuple(_composed(spent)),
        assumptions=tuple(_assumptions(mechanism, unit=unit, private=private)),
        uncovered_preprocessing=uncovered,
        uncovered_training=trained,
        not_covered=tuple(_not_covered(model, uncovered, trained)),
        text=text,
    )


def _rounded_up(epsilon: float) -> str:
    """Returns four significant digits, not below the number: a claim may be weaker than its proof, never stronger."""
    if not 0.0 < epsilon < math.inf:
        return f"{epsilon:g}"
    scale = 10.0 ** (3 - math.floor(math.log10(epsilon)))
    return f"{math.ceil(epsilon * scale) / scale:.4g}"


def _described(unit: str) -> str:
    return (
        unit
        if unit == "row"
        else "client, with all its rows,"
        if unit == CLIENT
        else f"value of {unit}, with all its rows,"
    )


def _sampling(mechanism: Mechanism) -> str:
    if isinstance(mechanism, Noiseless):
        return "not applicable: there is no mechanism to amplify"
    if isinstance(mechanism, DpFedAvg):
        return (
            f"poisson, probability {mechanism.sampling_prob:g} per round, {mechanism.rounds} rounds: every client took "
            "part independently in every round"
        )
    if isinstance(mechanism, DpFtrl):
        return (
            f"shuffled, {mechanism.rounds} rounds: every client took part in at most one of the "
            f"{mechanism.rounds_per_tree} rounds of a tree; no amplification is credited"
        )
    if mechanism.sampling == "poisson":
        return (
            f"poisson, probability {mechanism.sampling_prob:g} per step, {mechanism.steps} steps: every unit was drawn "
            "independently at every step"
        )
    return (
        f"shuffled, {mechanism.steps} steps: every unit took part in at most {mechanism.max_participations} steps. "
        "Shuffled "
        "batches are not Poisson samples and no amplification is credited to them: one pass counts as one Gaussian "
        "mechanism"
    )


def _composed(spent: tuple[Spent, ...]) -> list[str]:
    found = []
    for entry in spent:
        if isinstance(entry, DpSgd):
            found.append(
                f"{entry.steps} steps of DP-SGD with noise multiplier {entry.noise_multiplier:g} at an L2 clip norm of "
                f"{entry.l2_clip_norm:g} (epsilon does not depend on the clip norm)"
            )
        elif isinstance(entry, DpFedAvg):
            found.append(
                f"{entry.rounds} rounds of DP-FedAvg with noise multiplier {entry.noise_multiplier:g}, "
                + _clipping(entry)
            )
        elif isinstance(entry, DpFtrl):
            found.append(
                f"{entry.rounds} rounds of DP-FTRL in trees of {entry.rounds_per_tree} rounds, with noise multiplier "
                f"{entry.noise_multiplier:g} at each node and an L2 clip norm of {entry.l2_clip_norm:g}"
            )
        elif isinstance(entry, PrivateStatistics):
            found.append(
                f"statistics for preprocessing, epsilon {entry.epsilon:g}, delta {entry.delta:g}: "
                + "; ".join(entry.mechanisms)
            )
    return found


def _clipping(mechanism: DpFedAvg) -> str:
    clipping = mechanism.clipping
    if isinstance(clipping, AdaptiveClipping):
        return (
            f"together with the adaptive clip norm's count, whose noise has a standard deviation of "
            f"{clipping.clipped_count_stddev:g} clients (Andrew et al. 2021)"
        )
    return f"at an L2 clip norm of {clipping.l2_clip_norm:g}"


def _assumptions(mechanism: Mechanism, *, unit: str, private: bool) -> list[str]:
    found = ["one row is one person"] if unit == "row" else [f"the rows of one person share one value of {unit}"]
    if unit == CLIENT:
        found = ["the rows of one person lie with one client"]
    if isinstance(mechanism, Encrypted):
        return [*found, f"the shares hide the rows from the servers, not from the model: {mechanism.threat_model}"]
    if isinstance(mechanism, Federated | DpFedAvg | DpFtrl):
        found.append(_SECURE[mechanism.secure_aggregation])
    if not private:
        return found
    if isinstance(mechanism, DpFedAvg | DpFtrl):
        return [
            *found,
            "the number of clients is public",
            "clipping and noise are the server's: it is trusted to apply them, and with each update before",
            "sampling and noise stay secret; they came from the operating system's cryptographic generator",
            "noise and sums are real numbers: they are computed in floating point",
        ]
    if not isinstance(mechanism, DpSgd):
        return found
    if mechanism.rows_per_unit > 1 or unit != "row":
        found.append(f"at most {mechanism.rows_per_unit} rows of one {unit} took part in one step, as was executed")
    return [
        *found,
        "the number of units is public",
        "the batches and the noise stay secret; they came from AES in counter mode under a key of the operating system",
        FLOATING_POINT,
    ]


def _uncovered_preprocessing(transform: Transform) -> tuple[str, ...]:
    return tuple(sorted({entry.feature for entry in transform.constants if entry.source == "training data"}))


def _uncovered_canaries(evidence: AuditInput) -> tuple[str, ...]:
    """Returns what planted rows say of the data: they are drawn between bounds that may have been read off it."""
    if evidence.canaries is None or not evidence.canaries.rows:
        return ()
    public = {spec.name for spec in evidence.schema.features if evidence.schema.curated and spec.reviewed}
    drawn = {column.name for column in evidence.dataset.features} - {*evidence.canaries.empty_columns, *public}
    names = ", ".join(sorted(drawn))
    return (f"domains and bounds of {names}, which nobody reviewed, to draw row canaries from",) if drawn else ()


def _not_covered(model: TrainedModel, uncovered: tuple[str, ...], trained: tuple[str, ...]) -> list[str]:
    """What else read the data without noise: an epsilon speaks of the mechanisms it was composed of, and of no more."""
    found = []
    if uncovered:
        found.append(f"preprocessing constants computed from training rows without noise: {', '.join(uncovered)}")
    found += [f"{read}, without noise" for read in trained]
    if model.mitigation is not None and model.mitigation.fitted_on == "eval":
        found.append(
            f"the {model.mitigation.method.replace('_', ' ')}, which read scores, labels and groups of the eval split "
            "without noise"
        )
    if model.chosen_on_eval:
        found.append("early stopping and the choice of the kept epoch, which read the eval split")
    return [
        *found,
        "the rows of the eval and test splits: metrics per epoch, the audits, the card and the gate read them "
        "without noise",
        "what attacks on this model found: they read training rows and their scores without noise, and the card prints "
        "their success, also by group",
        "the statistics and an inferred schema, which are exact and stay in the run folder",
        "the choice of settings, and other models trained on the same data; the ledger of the data set adds up what "
        "it was "
        "told of",
    ]
