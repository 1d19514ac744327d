"""What pages read, against truths of their own: curves, charts, tables, catalogue, comparisons, pitfalls."""

import csv
import io
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probity.access import Role
from probity.dashboards import catalogue as catalogue_module
from probity.dashboards.catalogue import audited_auc, catalogue, held_first, measures
from probity.dashboards.comparisons import pareto_front
from probity.dashboards.curves import RATES, curves_of
from probity.dashboards.drawing import Box, Point, Series, bars, flow, heat, intervals, lines
from probity.dashboards.evidence import from_card, from_report
from probity.dashboards.exhibit import to_csv
from probity.dashboards.pages import prepare
from probity.dashboards.pitfalls import answers
from probity.dashboards.views.compare import to_latex, to_markdown
from probity.dashboards.words import plain
from probity.model import DpSgd, NonPrivate
from probity.workspace import Workspace

FIRST, SECOND, THIRD = (f"2026010{day}T030405Z-adult-income-{day}a2b" for day in (1, 2, 3))


@pytest.fixture(scope="session")
def curves(tmp_path_factory, write_run):
    import json

    folder = write_run(Workspace(tmp_path_factory.mktemp("curves")), FIRST)
    kept = json.loads((folder.path / "08_audits" / "fairness" / "internal" / "curves.json").read_text("utf-8"))
    return curves_of(kept)


def test_rates_are_those_of_the_rows(curves, rows):
    place = curves.place(0.37)
    positive = rows.scores > curves.thresholds[place]
    truth = {
        "selection_rate": positive.mean(),
        "true_positive_rate": positive[rows.labels].mean(),
        "false_positive_rate": positive[~rows.labels].mean(),
        "precision": rows.labels[positive].mean(),
        "accuracy": (positive == rows.labels).mean(),
    }
    assert set(truth) == set(RATES)
    for name, expected in truth.items():
        assert curves.groups[0].rate(name, place) == pytest.approx(expected)


def test_the_roc_curve_has_about_the_area_of_the_scores(curves, rows):
    points = curves.roc(curves.groups[0])
    assert (points[0].y, points[-1].y) == (0.0, 1.0)
    x, y = np.array([point.x for point in points]), np.array([point.y for point in points])
    assert float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)) == pytest.approx(
        roc_auc_score(rows.labels, rows.scores), abs=0.005
    )


def test_calibration_is_the_share_of_positives_in_each_tenth(curves, rows):
    found = curves.calibration(curves.groups[0])
    assert sum(number for _, number in found) == rows.rows
    for step, (point, number) in enumerate(found):
        above = rows.scores > step / 10 if step else np.ones(rows.rows, bool)
        chosen = above & (rows.scores <= (step + 1) / 10 if step < 9 else np.ones(rows.rows, bool))
        assert number == chosen.sum()
        if number:
            assert point.y == pytest.approx(rows.labels[chosen].mean())


def test_scores_of_zero_are_in_the_first_tenth():
    """Two rows with score 0, one of them positive, and one row with score 0.95: no decision counts the first two."""
    kept = {
        "thresholds": [round(step / 100, 2) for step in range(100)],
        "decision_threshold": 0.5,
        "groups": [
            {"slice": {}, "rows": 3, "sufficient": True, "tp": [1] * 95 + [0] * 5, "fp": [0] * 100, "tn": [1] * 100,
             "fn": [1] * 95 + [2] * 5}
        ],
    }  # fmt: skip
    curves = curves_of(kept)
    found = curves.calibration(curves.groups[0])
    assert [number for _, number in found] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert [point.y for point, _ in found] == [0.5, *[None] * 8, 1.0]


def test_small_groups_are_named_and_not_drawn(curves):
    assert set(curves.small(("race",))) == {"Amer-Indian-Eskimo", "Other"}
    assert all(group.rows >= 100 for group in curves.by(("race",)))


@pytest.mark.parametrize("kept", [None, {}, {"thresholds": ["a"]}, [], {"thresholds": [0.0], "groups": 3}])
def test_curves_of_another_kind_are_none(kept):
    assert curves_of(kept) is None


HOSTILE = "<script>alert(1)</script> $x^2$ _y & \\n"
SURE = Point(x=0, y=0.5, lower=0.4, upper=0.6)
CHARTS = {
    "lines": lambda name: lines(
        [Series(label=name, points=(SURE, Point(x=1, y=math.inf), Point(x=2, y=None)))] * 2,
        title=name, x=name, y=name,
    ),
    "intervals": lambda name: intervals([(name, SURE), (name, None)], title=name, x=name),
    "bars": lambda name: bars([(name, Point(x=0, y=math.inf)), (name, Point(x=0, y=2.0))], title=name, x=name),
    "heat": lambda name: heat([[1.0, None]], rows=[name], columns=[name, "b"], title=name, texts=[[name, "none"]]),
    "flow": lambda name: flow(
        [Box(key="a", column=0, row=0, name=name), Box(key="b", column=1, row=0, name="b", made_from=("a", "gone"))],
        title=name,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHARTS)
def test_names_are_text_in_every_chart_and_equal_numbers_give_equal_bytes(kind):
    drawn = CHARTS[kind](HOSTILE)
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "script" not in tags
    assert any("<script>" in (element.text or "") or "<script" in (element.text or "") for element in root.iter())
    assert drawn == CHARTS[kind](HOSTILE)


def test_a_chart_that_was_kept_is_not_shown_for_other_numbers():
    points = (Point(x=0, y=1.0), Point(x=1, y=2.0))

    def drawn(reference):
        return lines([Series(label="a", points=points)], title="t", x="x", y="y", reference=reference)

    first = drawn(0.25)
    assert drawn(0.5) != first
    assert drawn(0.25) is first


def test_charts_of_nothing_are_charts():
    for drawn in (
        lines([], title="", x="", y=""),
        intervals([], title="", x=""),
        bars([], title="", x=""),
        intervals([("a", None)], title="", x=""),
    ):
        assert drawn.lstrip().startswith("<?xml")


def test_series_differ_in_more_than_colour():
    points = (Point(x=0, y=1.0), Point(x=1, y=2.0))
    drawn = lines([Series(label=str(i), points=points) for i in range(3)], title="", x="", y="")
    assert drawn.count("stroke-dasharray") >= 2


def test_cells_that_a_spreadsheet_would_run_stay_texts():
    rows = [{"a": "=1+1", "b": "-0.5"}, {"a": "@x", "b": "+cmd"}, {"a": 'he said "no"', "b": "-x"}]
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [row["a"] for row in read] == ["'=1+1", "'@x", 'he said "no"']
    assert [row["b"] for row in read] == ["-0.5", "'+cmd", "'-x"]


def test_plain_text_has_no_live_markdown_left():
    written = plain("a_b *c* [d](http://e) <f> $g$ :red[h] `i`\n# j")
    assert "\n" not in written
    for sign in "_*[]()<>$:`#":
        assert f"\\{sign}" in written


def test_the_catalogue_lists_what_a_role_may_know_held_first(tmp_path, write_run):
    place = Workspace(tmp_path)
    write_run(place, FIRST, verdict="hold", released=False)
    write_run(place, SECOND)
    write_run(place, THIRD, released=False)
    lines_ = catalogue(place, Role.VIEWER)
    assert [line.run for line in lines_] == [THIRD, SECOND, FIRST]
    assert [line.status for line in held_first(lines_)] == ["held", "approved", "released"]
    assert [line.run for line in catalogue(place, Role.PUBLIC)] == [SECOND]
    found = measures(place.find(SECOND))
    assert (found.auc, found.epsilon) == (0.9, math.inf)
    assert found.gap_of.startswith(("true positive rate by", "selection rate by"))


def test_a_run_that_ends_is_read_again(tmp_path, write_run):
    place = Workspace(tmp_path)
    folder = write_run(place, FIRST, released=False)
    assert catalogue(place, Role.VIEWER)[0].status == "approved"
    (folder.path / "11_release.json").write_bytes(b"{")
    assert catalogue(place, Role.VIEWER)[0].status == "unreadable"


def test_the_public_gets_the_numbers_of_the_card(tmp_path, write_run, reports):
    folder = write_run(Workspace(tmp_path), FIRST)
    public, full = from_card("performance", folder.card()), from_report("performance", reports["performance"])
    small = {"race": "Other"}
    assert public.of(slice=small)
    assert all(n.value is None and n.n is None for n in public.of(slice=small))
    assert all(n.n is not None for n in full.of(slice=small))
    assert public.one("auc").value == full.one("auc").value
    assert from_card("performance", None).status == from_report("performance", None).status == "missing"


def test_the_pareto_front_is_what_nobody_beats():
    rng = np.random.default_rng(3)
    points = [Point(x=float(x), y=float(y)) for x, y in rng.random((40, 2))]
    beaten = [p for p in points if any(q.x <= p.x and q.y >= p.y and q != p for q in points)]
    assert {(p.x, p.y) for p in pareto_front(points)} == {(p.x, p.y) for p in points if p not in beaten}


def test_tables_for_papers_escape_their_cells():
    rows = [{"a_b": "5 % of |x|", "epsilon": "∞"}]
    assert r"a\_b & epsilon \\" in to_latex(rows)
    assert r"5 \% of |x| & $\infty$ \\" in to_latex(rows)
    assert to_markdown(rows).splitlines()[2] == r"| 5 % of \|x\| | ∞ |"


def test_pitfalls_are_looked_up(tmp_path, write_run):
    folder = write_run(Workspace(tmp_path), FIRST)
    model, statement = folder.model(), folder.reports()["privacy"].privacy_statement
    assert [answer.state for answer in answers(model, statement)] == ["not applicable"]
    assert isinstance(model.mechanism, NonPrivate)
    mechanism = DpSgd(
        noise_multiplier=1.0, noise_source="fixed_seed", sampling="poisson", sampling_prob=0.01, steps=10,
        l2_clip_norm=1.0, expected_batch_size=100.0, normalization="expected_batch_size", unit="person", engine="test",
    )  # fmt: skip
    private = model.model_copy(update={"mechanism": mechanism, "chosen_on_eval": True})
    looked = {answer.question: answer.state for answer in answers(private, statement)}
    assert looked["The noise can be repeated by whoever knows a seed"] == "look"
    assert looked["Looking at outcomes decided when to stop"] == "look"
    assert looked["Batches are shuffled, and accounted as random samples"] == "fine"


def test_versions_are_ordered_and_drawn_from_what_their_reports_say(tmp_path, write_run):
    folder = write_run(Workspace(tmp_path / "workspace"), "20260101T000001Z-adult-income-aaaa")
    (line,) = catalogue(Workspace(tmp_path / "workspace"), Role.PUBLIC)
    assert (line.released_at, line.model) == (folder.release().released_at, folder.release().model)
    estimate = folder.reports()["performance"].find("performance/auc/overall").estimate
    assert audited_auc(folder) == (estimate.value, estimate.lower, estimate.upper)


def test_what_is_prepared_is_not_read_again(tmp_path, write_run, monkeypatch):
    place = Workspace(tmp_path / "workspace")
    folder = write_run(place, "20260101T000001Z-adult-income-bbbb")
    prepare(place.root)
    monkeypatch.setattr(catalogue_module, "_findings", lambda *given: pytest.fail("read again"))
    assert measures(folder).auc is not None
