"""What is reported of the reasons for unfavourable predictions: shares with intervals, and a file of single rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probity.audits.adverse_action import Reasons
from probity.audits.base import AuditInput
from probity.audits.intervals import normal_quantile, wilson
from probity.findings import Estimate, Finding, finding_id
from probity.metric import metric

__all__ = ["reason_findings", "write_reasons"]

_AUDIT = "regulatory"

Flags = npt.NDArray[np.bool_]


def reason_findings(reasons: Reasons, evidence: AuditInput) -> Iterator[Finding]:
    """Yields how often each column is a reason, overall and by group, and how far candidates held."""
    settings, scored = evidence.settings, evidence.scored
    has = np.array([[name in found for name in reasons.columns] for found in reasons.verified], bool)
    everyone = np.ones(len(reasons.people), bool)
    for position, column in enumerate(reasons.columns):
        yield _share("adverse_action_reason_share", has[:, position], everyone, {}, evidence, feature=column)
        if column in reasons.sensitive:
            yield _share("sensitive_reason_share", has[:, position], everyone, {}, evidence, feature=column)
        for attribute, codes in scored.groups.items():
            for code, group in enumerate(scored.names[attribute]):
                members = codes[reasons.people] == code
                slice_ = {attribute: group}
                yield _share("adverse_action_reason_share", has[:, position], members, slice_, evidence, feature=column)
    yield _verified(reasons, confidence=settings.confidence, threshold=settings.decision_threshold)
    yield _share("without_reason_rate", ~has.any(axis=1), everyone, {}, evidence)


def _share(
    name: str, flags: Flags, members: Flags, slice_: dict[str, str], evidence: AuditInput, *, feature: str | None = None
) -> Finding:
    settings = evidence.settings
    count, n = int((flags & members).sum()), int(members.sum())
    lower, upper = wilson(count, n, confidence=settings.confidence)
    reason = None
    if n < settings.min_group_size:
        reason = f"fewer than {settings.min_group_size} of these people"
    return Finding(
        id=finding_id(_AUDIT, name, slice_=slice_, feature=feature, threshold=settings.decision_threshold),
        metric=name,
        slice=slice_,
        feature=feature,
        threshold=settings.decision_threshold,
        estimate=Estimate(
            value=count / n if n else None,
            lower=float(lower) if n else None,
            upper=float(upper) if n else None,
            confidence=settings.confidence if n else None,
            method="wilson",
            n=n,
        ),
        direction=metric(name).direction,
        evidence="insufficient" if reason else "sufficient",
        reason=reason,
    )


def _verified(reasons: Reasons, *, confidence: float, threshold: float) -> Finding:
    """Returns the share of candidates that held; people are the independent draws, so it is a ratio of two means."""
    held = np.array([len(found) for found in reasons.verified], float)
    tried = held + np.array([len(failed) for failed in reasons.struck])
    n, value, half = len(tried), None, None
    if tried.sum():
        value = float(held.sum() / tried.sum())
        if n > 1:
            # Linearised variance of a ratio estimator (Cochran 1977, eq. 2.39).
            variance = float(((held - value * tried) ** 2).sum()) / (n * (n - 1)) / float(tried.mean()) ** 2
            half = normal_quantile(confidence) * math.sqrt(variance)
    interval = {}
    if value is not None and half is not None:
        interval = {"lower": max(0.0, value - half), "upper": min(1.0, value + half), "confidence": confidence}
    return Finding(
        id=finding_id(_AUDIT, "verified_reason_rate", threshold=threshold),
        metric="verified_reason_rate",
        threshold=threshold,
        estimate=Estimate(value=value, method="normal, ratio of means over people", n=n, **interval),
        direction=metric("verified_reason_rate").direction,
        evidence="sufficient" if value is not None else "insufficient",
        reason=None if value is not None else "no column lowers anybody's score relative to the reference",
    )


def write_reasons(path: Path, reasons: Reasons) -> None:
    """Writes the reasons of each person: positions in the test split and names of columns, no values."""
    content = {
        "schema_version": 1,
        "label": "local",
        "audience": "internal: speaks of single rows, so it stays in the run folder",
        "split": "test",
        "method": reasons.method,
        "reference": reasons.reference,
        "people": [
            {"row": int(row), "reasons": list(verified), "struck": list(struck)}
            for row, verified, struck in zip(reasons.people, reasons.verified, reasons.struck, strict=True)
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
