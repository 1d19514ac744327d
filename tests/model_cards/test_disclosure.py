"""Numbers of small groups stay out of the card, and cannot be computed back from what is in it."""

import itertools
import re

import pytest

from probity.digest import digest_bytes
from probity.findings import AuditReport, Estimate, Finding, Subject, finding_id
from probity.metric import METRICS
from probity.model_cards.compose import compose
from probity.model_cards.disclosure import disclosure_of
from probity.model_cards.publication import Publication
from probity.model_cards.render import to_html, to_json, to_markdown

MINIMUM = 100


def finding(audit, metric, n, *, value=0.25, evidence="sufficient", reason=None, **where):
    slice_ = where.pop("slice_", {})
    return Finding(
        id=finding_id(audit, metric, slice_=slice_, **where),
        metric=metric,
        slice=slice_,
        estimate=Estimate(value=value, method="exact", n=n),
        direction=METRICS[metric].direction,
        evidence=evidence,
        reason=reason,
        **where,
    )


def report(audit, *findings):
    subject = Subject(model=digest_bytes(b"m"), examples=digest_bytes(b"e"))
    return AuditReport(audit=audit, status="complete", subject=subject, findings=findings)


def counted(table):
    """A performance report that counts the rows of each group."""
    return report("performance", *(finding("performance", "accuracy", n, slice_=dict(s)) for s, n in table.items()))


def groups(attribute, **sizes):
    return {((attribute, name),): n for name, n in sizes.items()}


def publish(reports, wanted):
    disclosure = disclosure_of(reports, minimum=MINIMUM)
    found = {entry.id: entry for given in reports.values() for entry in given.findings}
    return disclosure.publish(found[wanted])


@pytest.mark.parametrize(("n", "status"), [(0, "withheld"), (99, "withheld"), (100, "measured")])
def test_the_limit(n, status):
    reports = {"performance": counted(groups("g", a=n, b=500, c=99))}
    assert publish(reports, "performance/accuracy/g=a").status == status


def test_a_withheld_number_says_no_count():
    reports = {"performance": counted(groups("g", a=37, b=500, c=99))}
    number = publish(reports, "performance/accuracy/g=a")
    assert (number.value, number.n, number.method, number.confidence) == (None, None, None, None)
    assert number.reason == "fewer than 100 rows"


@pytest.mark.parametrize(("n", "status"), [(9, "withheld"), (10, "measured"), (99, "measured")])
def test_a_rate_on_few_rows_of_a_large_group_is_withheld_with_its_gap(n, status):
    rate = finding("performance", "true_positive_rate", n, slice_={"g": "a"}, threshold=0.5)
    gap = finding("fairness", "true_positive_rate", 900, across=("g",), comparison="gap", threshold=0.5)
    base = counted(groups("g", a=400, b=500))
    performance = base.model_copy(update={"findings": (*base.findings, rate)})
    reports = {"performance": performance, "fairness": report("fairness", gap)}
    assert publish(reports, rate.id).status == status
    assert publish(reports, gap.id).status == status
    assert publish(reports, "performance/accuracy/g=a").status == "measured"


def test_a_small_group_is_withheld_in_every_report():
    """The missing rate of a group of 37 is withheld even where that finding alone rests on more rows."""
    data = report("data", finding("data", "missing_rate", 180, slice_={"g": "a"}, feature="x"))
    reports = {"performance": counted(groups("g", a=37, b=500, c=99)), "data": data}
    assert publish(reports, "data/missing_rate/x/g=a").status == "withheld"


def test_the_share_of_a_small_group_is_its_size():
    share = finding("data", "group_share", 5000, slice_={"g": "a"}, value=0.0074)
    reports = {"performance": counted(groups("g", a=37, b=500, c=99)), "data": report("data", share)}
    assert publish(reports, share.id).status == "withheld"


@pytest.mark.parametrize(
    ("sizes", "uncounted"),
    [
        ({"a": 500, "b": 700}, False),
        ({"a": 37, "b": 500, "c": 700}, True),  # total minus b minus c is a
        ({"a": 37, "b": 40, "c": 700}, True),  # together 77: each is known to be small
        ({"a": 60, "b": 70, "c": 700}, False),  # together 130: as vague as any group that is printed
        ({"a": 0, "b": 700}, True),
    ],
)
def test_sizes_are_withheld_where_totals_give_them_away(sizes, uncounted):
    share = finding("data", "group_share", 5000, slice_={"g": "c" if "c" in sizes else "b"}, value=0.123456)
    reports = {"performance": counted(groups("g", **sizes)), "data": report("data", share)}
    large = max(sizes, key=sizes.get)
    number = publish(reports, f"performance/accuracy/g={large}")
    assert (number.n is None) == uncounted
    assert number.decimals == (3 if uncounted else None)
    assert (publish(reports, share.id).status == "withheld") == uncounted


def test_an_intersection_is_uncounted_when_one_line_gives_a_cell_away():
    """f has one small cell only, so f's own total minus its other cells is that cell."""
    cells = {("f", "a"): 60, ("f", "b"): 300, ("m", "a"): 70, ("m", "b"): 80, ("m", "c"): 300, ("f", "c"): 200}
    reports = {"performance": counted({(("s", s), ("r", r)): n for (s, r), n in cells.items()})}
    assert publish(reports, "performance/accuracy/s=m,r=c").n is None
    safe = {("f", "a"): 60, ("f", "b"): 70, ("m", "a"): 70, ("m", "b"): 80, ("m", "c"): 300, ("f", "c"): 200}
    reports = {"performance": counted({(("s", s), ("r", r)): n for (s, r), n in safe.items()})}
    assert publish(reports, "performance/accuracy/s=m,r=c").n == 300


@pytest.mark.parametrize(
    ("audit", "status"), [("fairness", "insufficient"), ("mitigation", "insufficient"), ("other", "withheld")]
)
def test_only_two_audits_are_known_to_leave_small_groups_out_of_a_gap(audit, status):
    reason = "not compared: g=a (fewer than 100 rows)"
    gap = finding(audit, "accuracy", 999, across=("g",), comparison="gap", evidence="insufficient", reason=reason)
    reports = {"performance": counted(groups("g", a=37, b=500, c=499)), audit: report(audit, gap)}
    number = publish(reports, gap.id)
    assert number.status == status
    assert number.n is None
    assert (number.value is None) == (status == "withheld")


def test_a_sufficient_gap_is_published_without_its_count():
    gap = finding("fairness", "accuracy", 1199, across=("g",), comparison="gap")
    reports = {"performance": counted(groups("g", a=60, b=70, c=500, d=699)), "fairness": report("fairness", gap)}
    number = publish(reports, gap.id)
    assert (number.status, number.value, number.n) == ("measured", 0.25, None)


def test_notes_that_name_a_small_group_are_left_out():
    disclosure = disclosure_of({"performance": counted(groups("g", a=37, b=500))}, minimum=MINIMUM)
    assert "37" not in disclosure.publish_note("g=a has 37 rows")
    assert disclosure.publish_note("g=b has 500 rows") == "g=b has 500 rows"


def small_groups(reports):
    return {
        entry.id.removeprefix("performance/example_count/"): int(entry.estimate.value)
        for entry in reports["performance"].findings
        if entry.metric == "example_count" and entry.slice and entry.estimate.value < MINIMUM
    }


@pytest.mark.parametrize("fixture", ["reports", "lone_reports"])
def test_no_printed_form_holds_the_numbers_of_a_small_group(parts, request, fixture):
    reports = request.getfixturevalue(fixture)
    card = compose(**parts, reports=reports)
    small = small_groups(reports)
    assert small
    for number in card.numbers():
        name = ",".join(f"{key}={value}" for key, value in number.slice.items())
        if name in small:
            assert number.status == "withheld"
            assert number.to_json()["value"] is None
    secret = {
        f"{entry.estimate.value:.6f}"
        for report in reports.values()
        for entry in report.findings
        if ",".join(f"{k}={v}" for k, v in entry.slice.items()) in small
        and entry.estimate.value not in (None, 0.0, 1.0, 0.5)
        and entry.metric not in ("auc", "mean_abs_shap", "example_count")
    }
    public = {
        f"{entry.estimate.value:.6f}"
        for report in reports.values()
        for entry in report.findings
        if entry.estimate.value is not None and ",".join(f"{k}={v}" for k, v in entry.slice.items()) not in small
    }
    printed = {f"{float(text):.6f}" for text in re.findall(r"\d+\.\d{6,}", to_json(Publication(card=card)))}
    assert not printed & (secret - public)
    for text in (to_html(Publication(card=card)), to_markdown(Publication(card=card))):
        assert not [count for count in small.values() if re.search(rf"\b{count} rows", text) and count != MINIMUM]


@pytest.mark.parametrize("fixture", ["reports", "lone_reports"])
def test_subtracting_printed_sizes_from_totals_finds_no_small_group(parts, request, fixture):
    """The attack that complementary suppression is for: total of a line minus its printed sizes."""
    reports = request.getfixturevalue(fixture)
    card = compose(**parts, reports=reports)
    sizes = {}
    for number in card.numbers():
        if number.metric in ("accuracy", "selection_rate", "example_count") and number.n is not None:
            sizes[frozenset(number.slice.items())] = number.n
    everything = {frozenset(entry.slice.items()) for entry in reports["performance"].findings}
    for line, table in itertools.product(everything, {frozenset(name for name, _ in key) for key in everything}):
        cells = [key for key in everything if {name for name, _ in key} == table and line < key]
        hidden = [key for key in cells if key not in sizes]
        if line not in sizes or not hidden:
            continue
        remainder = sizes[line] - sum(sizes[key] for key in cells if key in sizes)
        assert len(hidden) > 1
        assert remainder >= MINIMUM


def test_rows_behind_a_withheld_precision_are_not_left_to_be_subtracted():
    """One group has four positive predictions: with the total and the other group's, its four would be known."""
    found = [finding("performance", "precision", 504, threshold=0.5)]
    found += [finding("performance", "precision", n, slice_={"g": g}, threshold=0.5) for g, n in (("a", 4), ("b", 500))]
    base = counted(groups("g", a=400, b=900))
    reports = {"performance": base.model_copy(update={"findings": (*base.findings, *found)})}
    assert publish(reports, found[1].id).status == "withheld"
    assert (publish(reports, found[2].id).n, publish(reports, found[2].id).decimals) == (None, 3)
    assert publish(reports, "performance/accuracy/g=b").n == 900  # the size of a group gives no prediction away


@pytest.mark.parametrize(
    ("positives", "status"), [(9, "withheld"), (10, "measured"), (390, "measured"), (391, "withheld")]
)
def test_a_rate_of_labels_is_a_count_of_people(positives, status):
    rate = finding("data", "positive_label_rate", 400, value=positives / 400, slice_={"g": "a"})
    reports = {"performance": counted(groups("g", a=400, b=500)), "data": report("data", rate)}
    assert publish(reports, rate.id).status == status


@pytest.mark.parametrize(
    ("counts", "withheld"), [((4, 96, 300), 2), ((4, 5, 391), 3), ((4, 7, 389), 2), ((40, 60, 300), 0)]
)
def test_shares_of_a_rare_class_are_withheld_with_enough_others(counts, withheld):
    """Shares add up to one, so a lone withheld share is no secret."""
    total = sum(counts)
    shares = [
        finding("data", "label_share", total, value=n / total, label_class=name)
        for name, n in zip("pqr", counts, strict=True)
    ]
    reports = {"data": report("data", *shares)}
    assert [publish(reports, entry.id).status for entry in shares].count("withheld") == withheld


def test_no_class_has_its_rows_printed_where_one_is_too_rare():
    rates = [finding("performance", "true_positive_rate", n, label_class=name) for name, n in (("p", 6), ("q", 500))]
    others = [finding("performance", "false_positive_rate", n, label_class=name) for name, n in (("p", 500), ("q", 6))]
    overall = finding("performance", "accuracy", 506)
    reports = {"performance": report("performance", overall, *rates, *others)}
    assert publish(reports, rates[1].id).n is None
    assert publish(reports, others[0].id).n is None
    assert publish(reports, overall.id).n == 506


def impact_ratios(**groups):
    """Sizes and favourable rates by group, as the tables of a rule state them: relative to the highest rate."""
    best = max(groups, key=lambda name: groups[name][1])
    found = []
    for name, (rows, rate) in groups.items():
        at = {"slice_": {"g": name}}
        is_best = name == best
        ratio = finding("regulatory", "impact_ratio", rows, value=rate / groups[best][1], threshold=0.5, **at)
        if not is_best:
            estimate = ratio.estimate.model_copy(update={"method": "mover_wilson", "n": rows + groups[best][0]})
            ratio = ratio.model_copy(update={"estimate": estimate})
        found += [
            finding("regulatory", "example_count", rows, value=float(rows), **at),
            finding("regulatory", "favourable_rate", rows, value=rate, threshold=0.5, **at),
            ratio,
        ]
    return {"regulatory": report("regulatory", *found)}


@pytest.mark.parametrize("small", [{"c": (3, 1.0)}, {"c": (60, 0.9), "d": (60, 0.1)}], ids=["one", "two"])
def test_an_impact_ratio_does_not_give_the_rate_or_the_size_of_a_withheld_group_away(small):
    reports = impact_ratios(a=(500, 0.4), b=(300, 0.2), **small)
    for name in ("a", "b"):
        assert publish(reports, f"regulatory/favourable_rate/g={name}@0.5").status == "measured"
        shown = publish(reports, f"regulatory/impact_ratio/g={name}@0.5")
        assert (shown.status, shown.value, shown.n) == ("withheld", None, None)


def test_impact_ratios_relative_to_a_large_group_are_published():
    reports = impact_ratios(a=(500, 0.4), b=(300, 0.2), c=(3, 0.1))
    assert publish(reports, "regulatory/impact_ratio/g=b@0.5").value == 0.5
