"""The federation audit: how unlike the clients are, and how the model serves the one that it serves worst.

An average over all rows can hide a client for which the model is no use. Where the clients are the values of a column,
their test rows are known, and the client with the lowest accuracy is looked for among those with enough of them. Which
one it is stays unsaid - a client's name may be a person's; whoever may know declares the column as sensitive, and has
every client's rates.

Under differential privacy for clients, sizes and labels of clients are covered by no noise: only their number, which is
public, is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probity.audits.base import AuditInput
from probity.audits.intervals import bonferroni, wilson
from probity.errors import AuditError, DataError
from probity.federation import FEDERATION, SIZE_GROUPS, Federation, size_groups
from probity.findings import AuditReport, Estimate, Finding, finding_id
from probity.metric import metric
from probity.model import DpFedAvg, DpFtrl, Federated
from probity.storage import read_record

__all__ = ["FederationAudit"]

_FACTS = {
    "smallest_client": "smallest",
    "median_client": "median",
    "largest_client": "largest",
    "label_skew": "label_skew",
}


class FederationAudit:
    """Numbers about the clients, and the lowest accuracy over them.

    Guarantees: ``not_applicable`` for a model that was not trained over clients; names no client.
    """

    name = "federation"

    def run(self, evidence: AuditInput, *, workdir: Path) -> AuditReport:
        """Measures. Writes no file; see :class:`probity.audits.base.Audit`.

        Raises:
            AuditError: If the record of the federation cannot be read.
        """
        del workdir
        path = evidence.model_folder / FEDERATION
        federated = isinstance(evidence.model.mechanism, Federated | DpFedAvg | DpFtrl)
        if not path.is_file() and not federated:
            return AuditReport(
                audit=self.name,
                status="not_applicable",
                subject=evidence.subject,
                reasons=("the model was not trained over clients",),
            )
        try:
            federation = read_record(path, Federation)
        except DataError as error:
            raise AuditError(
                FEDERATION, seen="no readable record", allowed="what the training wrote", remedy="run again"
            ) from error
        public = isinstance(evidence.model.mechanism, Federated)
        return AuditReport(
            audit=self.name,
            status="complete",
            subject=evidence.subject,
            reasons=tuple(_reasons(federation, public=public)),
            findings=tuple(self._findings(federation, evidence, public=public)),
        )

    def _findings(self, federation: Federation, evidence: AuditInput, *, public: bool) -> Iterator[Finding]:
        count = federation.num_clients
        yield self._exact("client_count", float(count), n=count)
        if public:
            for name, field in _FACTS.items():
                yield self._exact(name, float(getattr(federation, field)), n=count)
            yield from self._participation(federation)
        if federation.column is not None:
            yield self._worst_served(federation.column, evidence)
            if public:
                yield from self._by_size(federation.column, evidence)

    def _participation(self, federation: Federation) -> Iterator[Finding]:
        """Who of those that were asked took part, over all rounds."""
        rounds = federation.rounds
        taking_part = sum(entry.participants for entry in rounds)
        dropped, failed = sum(entry.dropped for entry in rounds), sum(entry.failed for entry in rounds)
        asked = taking_part + dropped + failed
        if asked:
            yield self._exact("round_participation", taking_part / len(rounds), n=len(rounds))
            yield self._exact("client_dropout_rate", dropped / asked, n=asked)
            yield self._exact("failed_updates", float(failed), n=asked)

    def _by_size(self, column: str, evidence: AuditInput) -> Iterator[Finding]:
        """Accuracy on the test rows of the clients with fewest, middling and most training rows."""
        settings, scored, numbers = evidence.settings, evidence.scored, _numbers(evidence, column)
        group_of = size_groups(np.bincount(numbers["train"]).tolist())
        known = numbers["test"] < len(group_of)  # a client without training rows is in no group
        groups = group_of[numbers["test"][known]]
        right = ((scored.scores > settings.decision_threshold) == scored.labels)[known]
        counts = np.bincount(groups, minlength=len(SIZE_GROUPS))
        correct = np.bincount(groups, weights=right, minlength=len(SIZE_GROUPS))
        lows, highs = wilson(correct, counts, confidence=settings.confidence)
        for name, count, hits, low, high in zip(SIZE_GROUPS, counts, correct, lows, highs, strict=True):
            measured = count >= settings.min_group_size
            estimate = Estimate(
                value=float(hits / count) if measured else None,
                lower=float(low) if measured else None,
                upper=float(high) if measured else None,
                confidence=settings.confidence if measured else None,
                method="wilson",
                n=int(count),
            )
            slice_ = {"clients": name}
            yield Finding(
                id=finding_id(self.name, "client_group_accuracy", slice_=slice_, threshold=settings.decision_threshold),
                metric="client_group_accuracy",
                slice=slice_,
                threshold=settings.decision_threshold,
                estimate=estimate,
                direction=metric("client_group_accuracy").direction,
                evidence="sufficient" if measured else "insufficient",
                reason=None if measured else f"fewer than {settings.min_group_size} test rows",
            )

    def _exact(self, name: str, number: float, *, n: int) -> Finding:
        return Finding(
            id=finding_id(self.name, name),
            metric=name,
            estimate=Estimate(value=number, method="exact", n=n),
            direction=metric(name).direction,
        )

    def _worst_served(self, column: str, evidence: AuditInput) -> Finding:
        settings, scored = evidence.settings, evidence.scored
        clients = _numbers(evidence, column)["test"]
        right = (scored.scores > settings.decision_threshold) == scored.labels
        counts, correct = np.bincount(clients), np.bincount(clients, weights=right)
        large = counts >= settings.min_group_size
        left_out = f"{int((~large & (counts > 0)).sum())} clients have fewer than {settings.min_group_size} test rows"
        name = "lowest_client_accuracy"
        if not large.any():
            estimate = Estimate(value=None, method="wilson", n=int(counts.sum()))
            evidence_is, reason = "insufficient", f"no client is large enough: {left_out}"
        else:
            rates = np.where(large, correct / np.maximum(counts, 1), np.inf)
            worst = int(np.argmin(rates))
            level = bonferroni(settings.confidence, int(large.sum()))
            lows, highs = wilson(correct[large], counts[large], confidence=level)
            estimate = Estimate(
                value=float(rates[worst]),
                lower=float(lows.min()),
                upper=float(highs.min()),  # the smallest rate is below every client's upper bound
                confidence=settings.confidence,
                method="wilson, Bonferroni over clients",
                n=int(counts[worst]),
            )
            evidence_is, reason = "sufficient", f"lowest over {int(large.sum())} clients; {left_out} and are left out"
        return Finding.model_validate(
            {
                "id": finding_id(self.name, name, threshold=settings.decision_threshold),
                "metric": name,
                "threshold": settings.decision_threshold,
                "estimate": estimate,
                "direction": metric(name).direction,
                "evidence": evidence_is,
                "reason": reason,
            }
        )


def _numbers(evidence: AuditInput, column: str) -> dict[str, npt.NDArray[np.int64]]:
    """Returns the number of the client of each training and each test row; clients of the training rows come first."""
    values = {split: evidence.examples.table(split).column(column) for split in ("train", "test")}
    both = pa.chunked_array([chunk for part in values.values() for chunk in part.chunks]).combine_chunks()
    coded = both.dictionary_encode(null_encoding="encode").indices.to_numpy().astype(np.int64)
    train, test = np.split(coded, [len(values["train"])])
    return {"train": train, "test": test}


def _reasons(federation: Federation, *, public: bool) -> Iterator[str]:
    yield f"Clients: {federation.described}."
    if federation.simulated:
        yield "They were made up here: how unlike they are, and whom the model serves, says nothing about real clients."
    if not public:
        yield "Sizes and labels of clients are covered by no noise and are not reported."
