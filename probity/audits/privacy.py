"""The privacy audit: the mechanism that was executed becomes an epsilon, by an accountant. Nobody else states one.

A trainer reports what it did (:data:`probity.model.Mechanism`); this audit translates that into a ``dp_accounting``
event and asks the privacy-loss-distribution accountant. A mechanism without noise gives an infinite epsilon, which is
stated and never left out; a mechanism that cannot be accounted for gives a failed report, and the gate holds.

References:
    Abadi et al. (2016), Deep Learning with Differential Privacy, algorithm 1.
    Doroshenko et al. (2022), Connect the Dots: Tighter Discrete Approximations of Privacy Loss Distributions.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from probity.audits.base import AuditInput
from probity.data import Transform
from probity.findings import AuditReport, Estimate, Finding, PrivacyStatement, finding_id
from probity.metric import metric
from probity.model import Mechanism, NonPrivate

__all__ = ["PrivacyAudit", "default_delta", "epsilon_of"]

ACCOUNTANT = "dp_accounting, privacy loss distributions (PLD)"
NEIGHBOURS = "add or remove one unit"


class PrivacyAudit:
    """Computes epsilon for the executed mechanism, at a delta below one over the number of training examples."""

    name = "privacy"

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Accounts for the mechanism.

        Guarantees: the report is complete with an epsilon from the accountant (infinite without noise), or failed; it
        never holds a finite epsilon for a mechanism that the accountant does not know.
        """
        mechanism = evidence.model.mechanism
        reason = unaccounted(mechanism, unit=evidence.dataset.privacy_unit)
        if reason is not None:
            return AuditReport(audit=self.name, status="failed", subject=evidence.subject, reasons=(reason,))
        n = evidence.model.num_train_examples
        delta = default_delta(n)
        epsilon = epsilon_of(mechanism, delta=delta)
        findings = tuple(
            Finding(
                id=finding_id(self.name, name),
                metric=name,
                estimate=Estimate(value=value, method="exact", n=n),
                direction=metric(name).direction,
            )
            for name, value in (("epsilon", epsilon), ("delta", delta))
        )
        statement = _statement(
            mechanism, epsilon, delta, unit=evidence.dataset.privacy_unit, transform=evidence.transform
        )
        return AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            findings=findings,
            privacy_statement=statement,
        )


def default_delta(num_examples: int) -> float:
    """Returns the largest power of ten below one over the number of examples.

    A delta of ``1 / n`` or more would allow a mechanism that publishes one person's row outright (Dwork and Roth 2014,
    section 2.3), so the result is strictly smaller.

    Args:
        num_examples: Number of training examples, at least 1.
    """
    # len(str(n)) digits means 10**(digits - 1) <= n < 10**digits, so this is exact where floating logarithms are not.
    return float(f"1e-{len(str(num_examples))}")


def unaccounted(mechanism: Mechanism, *, unit: str) -> str | None:
    """Returns why no epsilon can be given for a mechanism and a unit of privacy, or ``None`` if one can."""
    if isinstance(mechanism, NonPrivate):
        return None
    if mechanism.unit != unit:
        return (
            f"the mechanism protects one {mechanism.unit}, and the data declares {unit} as its unit of privacy; an "
            "epsilon for the one says nothing about the other"
        )
    if mechanism.sampling != "poisson":
        return (
            f"no accountant here covers {mechanism.sampling} batches; accounting for them as if they were Poisson "
            "samples would understate epsilon"
        )
    return None


def epsilon_of(mechanism: Mechanism, *, delta: float) -> float:
    """Returns the epsilon of an executed mechanism at ``delta``, under add-or-remove-one adjacency.

    Guarantees: infinite without noise, 0 if no step was executed, never decreasing in steps, never increasing in noise.

    Args:
        mechanism: What was executed; one for which :func:`unaccounted` returns ``None``.
        delta: In (0, 1).
    """
    from dp_accounting import pld

    accountant = pld.PLDAccountant()
    accountant.compose(_event(mechanism))
    return float(accountant.get_epsilon(delta))


def _event(mechanism: Mechanism) -> Any:
    """Translates a mechanism into the event it was."""
    import dp_accounting

    if isinstance(mechanism, NonPrivate):
        return dp_accounting.NonPrivateDpEvent()
    if mechanism.steps == 0:
        return dp_accounting.NoOpDpEvent()
    if mechanism.noise_multiplier == 0.0:
        return dp_accounting.NonPrivateDpEvent()
    step = dp_accounting.PoissonSampledDpEvent(
        mechanism.sampling_prob, dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
    )
    return dp_accounting.SelfComposedDpEvent(step, mechanism.steps)


def _statement(
    mechanism: Mechanism, epsilon: float, delta: float, *, unit: str, transform: Transform
) -> PrivacyStatement:
    described = "row" if unit == "row" else f"value of {unit}"
    private = not math.isinf(epsilon)
    text = (
        f"Training is ({epsilon:.4g}, {delta:g})-differentially private with respect to one {described}."
        if private
        else (
            "Training was not differentially private: epsilon is infinite. Nothing bounds what the model may reveal "
            f"about any one {described} of the training data."
        )
    )
    assumptions = ["one row is one person"] if unit == "row" else []
    if private:
        assumptions += [
            "every example was drawn independently with the stated probability at every step",
            "the number of examples is public",
        ]
    return PrivacyStatement(
        epsilon=epsilon,
        delta=delta,
        unit=unit,
        neighbouring_relation=NEIGHBOURS,
        accountant=ACCOUNTANT,
        sampling=_sampling(mechanism),
        assumptions=tuple(assumptions),
        not_covered=_not_covered(transform),
        text=text,
    )


def _sampling(mechanism: Mechanism) -> str:
    if isinstance(mechanism, NonPrivate):
        return "not applicable: there is no mechanism to amplify"
    return f"{mechanism.sampling}, probability {mechanism.sampling_prob:g} per step, {mechanism.steps} steps"


def _not_covered(transform: Transform) -> tuple[str, ...]:
    """What else read the data without noise: an epsilon speaks of the training steps only."""
    constants = sorted({entry.kind for entry in transform.constants if entry.source == "training data"})
    items = [f"preprocessing constants computed from training rows: {', '.join(constants)}"] if constants else []
    return (
        *items,
        "early stopping and the choice of the kept epoch, which read the eval split",
        "the schema and the statistics, which are exact",
        "the audits and the gate, which read the test split",
        "the choice of settings, and other runs on the same data",
    )
