"""A report to a request for another run: the config of the run that was watched, with the reason."""

from __future__ import annotations

from pathlib import Path

import yaml

from probity.monitoring import MonitoringReport, Retraining
from probity.runs import RunFolder
from probity.storage import write_atomically

__all__ = ["reasons", "request"]


def reasons(report: MonitoringReport, *, manual: str | None) -> tuple[str, ...]:
    """Returns why, in words and without data values."""
    found = [manual] if manual else []
    for entry in report.beyond:
        seen = "" if entry.observed is None else f" {entry.observed:.3g}"
        limit = "" if entry.limit is None else f", limit {entry.limit:g}"
        found.append(f"{entry.kind} of {entry.of}:{seen}{limit}{f' ({entry.reason})' if entry.reason else ''}")
    return tuple(found)


def request(report: MonitoringReport, *, run: RunFolder, folder: Path, manual: str | None = None) -> Path:
    """Writes ``retrain-<model>-<time>.yaml``; ``probity run`` takes it as it is.

    Guarantees: the run that it asks for differs from the watched one in the rows that its source holds by then and in
    the recorded reason only, and goes through the same audits and the same gate.

    Args:
        report: A report with a trigger.
        run: The run that was watched; its resolved config is repeated.
        folder: Where its config lay, from where the paths in it start.
        manual: Why a person asks.
    """
    if report.trigger is None:
        raise AssertionError("a report without a trigger asks for nothing")
    asked = Retraining(
        trigger=report.trigger,
        of_run=report.run,
        of_version=report.version,
        requested_at=report.at,
        reasons=reasons(report, manual=manual),
    )
    value = {**run.config().to_json(), "retraining": asked.to_json()}
    digits = "".join(letter for letter in report.at[:19] if letter.isdigit())
    path = folder / f"retrain-{report.model_name}-{digits}.yaml"
    write_atomically(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode())
    return path
