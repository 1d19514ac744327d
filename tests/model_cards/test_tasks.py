"""The card of a model of several classes and of a regression: what it says, and what it keeps back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from probity.audits import r_squared
from probity.audits.data_tasks import label_findings
from probity.audits.fairness import FairnessAudit
from probity.audits.performance_tasks import _confusions, _example_count, quantities_of
from probity.audits.quantities import findings_of
from probity.audits.task_rows import ClassifiedRows
from probity.card import ModelCard
from probity.digest import digest_bytes
from probity.findings import AuditReport
from probity.model_cards.compose import compose
from probity.model_cards.disclosure import disclosure_of
from probity.model_cards.publication import Publication
from probity.model_cards.render import to_html, to_json, to_markdown
from probity.model_cards.tasks import HEADLINES
from probity.model_cards.wording import rule_text, unit_title
from tests.audits.task_evidence import CLASSES, draw_table, light_evidence, rows_of
from tests.model_cards.conftest import run_config

TASKS = ("multiclass", "regression")
RULES: dict[str, list[dict[str, Any]]] = {
    "multiclass": [{"name": "finds", "metric": "true_positive_rate", "label_class": "low", "at_least": 0.5}],
    "regression": [{"name": "errors", "metric": "mean_absolute_error", "at_most": 5000}],
}


def reports_of(evidence) -> dict[str, AuditReport]:
    performance = [
        finding
        for grouping in evidence.dataset.slices()
        for quantity in (_example_count(evidence.scored, grouping), *quantities_of(evidence, grouping))
        for finding in findings_of("performance", quantity, evidence.settings)
    ]
    if evidence.dataset.task == "multiclass":
        performance += _confusions(evidence.scored, evidence)
    made = {"performance": performance, "data": list(label_findings(evidence))}
    reports = {
        name: AuditReport(audit=name, status="complete", subject=evidence.subject, findings=tuple(findings))
        for name, findings in made.items()
    }
    return {**reports, "fairness": FairnessAudit().run(evidence, workdir=None)}


def card_of(task, parts, evidence, reports) -> ModelCard:
    label = {"column": "y", **({"classes": list(CLASSES), "favourable": ["high"]} if task == "multiclass" else {})}
    data = {"source": "drawn.csv", "task": task, "label": label, "sensitive": ["sex", "region"]}
    config = run_config(data=data, gate={"rules": RULES[task]}, audits={"min_group_size": 100})
    dataset = evidence.dataset.model_copy(update={"favourable": ("high",) if task == "multiclass" else ()})
    model = parts["model"].model_copy(update={"digest": digest_bytes(b"model")})
    return compose(**{**parts, "config": config, "dataset": dataset, "model": model}, reports=reports)


@pytest.fixture(scope="module")
def made(parts):
    cards = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(r_squared, "_REPLICATES", 50)
        for task in TASKS:
            evidence = light_evidence(task, rows_of(task, draw_table(task, 900)), minimum=100)
            reports = reports_of(evidence)
            cards[task] = (card_of(task, parts, evidence, reports), reports)
    return cards


@pytest.mark.parametrize("task", TASKS)
def test_the_card_comes_back_from_its_json_form(task, made):
    card, _ = made[task]
    assert ModelCard.from_json(json.loads(to_json(Publication(card=card)))) == card


@pytest.mark.parametrize("task", TASKS)
def test_nothing_of_a_binary_label_is_printed(task, made):
    page = to_markdown(Publication(card=made[task][0]))
    for word in ("positive when the score", "; positive:", "selection rate at threshold", "Also reported at", "@0.5"):
        assert word not in page
    glance = page.split("| At a glance")[1].split("## ")[0]
    assert glance.count("not assessed") == 1  # epsilon: there is no privacy report here


@pytest.mark.parametrize("task", TASKS)
def test_the_headlines_and_what_the_numbers_are_measured_in(task, made):
    card, reports = made[task]
    page = to_markdown(Publication(card=card))
    for name in HEADLINES[task]:
        value = reports["performance"].find(f"performance/{name}/overall").estimate.value
        line = next(line for line in page.splitlines() if line.startswith(f"| {unit_title(name, label='y')} |"))
        assert (f"{value:,.0f}" if value >= 1000 else f"{value:.3f}") in line
    if task == "regression":
        assert "mean absolute error, in units of y" in page
        assert "- Label: y; a number" in page
        assert "a higher prediction benefits a person" in page
    else:
        assert "the class with the highest score" in page
        assert "one of 3 classes: high, low, middle" in page
        assert "- Favourable outcome: high" in page


def test_classes_have_their_tables_and_the_confusions_are_those_of_the_report(made):
    card, reports = made["multiclass"]
    page = to_markdown(Publication(card=card))
    assert "of each class against all others" in page
    row = next(line for line in page.split("with the label of the line")[1].splitlines() if line.startswith("| low |"))
    expected = [
        reports["performance"].find("performance/confusion_rate/class=low/predicted=high/overall"),
        reports["performance"].find("performance/true_positive_rate/class=low/overall"),
        reports["performance"].find("performance/confusion_rate/class=low/predicted=middle/overall"),
    ]
    assert [part.split()[0] for part in row.split("|")[2:5]] == [f"{f.estimate.value:.3f}" for f in expected]
    assert "true positive rate of class low at least 0.5" in page
    assert "Class middle against all others, by sex" in page
    assert "Differences between the groups of sex: class high" in page
    assert "Share of each class among the rows of a group" in page


@pytest.mark.parametrize("task", TASKS)
def test_html_is_made_with_plots(task, made):
    page = to_html(Publication(card=made[task][0]))
    assert "<table" in page
    assert page.count('<svg class="plot"') >= 2 * 3  # two plots for each of sex, region and their intersection


def test_names_of_classes_are_escaped(parts):
    evil = "<script>alert(1)</script>"
    rows = rows_of("multiclass", draw_table("multiclass", 300))
    evidence = light_evidence("multiclass", ClassifiedRows(**{**vars(rows), "classes": (evil, "low", "middle")}))
    evidence.dataset = evidence.dataset.model_copy(update={"classes": (evil, "low", "middle")})
    data = {"source": "x", "task": "multiclass", "label": {"column": "y"}}
    card = compose(
        **{
            **parts,
            "config": run_config(data=data, gate={}),
            "dataset": evidence.dataset,
            "model": parts["model"].model_copy(update={"digest": digest_bytes(b"model")}),
        },
        reports=reports_of(evidence),
    )
    page = to_html(Publication(card=card))
    assert evil not in page
    assert "alert(1)" in page


def test_rates_of_a_class_of_few_people_are_withheld_over_all_rows_too():
    rows = rows_of("multiclass", draw_table("multiclass", 400))
    labels = np.where(np.arange(400) < 5, 1, np.where(rows.labels == 1, 0, rows.labels)).astype(np.int32)
    few = ClassifiedRows(**{**vars(rows), "labels": labels})
    reports = reports_of(light_evidence("multiclass", few, minimum=100))
    disclosure = disclosure_of(reports, minimum=100)
    published = {finding.id: disclosure.publish(finding) for report in reports.values() for finding in report.findings}
    for name in ("true_positive_rate/class=low", "confusion_rate/class=low/predicted=high"):
        number = published[f"performance/{name}/overall"]
        assert (number.status, number.value, number.n) == ("withheld", None, None)
        assert number.reason == "it rests on fewer than 10 rows"
    assert published["performance/true_positive_rate/class=high/overall"].status == "measured"
    assert published["performance/selection_rate/class=low/overall"].status == "measured"


def test_numbers_in_large_units_are_rounded_where_totals_would_give_a_small_group_away(monkeypatch):
    """One group of 30 people alone is below the minimum: its mean label must not follow from the others'."""
    monkeypatch.setattr(r_squared, "_REPLICATES", 50)
    rows = rows_of("regression", draw_table("regression", 500))
    reports = reports_of(light_evidence("regression", rows, minimum=100))
    disclosure = disclosure_of(reports, minimum=100)
    assert frozenset({"region"}) in disclosure.uncounted
    found = reports["data"].find("data/mean_label/region=North")
    number = disclosure.publish(found)
    assert number.n is None
    assert number.value == round(found.estimate.value, -2) != found.estimate.value
    assert number.lower <= number.value <= number.upper
    squared = disclosure.publish(reports["performance"].find("performance/mean_squared_error/region=North"))
    assert squared.value == float(f"{squared.value:.3g}")
    ratio = disclosure.publish(reports["performance"].find("performance/r_squared/region=North"))
    assert ratio.decimals == 3


def test_a_rule_on_a_class_is_written_out():
    rule = run_config(
        data={"source": "x", "task": "multiclass", "label": {"column": "y"}, "sensitive": ["sex"]},
        gate={"rules": [{"name": "r", "metric": "precision", "label_class": "a", "across": "sex", "gap_at_most": 0.1}]},
    ).gate.rules[0]
    assert rule_text(rule) == "precision of class a: gap across sex at most 0.1"
