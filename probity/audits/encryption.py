"""What training on secret shares cost: time, messages, and how far the model is from the same training in the clear.

Shares compute with fixed-point numbers and an approximate sigmoid, so that the model is not quite the one that the same
steps in the clear would have given. Both are scored on the same test rows; the change in every rate has a paired
interval (:mod:`probity.audits.paired`). Times are of one run on one machine: they have no interval, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from probity.audits.base import AuditInput
from probity.audits.paired import paired_changes
from probity.audits.scoring import ScoredRows, score
from probity.digest import digest_tree
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import metric
from probity.model import PLAINTEXT, Encrypted, EncryptionCost

__all__ = ["EncryptionAudit"]

_BYTES_PER_MEGABYTE = 1e6


class EncryptionAudit:
    """Slowdown, messages, and the change of every rate and score against the same training in the clear.

    Guarantees: the two models were scored on the same rows; the model in the clear is the one that the training
    recorded, or the report is ``failed``; for a model that was not trained on shares it is ``not_applicable``.
    """

    name = "encryption"

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Compares; see :class:`probity.audits.base.Audit`. Writes nothing."""
        del workdir
        cost = evidence.model.encryption
        if cost is None:
            if isinstance(evidence.model.mechanism, Encrypted):
                return self._report(evidence, "failed", "the training on secret shares left no record of its cost")
            return self._report(evidence, "not_applicable", "the model was not trained on secret shares")
        measured = tuple(self._measured(cost, rows=evidence.model.num_train_examples))
        if cost.plaintext is None:
            reason = f"not compared with the same training in the clear: {cost.no_comparison}"
            return self._report(evidence, "complete", reason, findings=measured)
        folder = evidence.model_folder / PLAINTEXT
        if not folder.is_dir() or digest_tree(folder / "saved_model") != cost.plaintext:
            return self._report(
                evidence, "failed", "the model trained in the clear is absent, or not the one that was recorded"
            )
        plain = score(folder, dataset=evidence.dataset, examples=evidence.examples)
        findings = (*measured, *self._differences(evidence, cost, plain))
        return self._report(evidence, "complete", *_reasons(cost), findings=findings)

    def _report(
        self, evidence: AuditInput, status: str, *reasons: str, findings: tuple[Finding, ...] = ()
    ) -> AuditReport:
        stated = {"audit": self.name, "status": status, "subject": evidence.subject}
        return AuditReport.model_validate({**stated, "reasons": reasons, "findings": findings})

    def _measured(self, cost: EncryptionCost, *, rows: int) -> Iterator[Finding]:
        """Yields what was measured while training."""
        if cost.seconds_per_epoch is not None:
            yield self._finding("seconds_per_epoch", cost.seconds_per_epoch, n=rows)
            if cost.plaintext_seconds_per_epoch is not None:
                yield self._finding("slowdown", cost.seconds_per_epoch / cost.plaintext_seconds_per_epoch, n=rows)
        if cost.sent_bytes:
            yield self._finding("megabytes_sent", sum(cost.sent_bytes.values()) / _BYTES_PER_MEGABYTE, n=rows)
        if cost.largest_weight_difference is not None:
            yield self._finding("largest_weight_difference", cost.largest_weight_difference, n=rows)

    def _differences(self, evidence: AuditInput, cost: EncryptionCost, plain: ScoredRows) -> Iterator[Finding]:
        import numpy as np

        difference = np.abs(evidence.scored.scores - plain.scores)
        yield self._finding("largest_score_difference", float(difference.max(initial=0.0)), n=len(plain))
        yield from paired_changes(
            evidence.scored,
            plain,
            audit=self.name,
            settings=evidence.settings,
            seed=evidence.seed,
            intersections=evidence.dataset.intersections,
            joint_statements=evidence.joint_statements,
        )

    def _finding(self, name: str, value: float, *, n: int) -> Finding:
        return Finding(
            id=finding_id(self.name, name),
            metric=name,
            estimate=Estimate(value=value, method="exact", n=n),
            direction=metric(name).direction,
        )


def _reasons(cost: EncryptionCost) -> Iterator[str]:
    yield (
        "Every change is the model minus the same training in the clear: same initial weights, same batches, same test "
        "rows. It shows what fixed-point shares and an approximate sigmoid did to the model, and nothing about privacy."
    )
    if cost.seconds_per_epoch is not None:
        yield "Times are those of one run on one machine: they have no interval, and another machine gives others."
