"""Attacks by subtraction on tables with hidden cells, and on whole published cards, in every form."""

import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probity.digest import digest_bytes
from probity.findings import AuditReport, Estimate, Finding, Subject, finding_id
from probity.metric import METRICS
from probity.model_cards.compose import compose
from probity.model_cards.cyclonedx import to_cyclonedx
from probity.model_cards.cyclonedx_reader import read_cyclonedx
from probity.model_cards.differencing import gives_away
from probity.model_cards.disclosure import FEWEST_ROWS, disclosure_of
from probity.model_cards.huggingface import read_huggingface, to_huggingface
from probity.model_cards.publication import Publication
from probity.model_cards.render import to_html, to_json, to_markdown
from probity.model_cards.wording import ABSENT

MINIMUM = 100
SEX, RACE = ("f", "m"), ("a", "b", "c", "d")
LABELS = ("positive", "negative")
UNITS = list(itertools.product(SEX, RACE, LABELS))
"""The finest cells that anybody could ask about."""


def cells(counts):
    return {frozenset({("s", s), ("r", r)}): n for (s, r), n in counts.items()}


def solvable(counts, hidden):
    """Every set of hidden cells whose sum linear algebra finds from the totals of rows and columns: the slow truth."""
    if not hidden:
        return
    hidden = sorted(hidden)
    lines = {line for cell in hidden for line in enumerate(cell)}
    known = np.array([[float(cell[axis] == name) for cell in hidden] for axis, name in lines])
    project = np.linalg.pinv(known) @ known
    for size in range(1, len(hidden) + 1):
        for chosen in itertools.combinations(range(len(hidden)), size):
            wanted = np.zeros(len(hidden))
            wanted[list(chosen)] = 1.0
            if np.allclose(project @ wanted, wanted, atol=1e-9):
                yield [hidden[i] for i in chosen]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=12, max_size=12))
@example([20] * 12)
def test_the_rule_agrees_with_linear_algebra(drawn):
    counts = dict(zip(itertools.product("wxyz", "abc"), drawn, strict=True))
    hidden = {cell for cell, n in counts.items() if n < 20}
    found = any(
        len(known) == 1 or sum(counts[cell] for cell in known) < 50 for known in solvable(counts, hidden)
    )  # fmt: skip
    named = {frozenset({("s", s), ("r", r)}) for s, r in hidden}
    assert gives_away(cells(counts), named, floor=50) == found


def test_a_bridge_between_two_cycles_gives_one_cell_away():
    """Every line has two hidden cells or more, and still one is determined: no check of lines alone can see it."""
    hidden = {
        ("1", "a"),
        ("1", "b"),
        ("2", "a"),
        ("2", "b"),
        ("2", "c"),
        ("3", "c"),
        ("3", "d"),
        ("4", "c"),
        ("4", "d"),
    }
    counts = dict.fromkeys(hidden, 60)
    assert [("2", "c")] in list(solvable(counts, hidden))
    assert gives_away(cells(counts), set(cells(counts)), floor=100)


@pytest.mark.parametrize(("hidden", "away"), [(set(), False), ({"a"}, True), ({"a", "b"}, False), ({"a", "c"}, True)])
def test_one_attribute(hidden, away):
    sizes = {frozenset({("g", name)}): n for name, n in {"a": 60, "b": 70, "c": 30, "d": 500}.items()}
    assert gives_away(sizes, {frozenset({("g", name)}) for name in hidden}, floor=100) == away


def test_three_attributes_and_many_lines_are_answered_carefully():
    triple = {frozenset({("a", x), ("b", "1"), ("c", "1")}): 90 for x in "pqr"}
    assert gives_away(triple, set(triple), floor=100)
    many = {frozenset({("a", str(i)), ("b", str(j))}): 90 for i in range(13) for j in range(13)}
    assert gives_away(many, set(many), floor=100)
    assert not gives_away(many, set(), floor=100)


# -- whole cards -------------------------------------------------------------------------------------------------------


def finding(audit, metric, count, n, *, threshold=None, **where):
    small = where and sum(1 for _ in where) and n < MINIMUM
    value = count / n if n else None
    return Finding(
        id=finding_id(audit, metric, slice_=where, threshold=threshold),
        metric=metric,
        slice=where,
        threshold=threshold,
        estimate=Estimate(value=value, method="exact", n=n),
        direction=METRICS[metric].direction,
        evidence="insufficient" if small or value is None else "sufficient",
        reason="fewer rows than the minimum" if small or value is None else None,
    )


def reports_of(drawn, subject):
    """Reports that count: how many rows a group has, with which label, as the audits count them."""
    counts = dict(zip(UNITS, drawn, strict=True))
    tables = [{}, *({"sex": s} for s in SEX), *({"race": r} for r in RACE)]
    tables += [{"sex": s, "race": r} for s in SEX for r in RACE]
    performance, data = [], []
    for where in tables:
        mine = {unit: n for unit, n in counts.items() if within(unit, where)}
        labelled = {label: sum(n for unit, n in mine.items() if unit[2] == label) for label in LABELS}
        size = sum(labelled.values())
        behind = {
            "accuracy": size,
            "true_positive_rate": labelled["positive"],
            "false_positive_rate": labelled["negative"],
        }
        for metric, n in behind.items():
            performance.append(finding("performance", metric, n // 2, n, threshold=0.5, **where))
        data.append(finding("data", "positive_label_rate", labelled["positive"], size, **where))
    made = {"performance": performance, "data": data}
    return counts, {
        name: AuditReport(audit=name, status="complete", subject=subject, findings=tuple(found))
        for name, found in made.items()
    }


def within(unit, where):
    return where.get("sex", unit[0]) == unit[0] and where.get("race", unit[1]) == unit[1]


def equations(numbers):
    """Every count that published numbers state, as (slice, labels, count): rows behind them, exact rates of labels."""
    behind = {"accuracy": LABELS, "true_positive_rate": LABELS[:1], "false_positive_rate": LABELS[1:]}
    for metric, where, value, n, exact in numbers:
        if n is None:
            continue
        yield where, behind.get(metric, LABELS), n
        if metric == "positive_label_rate" and value is not None and exact:
            yield where, LABELS[:1], round(value * n)


def attack(counts, numbers):
    """Yields every set of groups of one table, by label or not, whose rows linear algebra finds, with their number."""
    stated = list(equations(numbers))
    known = np.array([[float(within(u, where) and u[2] in labels) for u in UNITS] for where, labels, _ in stated])
    if not len(known):
        return
    project = np.linalg.pinv(known) @ known
    said = {(tuple(sorted(where.items())), labels) for where, labels, _ in stated}
    groups = [
        [{"sex": s} for s in SEX],
        [{"race": r} for r in RACE],
        [{"sex": s, "race": r} for s in SEX for r in RACE],
    ]
    for table, labels in itertools.product(groups, (LABELS, LABELS[:1], LABELS[1:])):
        hidden = [where for where in table if (tuple(sorted(where.items())), labels) not in said]
        sets = [chosen for size in range(len(hidden)) for chosen in itertools.combinations(hidden, size + 1)]
        of_group = {id(w): np.array([float(within(u, w) and u[2] in labels) for u in UNITS]) for w in hidden}
        wanted = np.array([sum(of_group[id(w)] for w in chosen) for chosen in sets]).reshape(len(sets), len(UNITS))
        found = np.isclose(wanted @ project, wanted, atol=1e-9).all(axis=1)
        found &= wanted.sum(axis=1) < len(UNITS) * len(labels) / len(LABELS)  # totals are no secret
        for place in np.flatnonzero(found):
            yield sets[place], labels, int(wanted[place] @ np.array(list(counts.values())))


def refuse(found):
    """Fails for a set of withheld groups that is small, and for a few rows with a label, wherever they are."""
    for chosen, labels, count in found:
        assert count >= (MINIMUM if labels == LABELS else FEWEST_ROWS), (chosen, labels)


COUNTS = st.lists(st.one_of(st.integers(0, 12), st.integers(13, 99), st.integers(100, 900)), min_size=16, max_size=16)


@settings(max_examples=80, deadline=None)
@given(COUNTS)
def test_no_sum_or_difference_of_published_counts_finds_a_small_cell(drawn):
    attack_counts(drawn)


@pytest.mark.statistical
@settings(max_examples=3000, deadline=None)
@given(COUNTS)
def test_no_sum_or_difference_finds_a_small_cell_in_many_more_tables(drawn):
    attack_counts(drawn)


def attack_counts(drawn):
    subject = Subject(model=digest_bytes(b"m"), examples=digest_bytes(b"e"))
    counts, reports = reports_of(drawn, subject)
    disclosure = disclosure_of(reports, minimum=MINIMUM)
    published = [disclosure.publish(entry) for report in reports.values() for entry in report.findings]
    refuse(attack(counts, [(n.metric, n.slice, n.value, n.n, n.decimals is None) for n in published]))


def test_without_suppression_the_attack_finds_small_cells():
    """The attack has teeth: withholding the small group alone is not enough."""
    drawn = [200, 300, 200, 300, 200, 300, 4, 60, 200, 300, 200, 300, 200, 300, 200, 300]
    counts, reports = reports_of(drawn, Subject(model=None, examples=digest_bytes(b"e")))
    numbers = [(e.metric, e.slice, e.estimate.value, e.estimate.n, True) for r in reports.values() for e in r.findings]
    naive = [entry for entry in numbers if not entry[1] or entry[3] >= MINIMUM]
    assert [count for _, labels, count in attack(counts, naive) if labels == LABELS and count < MINIMUM]


def from_card(value):
    parts = (value.get("overall"), value.get("by_group"), value.get("data", {}).get("findings"))
    for part in parts:
        for number in (part or {}).get("numbers", ()):
            yield number["metric"], number["slice"], number["value"], number["n"], number["decimals"] is None


def from_index(rows):
    """Numbers of the index of all numbers that the printed forms end with: finding, value, rows."""
    for name, n in rows:
        _, metric, where = name.split("@")[0].split("/")
        slice_ = {} if where == "overall" else dict(pair.split("=") for pair in where.split(","))
        yield metric, slice_, None, int(n.replace(",", "")) if n != ABSENT else None, False


MARKDOWN_ROW = re.compile(r"^\| `([^`]+/[^`]+)` \| [^|]* \| (\S+) \|", re.MULTILINE)
HTML_ROW = re.compile(r'<tr id="number-\d+">.*?<code class="id">(.*?)</code>.*?</td><td>(\S+?)</td>')
READERS = {
    "json": (to_json, lambda text: from_card(json.loads(text))),
    "huggingface": (to_huggingface, lambda text: from_card(read_huggingface(text))),
    "cyclonedx": (to_cyclonedx, lambda text: from_card(read_cyclonedx(text))),
    "md": (to_markdown, lambda text: from_index(MARKDOWN_ROW.findall(text))),
    "html": (to_html, lambda text: from_index(HTML_ROW.findall(text.replace("<wbr>", "")))),
}
CASES = (
    [200, 300, 200, 300, 200, 300, 4, 60, 200, 300, 200, 300, 200, 300, 200, 300],
    [20, 30, 25, 40, 200, 300, 200, 300, 30, 30, 20, 60, 200, 300, 200, 300],
    [200, 300, 3, 300, 200, 300, 200, 300, 200, 300, 200, 5, 200, 300, 200, 300],
)


@pytest.mark.parametrize("drawn", CASES)
@pytest.mark.parametrize("form", READERS)
def test_every_form_keeps_small_cells(parts, form, drawn):
    write, read = READERS[form]
    subject = Subject(model=parts["model"].digest, examples=digest_bytes(b"e"))
    counts, reports = reports_of(drawn, subject)
    numbers = list(read(write(Publication(card=compose(**parts, reports=reports)))))
    assert len([entry for entry in numbers if entry[3] is not None]) >= 3
    refuse(attack(counts, numbers))
