"""What is known of a model since its release: where its rollout stands, and what each look at its answers found."""

from __future__ import annotations

from probity.dashboards.report import Report
from probity.dashboards.signed_history import released_below
from probity.errors import ProbityError
from probity.monitoring import MonitoringReport, reports_folder
from probity.rollout import Comparison, RolloutState, state_path
from probity.storage import read_record

__all__ = ["comparison_rows", "looks_at", "measure_rows", "rollout_of"]

_LOOKS = 50


def rollout_of(report: Report, model_name: str) -> RolloutState | None:
    """Returns where the last rollout of a model stands, as its router left it beside the versions.

    Args:
        report: At a run of the model, whose config says where the versions lie.
        model_name: The model.

    Returns:
        ``None`` where there is no state, or none that this version can read.
    """
    place = released_below(report)
    try:
        return None if place is None else read_record(state_path(place[2], model_name), RolloutState)
    except ProbityError:
        return None


def looks_at(report: Report, model_name: str) -> tuple[MonitoringReport, ...]:
    """Returns the newest monitoring reports of a model, newest first; those that cannot be read are left out."""
    found = []
    for path in sorted(reports_folder(report.workspace.root, model_name).glob("*.json"), reverse=True)[:_LOOKS]:
        try:
            found.append(read_record(path, MonitoringReport))
        except ProbityError:
            continue
    return tuple(found)


def comparison_rows(stage: str, comparisons: tuple[Comparison, ...]) -> list[dict[str, str]]:
    """Returns one line per comparison of a stage: candidate minus incumbent, with its always-valid bounds."""
    return [
        {
            "stage": stage,
            "compared": entry.name,
            "difference": "none yet" if entry.running.mean is None else f"{entry.running.mean:+.4f}",
            "between": f"{entry.lower:+.4f} and {entry.upper:+.4f}",
            "candidate's requests": f"{entry.candidate_requests:,}",
            "incumbent's requests": f"{entry.incumbent_requests:,}",
        }
        for entry in comparisons
    ]


def measure_rows(look: MonitoringReport) -> list[dict[str, str]]:
    """Returns one line per thing that was measured in a look, those beyond their limits first."""
    order = {"beyond": 0, "insufficient": 1, "within": 2}
    signs = {
        "beyond": "\N{MULTIPLICATION X} beyond",
        "insufficient": "? too little evidence",
        "within": "\N{CHECK MARK} within",
    }
    return [
        {
            "state": signs[entry.status],
            "what": entry.kind.replace("_", " "),
            "of": entry.of,
            "observed": _text(entry.observed),
            "interval": "" if entry.lower is None else f"{_text(entry.lower)} to {_text(entry.upper)}",
            "compared with": _text(entry.reference),
            "limit": _text(entry.limit),
            "rows": f"{entry.n:,}",
            "reason": entry.reason,
        }
        for entry in sorted(look.measures, key=lambda entry: order[entry.status])
    ]


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
