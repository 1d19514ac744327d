"""Plots of single rows: bounded, inert, and without the values that must not be in them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from probity.audits.row_plots import _places, _ranks, _swarm, draw_beeswarm, draw_dependence, draw_waterfall

HOSTILE = "$\\frac{x$ <script>alert(1)</script>"
TABLE = pa.table(
    {
        "number": pa.array([3.0, None, 1.0, 2.0, 2.0], pa.float32()),
        HOSTILE: pa.array(["a", None, "<b>", "a", "$c_{"], pa.string()),
        "same": pa.array([7, 7, 7, 7, 7], pa.int64()),
    }
)
CONTRIBUTIONS = np.array([[0.5, -1.0, 0.0], [0.2, 1.0, 0.0], [0.5, 0.1, 0.0], [-0.5, 0.2, 0.0], [0.4, 0.3, 0.0]])


def test_numbers_are_ranked_and_nothing_else_is():
    assert _ranks(TABLE.column("number")) == pytest.approx([1.0, np.nan, 0.0, 0.5, 0.5], nan_ok=True)
    assert np.isnan(_ranks(TABLE.column(HOSTILE))).all()
    assert _ranks(TABLE.column("same")) == pytest.approx([0.5] * 5)


def test_dots_of_equal_value_are_set_apart():
    heights = _swarm(np.zeros(9))
    assert len(set(heights)) == 9
    assert np.abs(heights).max() <= 1.0
    assert _swarm(np.arange(5.0)).tolist() == [0.0] * 5


def test_text_is_placed_by_how_often_it_occurs():
    places, labels = _places(TABLE.column(HOSTILE))
    assert labels == ["a", "$c_{", "<b>"]
    assert places == pytest.approx([0.0, np.nan, 2.0, 0.0, 1.0], nan_ok=True)


def test_names_and_texts_are_neither_mathematics_nor_markup(tmp_path):
    draw_beeswarm(tmp_path / "a.svg", CONTRIBUTIONS, TABLE, space="logit")
    for i, name in enumerate(TABLE.column_names):
        draw_dependence(tmp_path / f"b{i}.svg", CONTRIBUTIONS[:, i], TABLE.column(name), name=name, space="logit")
    for path in tmp_path.iterdir():
        assert "<script" not in path.read_text()
        assert "internal: single rows" in path.read_text()


def test_a_waterfall_shows_positions_and_contributions_and_no_value(tmp_path):
    names = [f"column {i}" for i in range(20)]
    values = np.linspace(-1, 1, 20)
    draw_waterfall(
        tmp_path / "w.svg", values, names, base_value=-2.0, output=float(-2 + values.sum()), row=17, space="logit"
    )
    text = (tmp_path / "w.svg").read_text()
    assert "Test row 17" in text
    assert "8 other columns" in text  # twelve and the rest
    assert "column 0  -1.00" in text
