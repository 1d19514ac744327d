"""What the tracker is told about a run, as plain values: parameters, metrics with legal names, tags. Pure.

A metric's key follows the finding it comes from, in the characters MLflow allows::

    performance/true_positive_rate/sex=Female@0.5        performance/true_positive_rate/sex:Female/at 0.5
    fairness/selection_rate/ratio/sex*race@0.5           fairness/selection_rate/ratio/sex x race/at 0.5
    performance/auc/age_band=<25                         performance/auc/age_band:under 25

What may leave the run folder is decided where the card decides it (:mod:`probity.model_cards.disclosure`): the tracker
is told nothing about a small group that the card withholds.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping

from probity.config import RunConfig
from probity.data import Dataset
from probity.findings import AuditReport, Finding, slice_name
from probity.model import TrainedModel
from probity.model_cards.disclosure import disclosure_of

__all__ = ["infinities_of", "metric_key", "metrics_of", "params_of"]

_MAX_KEY = 250
_MAX_PARAM = 6000


def params_of(config: RunConfig, dataset: Dataset | None = None, model: TrainedModel | None = None) -> dict[str, str]:
    """Returns the settings of a run, flat, as MLflow's parameters.

    Args:
        config: What was asked.
        dataset: What was read, if the run got that far.
        model: What training did, if the run got that far; its settings are the trainer's, fully resolved.
    """
    settings = config.trainer.settings if model is None else model.settings
    asked: dict[str, object] = {
        "name": config.name,
        "seed": config.seed,
        "trainer": {"name": config.trainer.name, **settings},
        "model": config.model.to_json(),
        "transform": config.transform.to_json(),
        "audits": config.audits.to_json(),
        "data": {"source": config.data.source, "split": config.data.split, "privacy_unit": _unit(config)},
    }
    if dataset is not None:
        asked["dataset"] = {
            **({} if dataset.task == "binary" else {"task": dataset.task, "label": dataset.label}),
            "content_digest": dataset.content_digest,
            "source_digest": dataset.source_digest,
            "rows": dataset.num_rows,
            "split_rule": dataset.split_rule,
        }
    if model is not None:
        asked["mechanism"] = model.mechanism.to_json()
    return {_legal(key): value[:_MAX_PARAM] for key, value in _flat(asked)}


def _unit(config: RunConfig) -> str:
    unit = config.data.privacy_unit
    return unit if isinstance(unit, str) else unit.column


def _flat(value: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            yield from _flat(entry, f"{prefix}{key}.")
        elif entry is not None:
            yield f"{prefix}{key}", entry if isinstance(entry, str) else json.dumps(entry, default=str)


def metrics_of(reports: Mapping[str, AuditReport | None], *, min_group_size: int) -> dict[str, float]:
    """Returns the finite numbers of the reports that may be published, by key.

    Guarantees: nothing that the card withholds because a group is small; nothing that rests on insufficient evidence;
    two findings never share a key.
    """
    found: dict[str, float] = {}
    for finding, value in _public(reports, min_group_size):
        if math.isfinite(value):
            key = metric_key(finding)
            found[key if key not in found else _marked(key, finding.id)] = value
    return found


def infinities_of(reports: Mapping[str, AuditReport | None], *, min_group_size: int) -> dict[str, str]:
    """Returns the infinite numbers of the reports as tags, for example that epsilon is ``Infinity``.

    They cannot be metrics: MLflow's stores replace an infinity by the largest float, which is another number.
    """
    infinite = ((entry, value) for entry, value in _public(reports, min_group_size) if math.isinf(value))
    return {metric_key(entry): "Infinity" if value > 0 else "-Infinity" for entry, value in infinite}


def _public(reports: Mapping[str, AuditReport | None], min_group_size: int) -> Iterator[tuple[Finding, float]]:
    """Yields the findings that may be published, with their value in its public form."""
    complete = {name: entry for name, entry in reports.items() if entry is not None and entry.status == "complete"}
    disclosure = disclosure_of(complete, minimum=min_group_size)
    for report in complete.values():
        for finding in report.findings:
            number = disclosure.publish(finding)
            if number.status == "measured" and number.value is not None:
                yield finding, number.value


def metric_key(finding: Finding) -> str:
    """Returns the finding's key in MLflow: legal, readable, and with the threshold in it."""
    where = " x ".join(finding.across) if finding.across else slice_name(finding.slice)
    of_class = None if finding.label_class is None else f"class={finding.label_class}"
    predicted = None if finding.predicted_class is None else f"predicted={finding.predicted_class}"
    audit = finding.id.partition("/")[0]
    parts = [audit, finding.metric, finding.feature, finding.comparison, of_class, predicted, where]
    if finding.threshold is not None:
        parts.append(f"at {finding.threshold:g}")
    key = "/".join(_legal(part) for part in parts if part)
    return key if len(key) <= _MAX_KEY else _marked(key, finding.id)


def _legal(text: str) -> str:
    """Writes a name in the characters that MLflow allows in keys, with those of bins in words."""
    text = re.sub(r"=<(?=[-\d])", ":under ", text)
    text = re.sub(r"=>=(?=[-\d])", ":from ", text)
    text = text.replace("=", ":").replace(",", " ")
    text = re.sub(r"[^\w.\- :]", lambda match: f"_u{ord(match.group()):x}_", text)
    # A key is also a path to MLflow, and may not lead anywhere else.
    return re.sub(r"^\.+$", lambda match: "_u2e_" * len(match.group()), text)


def _marked(key: str, identity: str) -> str:
    mark = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{key[: _MAX_KEY - 9]} {mark}"
