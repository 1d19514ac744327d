"""``ModelCard`` -> ``Document``: which section says what, in which order. Shared by HTML and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from probity.card import CardNumber, MetricsChoice, ModelCard, ModelDetails, NotAssessed, Numbers, Statement
from probity.model import Encrypted
from probity.model_cards.appendix import appendix
from probity.model_cards.blocks import (
    Block,
    Cell,
    Document,
    Facts,
    Figures,
    Gap,
    Items,
    Row,
    Section,
    Subheading,
    Table,
    Tile,
)
from probity.model_cards.federation import federation_blocks
from probity.model_cards.measured import (
    analyses,
    edge_cases,
    explanations,
    individuals,
    notes,
    pick,
    privacy,
    regulatory,
)
from probity.model_cards.publication import Publication
from probity.model_cards.tables import (
    cell,
    data_tables,
    evidence_table,
    proxy_table,
)
from probity.model_cards.tasks import HEADLINES, decision_facts, label_tables, label_text
from probity.model_cards.verdict import decision_blocks
from probity.model_cards.wording import ABSENT, metric_title, mitigation_words, rule_text, table_title, unit_title

__all__ = ["document_of"]

_NO_IMAGES: Mapping[str, Sequence[tuple[str, str]]] = {}


def document_of(publication: Publication, *, images: Mapping[str, Sequence[tuple[str, str]]] = _NO_IMAGES) -> Document:
    """Lays a card out.

    Args:
        publication: The card and what came after it.
        images: Per audit, title and ``data:`` address of its pictures.
    """
    card = publication.card
    return Document(
        title=card.name,
        facts=(
            ("Run", card.run),
            *((("Version", publication.version),) if publication.release is not None else ()),
            ("Created", card.created_at),
            ("Model", card.details.digests.get("model", "")),
            ("Test rows", card.subject.examples if card.subject else "not stated by any report"),
        ),
        tiles=tuple(_tiles(publication)),
        sections=(
            Section(anchor="details", title="Model details", blocks=tuple(_details(card))),
            Section(anchor="use", title="Use", blocks=tuple(_use(card))),
            Section(anchor="factors", title="Factors", blocks=tuple(_factors(card))),
            Section(anchor="metrics", title="Metrics", blocks=tuple(_metrics(card))),
            Section(anchor="data", title="Training and evaluation data", blocks=tuple(_data(card))),
            Section(anchor="federation", title="Training over clients", blocks=tuple(federation_blocks(card))),
            Section(anchor="analyses", title="Quantitative analyses", blocks=(*analyses(card), *edge_cases(card))),
            Section(anchor="privacy", title="Privacy", blocks=tuple(privacy(card, images.get("attacks", ())))),
            Section(
                anchor="explanations",
                title="Explanations",
                blocks=tuple(explanations(card, images.get("explanations", ()))),
            ),
            Section(anchor="individuals", title="Single decisions", blocks=tuple(individuals(card))),
            Section(anchor="regulatory", title="Regulatory tables", blocks=tuple(regulatory(card))),
            Section(
                anchor="considerations",
                title="Limitations, trade-offs and ethical considerations",
                blocks=tuple(_considerations(card)),
            ),
            Section(anchor="risk", title="Risk", blocks=tuple(_risk(card))),
            Section(anchor="decision", title="Gate decision", blocks=tuple(decision_blocks(publication))),
            Section(anchor="evidence", title="Evidence", blocks=tuple(_evidence(card, _others(images)))),
            Section(anchor="appendix", title="Appendix: frameworks", blocks=tuple(appendix(publication))),
        ),
        anchors={number.finding: f"number-{i}" for i, number in enumerate(card.numbers(), start=1)},
    )


def _others(images: Mapping[str, Sequence[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Returns the pictures of audits that have no section of their own."""
    return [image for audit, mine in images.items() if audit not in ("attacks", "explanations") for image in mine]


def _tiles(publication: Publication) -> Iterator[Tile]:
    card, decision = publication.card, publication.decision
    at = card.metrics.decision_threshold
    wanted: tuple[tuple[str, float | None], ...] = (("auc", None), ("accuracy", at), ("selection_rate", at))
    if card.metrics.task != "binary":
        wanted = tuple((name, None) for name in HEADLINES[card.metrics.task])
    overall = card.overall.numbers if isinstance(card.overall, Numbers) else ()
    for name, threshold in wanted:
        number = pick(overall, name, threshold)
        label = unit_title(name, label=card.data.label) + (f" at threshold {at:g}" if threshold is not None else "")
        yield Tile(label=label, cell=_tile_cell(number))
    found = card.privacy.findings.numbers if isinstance(card.privacy.findings, Numbers) else ()
    yield Tile(label="epsilon of the training", cell=_tile_cell(pick(found, "epsilon", None)))
    if decision is not None:
        detail = f"{len(decision.checks)} checks; against a release: {len(decision.blocking)}"
        yield Tile(label="gate decision", cell=Cell(text=decision.verdict, detail=detail))


def _tile_cell(number: CardNumber | None) -> Cell:
    return cell(number, with_id=True) if number is not None else Cell(text="not assessed", muted=True)


def _details(card: ModelCard) -> Iterator[Block]:
    details = card.details
    mechanism = details.mechanism.to_json()
    settings = ", ".join(
        f"{name} {value}"
        for name, value in mechanism.items()
        if name not in ("kind", "parties", "revealed") and value is not None
    )
    yield Facts(
        pairs=(
            ("Owner", _lines(details.owner)),
            ("Contact", _lines(details.contact)),
            ("Licence", _lines(details.licence)),
            ("Trainer", (details.trainer,)),
            ("Mechanism", (mechanism["kind"].replace("_", " ") + (f": {settings}" if settings else ""),)),
            *_share_facts(details),
            ("Parameters", ("not known" if details.num_parameters is None else f"{details.num_parameters:,}",)),
            ("Training rows", (f"{details.num_train_examples:,}",)),
            *_training_facts(details),
            ("Mitigation", tuple(mitigation_words(details.mitigation))),
        )
    )
    if card.contacts:
        yield Table(
            caption="Contacts",
            heads=("For", "Name", "To be reached at"),
            rows=tuple(
                Row(header=entry.role, cells=(Cell(text=entry.name or ABSENT), Cell(text=entry.reach)))
                for entry in card.contacts
            ),
            numeric=False,
        )
    else:
        yield Gap(what="Contacts", reason="the owner named nobody under card.contacts")
    if details.warnings:
        yield Subheading(text="Warnings of the trainer")
        yield Items(texts=details.warnings)
    yield Subheading(text="Architecture and settings")
    yield Facts(pairs=_pairs(details.architecture))
    yield Subheading(text="Identity and environment")
    yield Facts(pairs=_pairs(details.digests), monospace=True)
    if details.environment:
        yield Facts(pairs=_pairs(details.environment), monospace=True)


def _use(card: ModelCard) -> Iterator[Block]:
    yield Subheading(text="Intended use")
    yield _said(card.intended_use)
    yield Subheading(text="Out of scope")
    yield _said(card.out_of_scope)


def _factors(card: ModelCard) -> Iterator[Block]:
    factors = card.factors
    served = () if card.details.mitigation is None else card.details.mitigation.served_columns
    rows = [
        Row(
            header=entry.name,
            cells=(
                Cell(text=", ".join(entry.groups)),
                Cell(text=entry.column),
                Cell(text=_seen(also_feature=entry.also_feature, in_the_rule=entry.column in served)),
            ),
        )
        for entry in factors.attributes
    ]
    rows += [
        Row(
            header=table_title(names), cells=(Cell(text="all combinations"), Cell(text=", ".join(names)), Cell(text=""))
        )
        for names in factors.intersections
    ]
    if not rows:
        yield Gap(what="Groups", reason="the config declares no sensitive attribute")
        return
    yield Table(
        caption="Attributes by whose groups the model was examined",
        heads=("Attribute", "Groups", "Column", "Seen by the model"),
        rows=tuple(rows),
        numeric=False,
    )
    yield Subheading(text="Proxies")
    if isinstance(factors.proxies, Numbers):
        yield proxy_table(factors.proxies.numbers)
    else:
        yield Gap(reason=factors.proxies.reason)


def _seen(*, also_feature: bool, in_the_rule: bool) -> str:
    if in_the_rule:
        return "yes: the decision depends on it" + ("" if also_feature else ", and no score before that does")
    return "yes" if also_feature else "no: audited only"


def _metrics(card: ModelCard) -> Iterator[Block]:
    metrics = card.metrics
    yield Facts(
        pairs=(
            *(_binary_decision(metrics) if metrics.task == "binary" else decision_facts(card)),
            ("Intervals", (f"{metrics.confidence:.0%} confidence",)),
            ("Smallest group", (f"{card.min_group_size} rows; smaller groups give no verdict",)),
            ("Fairness definition", _lines(metrics.fairness_definition)),
        )
    )
    if metrics.tolerances:
        yield Table(
            caption="Conditions for a release, as the owner set them (the verdict is in the decision, not here)",
            heads=("Rule", "Condition"),
            rows=tuple(Row(header=rule.name, cells=(Cell(text=rule_text(rule)),)) for rule in metrics.tolerances),
            numeric=False,
        )
    else:
        yield Gap(what="Conditions for a release", reason="the config has no gate rule, so every release is held")
    directions = {"higher_is_better": "higher is better", "lower_is_better": "lower is better", "neither": "neither"}
    yield Table(
        caption="Definitions",
        heads=("Metric", "Definition", "Direction"),
        rows=tuple(
            Row(
                header=metric_title(entry.metric),
                cells=(Cell(text=entry.definition), Cell(text=directions[entry.direction.value])),
            )
            for entry in metrics.definitions
        ),
        numeric=False,
        collapsed=True,
    )


def _binary_decision(metrics: MetricsChoice) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "Decision", (f"positive when the score is greater than {metrics.decision_threshold:g}",)
    yield "Also reported at", (", ".join(f"{value:g}" for value in metrics.thresholds),)
    yield "Favourable outcome", (f"the {metrics.favourable_outcome} prediction benefits a person",)


def _data(card: ModelCard) -> Iterator[Block]:
    data = card.data
    splits = ", ".join(f"{name} {rows:,}" for name, rows in data.split_rows.items())
    unit = "each row is one protected unit" if data.privacy_unit == "row" else f"rows that share {data.privacy_unit}"
    yield Facts(
        pairs=(
            ("Data", (f"{data.name}: {data.source} ({data.source_format})",)),
            ("Rows", (f"{data.num_rows:,}: {splits}",)),
            ("Split", (data.split_rule,)),
            ("Evaluation data", ("the test split, which neither training nor model choice has seen",)),
            ("Label", (label_text(card),)),
            ("Features", (", ".join(data.features),)),
            ("Audited only", (", ".join(data.audited_only) or "none",)),
            ("Excluded", (", ".join(data.excluded) or "none",)),
            ("Privacy unit", (unit,)),
            ("Schema", ("curated by the owner" if data.schema_curated else "inferred from the training split",)),
            ("Licence", _lines(data.licence)),
            ("Citation", _lines(data.citation)),
            ("Caveats", _lines(data.caveats)),
        )
    )
    yield Facts(pairs=(("Content", (data.content_digest,)), ("Source", (data.source_digest,))), monospace=True)
    yield from _preparation(card)
    yield Subheading(text="Composition and missing values by group")
    if isinstance(data.findings, Numbers):
        tables = (*label_tables(card), *data_tables(data.findings.numbers))
        yield from tables or (Items(texts=("No column misses a value in any group that is large enough to print.",)),)
    yield from notes(data.findings)


def _preparation(card: ModelCard) -> Iterator[Block]:
    data = card.data
    if data.departures:
        yield Table(
            caption="Departures from the schema",
            heads=("Column", "Split", "Severity", "Reason"),
            rows=tuple(
                Row(header=d.feature, cells=(Cell(text=d.split), Cell(text=d.severity), Cell(text=d.reason)))
                for d in data.departures
            ),
            numeric=False,
        )
    else:
        yield Items(texts=("The data has no departure from the schema.",))
    if data.user_transform is not None:
        yield Items(texts=("The transform is the owner's own preprocessing function.",))
    if data.constants:
        yield Table(
            caption="Constants inside the model's transform graph, and where they came from",
            heads=("Column", "Constant", "Read from"),
            rows=tuple(Row(header=c.feature, cells=(Cell(text=c.kind), Cell(text=c.source))) for c in data.constants),
            numeric=False,
        )


def _considerations(card: ModelCard) -> Iterator[Block]:
    for title, said in (
        ("Limitations", card.limitations),
        ("Trade-offs", card.trade_offs),
        ("Ethical considerations", card.ethical_considerations),
        ("Saying that a prediction is unjust", card.harm_reports),
    ):
        yield Subheading(text=title)
        yield _said(said)


def _risk(card: ModelCard) -> Iterator[Block]:
    if not card.risks:
        yield Gap(reason="this card was written before questions on risk were asked")
        return
    yield Items(texts=("What the owner answered to questions that are asked before a model goes live.",), small=True)
    for entry in card.risks:
        yield Subheading(text=entry.question)
        yield _said(entry.answer)


def _evidence(card: ModelCard, images: Sequence[tuple[str, str]]) -> Iterator[Block]:
    yield Subheading(text="What was withheld")
    yield Items(texts=card.publication_notes)
    yield Subheading(text="Reports")
    if card.reports:
        yield Facts(pairs=_pairs(card.reports), monospace=True)
    else:
        yield Gap(reason="this run has no report")
    if images:
        yield Figures(caption="Drawings of other audits", images=tuple(images))
    numbers = card.numbers()
    if numbers:
        yield Subheading(text="All numbers")
        yield evidence_table(numbers)


def _share_facts(details: ModelDetails) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields who took part in a training on secret shares, and what left the shares."""
    mechanism = details.mechanism
    if isinstance(mechanism, Encrypted):
        yield "Parties", tuple(f"{party.name}: {party.role.replace('_', ' ')}" for party in mechanism.parties)
        yield "Revealed", tuple(f"{entry.what}, to {entry.to}" for entry in mechanism.revealed)


def _training_facts(details: ModelDetails) -> Iterator[tuple[str, tuple[str, ...]]]:
    if details.steps is None:
        yield "Training", ("elsewhere; nobody here saw it",)
        return
    yield "Steps", (f"{details.steps:,} in {details.epochs} epochs; weights of epoch {details.best_epoch}",)
    yield "Seed", (str(details.seed),)


def _said(part: Statement | NotAssessed) -> Block:
    return Items(texts=part.text) if isinstance(part, Statement) else Gap(reason=part.reason)


def _lines(part: Statement | NotAssessed) -> tuple[str, ...]:
    return part.text if isinstance(part, Statement) else (f"not assessed: {part.reason}",)


def _pairs(values: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, (value,)) for name, value in values.items())
