"""How numbers, metrics, groups and rules are written for people. Formats only: nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from probity.card import CardNumber
from probity.metric import METRICS
from probity.model import Mitigation
from probity.rule import Rule

__all__ = [
    "ABSENT",
    "MINUS",
    "TIMES",
    "comparison_title",
    "group_label",
    "insufficient_reasons",
    "interval_text",
    "metric_title",
    "mitigation_words",
    "rule_text",
    "table_title",
    "unit_title",
    "value_text",
]

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = " \N{MULTIPLICATION SIGN} "

_COUNTS = frozenset({"client_count", "example_count", "failed_updates", "largest_client", "smallest_client"})
_TITLES = {
    "auc": "AUC",
    "membership_auc": "AUC",
    "membership_advantage": "advantage",
    "membership_true_positive_rate": "true-positive rate",
    "audited_epsilon_lower_bound": "lower bound on epsilon",
    "exposure": "mean exposure, bits",
    "largest_exposure": "largest exposure, bits",
    "epsilon": "epsilon",
    "mean_abs_shap": "mean |Shapley value|",
    "mean_shap": "mean Shapley value",
    "permutation_importance": "drop of AUC when permuted",
    "lime_agreement": "agreement with LIME",
    "example_count": "rows",
    "r_squared": "R squared",
    "group_share": "share of rows",
    "representation_ratio": "share over reference",
    "representation_p_value": "p-value against the reference",
}


def metric_title(name: str) -> str:
    """Returns a metric's name in words."""
    return _TITLES.get(name, name.replace("_", " "))


def unit_title(name: str, *, label: str) -> str:
    """Returns a metric's name in words with what it is measured in; the unit of a label is that of its column."""
    unit = {"label": f", in units of {label}", "label squared": f", in squared units of {label}", "per cent": ", in %"}
    return metric_title(name) + unit.get(METRICS[name].unit, "")


def comparison_title(number: CardNumber) -> str:
    """Returns what a number compares, in words; empty for a number that compares nothing."""
    return {"gap": "gap", "ratio": "ratio", "change": "change"}.get(number.comparison or "", "")


def group_label(slice_: dict[str, str]) -> str:
    """Returns the group, or the combination of groups, that a slice names."""
    return TIMES.join(slice_.values()) or "all rows"


def table_title(attributes: Sequence[str]) -> str:
    """Returns the attributes of a table in words."""
    return TIMES.join(attributes)


def value_text(value: float | None, metric: str = "") -> str:
    """Returns a number with three decimals, more where it is tiny, none where it counts."""
    if value is None:
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if metric in _COUNTS:
        return f"{value:,.0f}"
    magnitude = abs(value)
    if magnitude == 0:
        text = "0"
    elif magnitude < 0.0005:
        text = f"{value:.1e}"
    elif magnitude >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3f}"
    return text.replace("-", MINUS, 1) if value < 0 else text


def interval_text(number: CardNumber) -> str:
    """Returns the interval, or nothing for a number without one."""
    if number.lower is None or number.upper is None:
        return ""
    return f"{value_text(number.lower, number.metric)} to {value_text(number.upper, number.metric)}"


def insufficient_reasons(numbers: Sequence[CardNumber]) -> tuple[str, ...]:
    """Returns why the data cannot tell some of these numbers, each reason once."""
    reasons = (f"Insufficient evidence: {number.reason}." for number in numbers if number.status == "insufficient")
    return tuple(dict.fromkeys(reasons))


def rule_text(rule: Rule) -> str:
    """Returns a gate rule's condition in words."""
    at = f" at threshold {rule.threshold:g}" if rule.threshold is not None else ""
    where = f" for {group_label(rule.slice)}" if rule.slice else ""
    across = f" across {table_title(rule.across)}"
    of = f" of class {rule.label_class}" if rule.label_class is not None else ""
    name = f"{metric_title(rule.metric)}{of}{at}"
    if rule.gap_at_most is not None:
        return f"{name}: gap{across} at most {rule.gap_at_most:g}"
    if rule.ratio_at_least is not None:
        return f"{name}: ratio{across} at least {rule.ratio_at_least:g}"
    condition = rule.conditions[0]
    if condition.startswith("change_from"):
        other = "the released model" if "baseline" in condition else "the model without mitigation"
        side = "least" if condition.endswith("at_least") else "most"
        return f"{name}{where}: change from {other} at {side} {getattr(rule, condition):g}"
    if rule.at_least is not None:
        return f"{name}{where} at least {rule.at_least:g}"
    return f"{name}{where} at most {rule.at_most:g}" if rule.at_most is not None else name


def mitigation_words(mitigation: Mitigation | None) -> Iterator[str]:
    """Yields what was done about differences between groups, one sentence each."""
    if mitigation is None:
        yield "none: differences between groups were measured, and nothing was done about them"
        return
    for_what = "" if mitigation.constraint is None else f", for {mitigation.constraint.replace('_', ' ')}"
    yield f"{mitigation.method.replace('_', ' ')} across {table_title(mitigation.across)}{for_what}"
    yield f"it read the groups of the {'training' if mitigation.fitted_on == 'train' else 'eval'} rows"
    if mitigation.served_columns:
        columns = ", ".join(mitigation.served_columns)
        yield f"the served model asks for {columns}, because its decision depends on the group: disparate treatment"
