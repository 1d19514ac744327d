"""Interval plots: what is drawn lies where the number says, and names are only text."""

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from probity.card import CardNumber
from probity.metric import Direction
from probity.model_cards.plots import interval_plot


def number(value, lower=None, upper=None, *, status="measured", reason=None):
    return CardNumber(
        finding="performance/accuracy/g=a@0.5",
        metric="accuracy",
        status=status,
        value=value,
        lower=lower,
        upper=upper,
        direction=Direction.HIGHER_IS_BETTER,
        reason=reason,
    )


def parse(plot):
    return ElementTree.fromstring(str(plot))  # noqa: S314 - our own drawing


def ticks_of(tree):
    """Tick positions by value: the grid lines and the labels below them are drawn in pairs."""
    lines = [float(line.get("x1")) for line in tree.iter("line") if line.get("class") == "grid"]
    labels = [text for text in tree.iter("text") if text.get("text-anchor") == "middle"]
    return {float(text.text.replace("\N{MINUS SIGN}", "-")): x for text, x in zip(labels, lines, strict=True)}


@pytest.mark.parametrize("values", [(0.2, 0.4, 0.3), (0.0, 1.0, 0.9), (-0.31, 0.02, -0.1), (1e-6, 2e-6, 1.5e-6)])
def test_dots_and_intervals_lie_on_the_axis(values):
    low, high, value = values
    tree = parse(interval_plot("t", [("a", number(value, low, high))], reference=value))
    ticks = ticks_of(tree)
    first, last = min(ticks), max(ticks)
    assert first <= low <= high <= last
    assert 2 <= len(ticks) <= 8
    assert ticks[first] == 200
    assert ticks[last] == 524

    def expected(at):
        return ticks[first] + (at - first) / (last - first) * (ticks[last] - ticks[first])

    (dot,) = tree.iter("circle")
    (interval,) = [line for line in tree.iter("line") if line.get("class") == "interval"]
    (reference,) = [line for line in tree.iter("line") if line.get("class") == "reference"]
    assert float(dot.get("cx")) == pytest.approx(expected(value), abs=0.02)
    assert float(interval.get("x1")) == pytest.approx(expected(low), abs=0.02)
    assert float(interval.get("x2")) == pytest.approx(expected(high), abs=0.02)
    assert float(reference.get("x1")) == pytest.approx(expected(value), abs=0.02)


def test_limits():
    assert str(interval_plot("t", [])) == ""
    withheld = number(None, status="withheld", reason="fewer than 100 rows")
    assert str(interval_plot("t", [("a", withheld)], reference=0.5)) == ""
    assert str(interval_plot("t", [("a", number(math.inf))])) == ""
    tree = parse(interval_plot("t", [("a", number(0.5)), ("b", withheld)]))
    assert len(list(tree.iter("circle"))) == 1
    assert any("withheld: fewer than 100 rows" in (text.text or "") for text in tree.iter("text"))


def test_insufficient_evidence_is_hollow():
    tree = parse(interval_plot("t", [("a", number(0.5, status="insufficient", reason="few"))]))
    assert next(tree.iter("circle")).get("class") == "dot hollow"


def test_names_are_text():
    name = '"><script>alert(1)</script>' + "x" * 60
    plot = str(interval_plot(name, [(name, number(0.5, 0.4, 0.6))]))
    tree = parse(plot)
    assert not list(tree.iter("script"))
    assert name in tree.get("aria-label")
    assert not re.search(r"<script", plot)
