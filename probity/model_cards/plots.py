"""Interval plots as inline SVG: a dot and an interval per row, and a reference line.

Drawn from the card's own numbers. Colours come from the page's style, so the plots follow light and dark; no meaning
rests on colour. Every name goes through the escaping of ``markupsafe``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from probity.card import CardNumber
from probity.model_cards.wording import MINUS, interval_text, value_text

__all__ = ["interval_plot"]

_WIDTH, _LABELS, _RIGHT, _TOP, _ROW = 540, 200, 16, 30, 24
_LONGEST_LABEL = 26


def interval_plot(
    title: str,
    rows: Sequence[tuple[str, CardNumber]],
    *,
    reference: float | None = None,
    reference_label: str = "",
) -> Markup:
    """Returns one plot, or nothing where no row has a value.

    Args:
        title: Heading of the plot.
        rows: Label and number, from top to bottom; a number without value is drawn as its status in words.
        reference: Where the reference line goes, for example the number over all rows.
        reference_label: What the line stands for.
    """
    values = [v for _, n in rows for v in (n.value, n.lower, n.upper) if v is not None and math.isfinite(v)]
    if not values:
        return Markup("")
    if reference is not None and math.isfinite(reference):
        values.append(reference)
    ticks = _ticks(min(values), max(values))
    bottom = _TOP + _ROW * len(rows)
    described = "; ".join(f"{label}: {_spoken(number)}" for label, number in rows)
    parts = [
        Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}: {}">').format(
            _WIDTH, bottom + 30, title, described
        ),
        Markup('<text class="plot-title" x="0" y="14">{}</text>').format(title),
        *(_tick(value, ticks, bottom) for value in ticks),
    ]
    if reference is not None and math.isfinite(reference):
        x = _x(reference, ticks)
        parts.append(
            Markup('<line class="reference" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(x, _TOP - 6, bottom)
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="14" text-anchor="end">{} {}</text>').format(
                _WIDTH - _RIGHT, f"┆ {reference_label}", value_text(reference)
            )
        )
    parts += [_row(label, number, ticks, _TOP + _ROW * i + _ROW / 2) for i, (label, number) in enumerate(rows)]
    return Markup("").join([*parts, Markup("</svg>")])


def _row(label: str, number: CardNumber, ticks: Sequence[float], y: float) -> Markup:
    short = label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
    parts = [
        Markup('<text class="label" x="{}" y="{}" text-anchor="end">{}<title>{}</title></text>').format(
            _LABELS - 10, y + 4, short, label
        )
    ]
    if number.value is None or not math.isfinite(number.value):
        parts.append(
            Markup('<text class="tick absent" x="{}" y="{}">{}</text>').format(_LABELS + 6, y + 4, _absent(number))
        )
        return Markup("").join(parts)
    if number.lower is not None and number.upper is not None:
        low, high = _x(number.lower, ticks), _x(number.upper, ticks)
        parts.append(Markup('<line class="interval" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(low, high, y=y))
    kind = "dot" if number.status == "measured" else "dot hollow"
    parts.append(
        Markup('<circle class="{}" cx="{}" cy="{}" r="4.5"><title>{}</title></circle>').format(
            kind, _x(number.value, ticks), y, _spoken(number)
        )
    )
    return Markup("").join(parts)


def _tick(value: float, ticks: Sequence[float], bottom: float) -> Markup:
    return Markup(
        '<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'
        '<text class="tick" x="{x}" y="{below}" text-anchor="middle">{text}</text>'
    ).format(x=_x(value, ticks), top=_TOP - 6, bottom=bottom, below=bottom + 16, text=f"{value:g}".replace("-", MINUS))


def _x(value: float, ticks: Sequence[float]) -> float:
    low, high = ticks[0], ticks[-1]
    share = (min(max(value, low), high) - low) / (high - low)
    return round(_LABELS + share * (_WIDTH - _LABELS - _RIGHT), 2)


def _ticks(low: float, high: float) -> list[float]:
    """Returns about five round positions whose ends enclose the values; never an axis of no width."""
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


def _spoken(number: CardNumber) -> str:
    if number.value is None:
        return _absent(number)
    interval = interval_text(number)
    return value_text(number.value, number.metric) + (f" ({interval})" if interval else "")


def _absent(number: CardNumber) -> str:
    return f"{'withheld' if number.status == 'withheld' else 'insufficient evidence'}: {number.reason}"
