"""The printed forms: complete, inert whatever names are in them, and without anything from elsewhere."""

import html.parser
import json
import re
from pathlib import Path

import pytest

from probity.card import ModelCard, NotAssessed, Picture
from probity.data import SensitiveAttribute
from probity.model_cards.compose import compose
from probity.model_cards.publication import Publication
from probity.model_cards.render import markdown_code, markdown_text, to_html, to_json, to_markdown

GOLDEN = Path(__file__).parent / "golden_card.md"
GOLDEN_FEDERATED = Path(__file__).parent / "golden_federated_card.md"
HOSTILE = "<script>alert(1)</script>|`x`\n\n# [a](javascript:b) \"&'{{ 7*7 }}"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(2)</script></svg>'


def picture(title, audit="explanations"):
    return Picture(audit=audit, title=title, svg=SVG)


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that tags are balanced."""

    VOID = ("meta", "img", "wbr", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def card(parts, reports):
    return compose(**parts, reports=reports)


@pytest.fixture(scope="module")
def page(card):
    return to_html(Publication(card=card, pictures=(picture("column importance"),)))


def test_json_reads_back(card):
    assert ModelCard.from_json(json.loads(to_json(Publication(card=card)))) == card


def test_html_has_no_script_and_asks_nobody(page):
    parsed = Page(page)
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    policy = next(
        attrs["content"] for tag, attrs in parsed.tags if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:")
    assert "unsafe" not in policy
    for tag, attrs in parsed.tags:
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#", "data:image/svg+xml;base64,")), tag
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_allows_the_one_style_sheet(page):
    import base64
    import hashlib

    style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page
    assert "&" not in style


def test_tables_are_accessible(page):
    parsed = Page(page)
    tables = sum(tag == "table" for tag, _ in parsed.tags)
    assert tables > 10
    assert sum(tag == "caption" for tag, _ in parsed.tags) == tables
    assert all("scope" in attrs for tag, attrs in parsed.tags if tag == "th")
    assert all(attrs.get("alt") for tag, attrs in parsed.tags if tag == "img")
    assert all(attrs.get("aria-label") for tag, attrs in parsed.tags if tag == "svg")


def test_the_contents_lead_to_every_section(page):
    parsed = Page(page)
    anchors = [attrs["id"] for tag, attrs in parsed.tags if tag == "section"]
    links = {attrs["href"] for tag, attrs in parsed.tags if tag == "a" and attrs.get("class") != "number"}
    assert len(anchors) == len(set(anchors)) == 16
    assert {f"#{anchor}" for anchor in anchors} == links


def test_every_printed_number_leads_to_its_finding(card, page):
    parsed = Page(page)
    targets = {attrs["id"]: place for place, (tag, attrs) in enumerate(parsed.tags) if tag == "tr" and "id" in attrs}
    links = [attrs["href"] for tag, attrs in parsed.tags if tag == "a" and attrs.get("class") == "number"]
    assert len(targets) == len(card.numbers())
    assert {link.removeprefix("#") for link in links} <= set(targets)
    assert len(links) > len(card.numbers())  # the index itself, and the tables before it
    for number, target in zip(card.numbers(), targets, strict=True):
        row = page[page.index(f'id="{target}"') :]
        assert number.finding in row[: row.index("</tr>")].replace("<wbr>", "")


def test_a_picture_stands_in_the_section_of_its_audit(card):
    page = to_html(Publication(card=card, pictures=(picture("roc", "attacks"), picture("importance"))))
    sections = re.split(r'<section id="', page)
    assert [part.split('"')[0] for part in sections if 'alt="roc"' in part] == ["privacy"]
    assert [part.split('"')[0] for part in sections if 'alt="importance"' in part] == ["explanations"]
    other = to_html(Publication(card=card, pictures=(picture("curve", "plugged_in"),)))
    assert [part.split('"')[0] for part in re.split(r'<section id="', other) if 'alt="curve"' in part] == ["evidence"]


def test_every_finding_id_is_visible_in_both(card, page):
    text = page.replace("<wbr>", "")
    markdown = to_markdown(Publication(card=card))
    for number in card.numbers():
        assert number.finding in text
        assert number.finding in markdown


def test_every_gap_is_printed_with_its_reason(parts):
    empty = compose(**parts, reports={})

    def gaps(value):
        if isinstance(value, NotAssessed):
            yield value.reason
        elif hasattr(type(value), "model_fields"):
            for name in type(value).model_fields:
                yield from gaps(getattr(value, name))

    reasons = list(gaps(empty))
    assert len(reasons) > 15
    page, markdown = "".join(Page(to_html(Publication(card=empty))).text), to_markdown(Publication(card=empty))
    for reason in reasons:
        assert reason in page
        assert markdown_text(reason) in markdown
    assert page.count("not assessed") >= len(reasons)


def test_a_statement_of_no_guarantee_is_printed(card, page):
    for text in (page, to_markdown(Publication(card=card))):
        assert "does not prove that a model is fair" in text


def test_infinity_is_printed(card, page):
    assert "∞" in page
    assert re.search(r"\| epsilon.*∞", to_markdown(Publication(card=card)))


def test_the_card_gives_no_verdict(page):
    text = " ".join(Page(page).text).lower()
    for word in ("passed", "failed", "unbiased", "anonymous", "secure", "approved"):
        assert word not in text


@pytest.fixture(scope="module")
def hostile(parts, reports):
    """Every name that data or config can choose, chosen by an enemy."""
    text = json.dumps({name: report.to_json() for name, report in reports.items()})
    for name in ("White", "occupation", "does not prove"):
        text = text.replace(name, json.dumps(HOSTILE)[1:-1])
    renamed = {name: type(reports[name]).from_json(value) for name, value in json.loads(text).items()}
    dataset = parts["dataset"].model_copy(
        update={
            "sensitive": (SensitiveAttribute(name="race", column=HOSTILE, groups=(HOSTILE,)),),
            "excluded": (HOSTILE,),
            "citation": HOSTILE,
            "caveats": (HOSTILE, HOSTILE),
            "positive": HOSTILE,
        }
    )
    return compose(**{**parts, "dataset": dataset, "run": HOSTILE}, reports=renamed)


def test_hostile_names_are_inert_in_html(hostile):
    page = to_html(Publication(card=hostile, pictures=(picture(HOSTILE),)))
    parsed = Page(page)
    assert not {"script", "h4"} & {tag for tag, _ in parsed.tags}
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on")]
    assert "javascript:b" in "".join(parsed.text)
    assert not [attrs for tag, attrs in parsed.tags if "javascript" in attrs.get("href", "")]
    assert "{{ 7*7 }}" in "".join(parsed.text)


def test_hostile_names_are_inert_in_markdown(hostile):
    text = to_markdown(Publication(card=hostile))
    assert "<script" not in re.sub(r"\\<", "", text)
    assert not re.search(r"(?<!\\)\[a(?<!\\)\]", text)
    assert not re.search(r"^# \[?a", text, re.M)


def test_markdown_tables_have_equal_columns_throughout(hostile, card):
    """GitHub drops cells beyond the head and splits at a pipe even inside code."""
    for text in (to_markdown(Publication(card=card)), to_markdown(Publication(card=hostile))):
        width = None
        for line in text.splitlines():
            if not line.startswith("|"):
                width = None
                continue
            columns = len(re.findall(r"(?<!\\)\|", line))
            width = width or columns
            assert columns == width, line
            assert line.endswith("|")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("plain words, 0.5 (n = 3)", "plain words, 0.5 (n = 3)"),
        ("hours_per_week", "hours_per_week"),
        ("_x_", "\\_x\\_"),
        ("a|b\nc", "a\\|b c"),
        ("1. one", "1\\. one"),
        ("0.900", "0.900"),
        ("- x", "\\- x"),
        ("-0.5", "-0.5"),
        (">50K", "\\>50K"),
        ("# x", "\\# x"),
        ("&lt;", "\\&lt;"),
        ("a*b*c", "a\\*b\\*c"),
        ("", ""),
    ],
)
def test_markdown_text(given, expected):
    assert markdown_text(given) == expected


def test_markdown_code():
    assert markdown_code("fairness/x/sex*race@0.5") == "`fairness/x/sex*race@0.5`"
    assert markdown_code("a`b") == "<code>a&#96;b</code>"
    assert "<s" not in markdown_code("<s>|").removeprefix("<code>")
    assert "|" not in markdown_code("a|b")


def test_golden_markdown(parts, small_reports):
    """The whole text of a small card. After a wanted change: write to_markdown's text to the file, and read it."""
    assert to_markdown(Publication(card=compose(**parts, reports=small_reports))) == GOLDEN.read_text(encoding="utf-8")


def test_golden_markdown_of_a_federation(federated_parts, federated_reports):
    card = compose(**federated_parts, reports=federated_reports)
    assert to_markdown(Publication(card=card)) == GOLDEN_FEDERATED.read_text(encoding="utf-8")
