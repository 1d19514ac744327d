"""``ModelCard`` -> ``Document``: which section says what, in which order. Shared by HTML and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from probity.card import CardNumber, ModelCard, NotAssessed, Numbers, Statement
from probity.findings import PrivacyStatement
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
from probity.model_cards.plots import interval_plot
from probity.model_cards.tables import (
    GROUP_METRICS,
    attribute_tables,
    cell,
    data_tables,
    disparity_tables,
    evidence_table,
    explanation_tables,
    group_table,
    plain_table,
    proxy_table,
    threshold_table,
)
from probity.model_cards.wording import group_label, metric_title, rule_text, table_title, value_text

__all__ = ["document_of"]

_PLOTTED = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
_NOTHING = Cell(text="")
_Part = Numbers | NotAssessed


def document_of(card: ModelCard, *, images: Sequence[tuple[str, str]] = ()) -> Document:
    """Lays a card out.

    Args:
        card: The card.
        images: Title and ``data:`` address of the pictures of the explanations.
    """
    return Document(
        title=card.name,
        facts=(
            ("Run", card.run),
            ("Created", card.created_at),
            ("Model", card.details.digests.get("model", "")),
            ("Test rows", card.subject.examples if card.subject else "not stated by any report"),
        ),
        tiles=tuple(_tiles(card)),
        sections=(
            Section(anchor="details", title="Model details", blocks=tuple(_details(card))),
            Section(anchor="use", title="Use", blocks=tuple(_use(card))),
            Section(anchor="factors", title="Factors", blocks=tuple(_factors(card))),
            Section(anchor="metrics", title="Metrics", blocks=tuple(_metrics(card))),
            Section(anchor="data", title="Training and evaluation data", blocks=tuple(_data(card))),
            Section(anchor="analyses", title="Quantitative analyses", blocks=tuple(_analyses(card))),
            Section(anchor="privacy", title="Privacy", blocks=tuple(_privacy(card))),
            Section(anchor="explanations", title="Explanations", blocks=tuple(_explanations(card, images))),
            Section(
                anchor="considerations",
                title="Limitations, trade-offs and ethical considerations",
                blocks=tuple(_considerations(card)),
            ),
            Section(anchor="evidence", title="Evidence", blocks=tuple(_evidence(card))),
        ),
    )


def _tiles(card: ModelCard) -> Iterator[Tile]:
    at = card.metrics.decision_threshold
    wanted = (("auc", None), ("accuracy", at), ("selection_rate", at))
    overall = card.overall.numbers if isinstance(card.overall, Numbers) else ()
    for name, threshold in wanted:
        number = _pick(overall, name, threshold)
        label = metric_title(name) + (f" at threshold {at:g}" if threshold is not None else "")
        yield Tile(label=label, cell=_tile_cell(number))
    privacy = card.privacy.findings.numbers if isinstance(card.privacy.findings, Numbers) else ()
    yield Tile(label="epsilon of the training", cell=_tile_cell(_pick(privacy, "epsilon", None)))


def _tile_cell(number: CardNumber | None) -> Cell:
    return cell(number, with_id=True) if number is not None else Cell(text="not assessed", muted=True)


def _details(card: ModelCard) -> Iterator[Block]:
    details = card.details
    mechanism = details.mechanism.to_json()
    settings = ", ".join(f"{name} {value}" for name, value in mechanism.items() if name != "kind")
    yield Facts(
        pairs=(
            ("Owner", _lines(details.owner)),
            ("Contact", _lines(details.contact)),
            ("Licence", _lines(details.licence)),
            ("Trainer", (details.trainer,)),
            ("Mechanism", (mechanism["kind"].replace("_", " ") + (f": {settings}" if settings else ""),)),
            ("Parameters", (f"{details.num_parameters:,}",)),
            ("Training rows", (f"{details.num_train_examples:,}",)),
            ("Steps", (f"{details.steps:,} in {details.epochs} epochs; weights of epoch {details.best_epoch}",)),
            ("Seed", (str(details.seed),)),
        )
    )
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
    rows = [
        Row(
            header=entry.name,
            cells=(
                Cell(text=", ".join(entry.groups)),
                Cell(text=entry.column),
                Cell(text="yes" if entry.also_feature else "no: audited only"),
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


def _metrics(card: ModelCard) -> Iterator[Block]:
    metrics = card.metrics
    yield Facts(
        pairs=(
            ("Decision", (f"positive when the score is greater than {metrics.decision_threshold:g}",)),
            ("Also reported at", (", ".join(f"{value:g}" for value in metrics.thresholds),)),
            ("Favourable outcome", (f"the {metrics.favourable_outcome} prediction benefits a person",)),
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
    )


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
            ("Label", (f"{data.label}; positive: {data.positive}",)),
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
        tables = tuple(data_tables(data.findings.numbers))
        yield from tables or (Items(texts=("No column misses a value in any group that is large enough to print.",)),)
    yield from _notes(data.findings)


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


def _analyses(card: ModelCard) -> Iterator[Block]:
    yield Subheading(text="Overall")
    if isinstance(card.overall, Numbers):
        caption = f"All rows of the test split, with {card.confidence:.0%} intervals"
        single = [number for number in card.overall.numbers if number.threshold is None]
        if single:
            yield plain_table(single, caption=caption)
        if len(single) < len(card.overall.numbers):
            yield threshold_table(card.overall.numbers, caption=f"{caption}, by decision threshold")
    yield from _notes(card.overall)
    yield Subheading(text="By group")
    if isinstance(card.by_group, Numbers):
        for attributes, numbers in attribute_tables(card.by_group.numbers).items():
            yield from _group(card, attributes, numbers)
    else:
        yield from _notes(card.by_group)
    yield Subheading(text="Differences between groups")
    if isinstance(card.disparities, Numbers):
        yield from _disparities(card, card.disparities.numbers)
    yield from _notes(card.disparities)
    yield Subheading(text="Change from the released model, on the same rows")
    if isinstance(card.baseline, Numbers):
        yield plain_table(card.baseline.numbers, caption="Candidate minus released model")
    yield from _notes(card.baseline)


def _group(card: ModelCard, attributes: tuple[str, ...], numbers: Sequence[CardNumber]) -> Iterator[Block]:
    at = card.metrics.decision_threshold
    rates = {n.metric for n in numbers if n.threshold is not None}
    title = table_title(attributes)
    columns = [(name, at if name in rates else None) for name in GROUP_METRICS]
    yield group_table(attributes, numbers, caption=f"By {title}, at threshold {at:g}", columns=columns)
    overall = card.overall.numbers if isinstance(card.overall, Numbers) else ()
    drawings = []
    for name in _PLOTTED:
        rows = [(group_label(n.slice), n) for n in numbers if (n.metric, n.threshold) == (name, at)]
        whole = _pick(overall, name, at)
        reference = whole.value if whole is not None else None
        drawings.append(interval_plot(metric_title(name), rows, reference=reference, reference_label="all rows"))
    if any(drawings):
        yield Figures(
            caption=f"By {title} at threshold {at:g}: value and {card.confidence:.0%} interval of each group; dashed: "
            "all rows. Axes do not start at zero.",
            drawings=tuple(str(drawing) for drawing in drawings if drawing),
        )
    others = [value for value in card.metrics.thresholds if value != at]
    more = [(name, value) for name in _PLOTTED[:3] for value in others]
    if any((n.metric, n.threshold) in more for n in numbers):
        yield group_table(
            attributes, numbers, caption=f"By {title}, at the other thresholds", columns=more, collapsed=True
        )


def _disparities(card: ModelCard, numbers: Sequence[CardNumber]) -> Iterator[Block]:
    at = card.metrics.decision_threshold
    for attributes, table in disparity_tables(numbers, threshold=at):
        yield table
        mine = [n for n in numbers if n.across == attributes and n.threshold in (None, at)]
        reasons = dict.fromkeys(f"Insufficient evidence: {n.reason}." for n in mine if n.status == "insufficient")
        if reasons:
            yield Items(texts=tuple(reasons), small=True)
        drawings = [
            interval_plot(
                f"{kind} across {table_title(attributes)}",
                [(metric_title(n.metric), n) for n in mine if n.comparison == kind],
                reference=neutral,
                reference_label="no difference",
            )
            for kind, neutral in (("gap", 0.0), ("ratio", 1.0))
        ]
        if any(drawings):
            yield Figures(
                caption=f"Differences between the groups of {table_title(attributes)}; dashed: no difference. A hollow "
                "dot is insufficient evidence.",
                drawings=tuple(str(drawing) for drawing in drawings if drawing),
            )


def _privacy(card: ModelCard) -> Iterator[Block]:
    privacy = card.privacy
    if isinstance(privacy.statement, PrivacyStatement):
        yield from _privacy_statement(privacy.statement)
    else:
        yield Gap(what="Privacy statement", reason=privacy.statement.reason)
    if isinstance(privacy.findings, Numbers):
        yield plain_table(privacy.findings.numbers, caption="Findings of the privacy audit")
        yield from _notes(privacy.findings)
    yield Gap(what="Cumulative budget", reason=privacy.cumulative.reason)
    yield Subheading(text="Attacks")
    if isinstance(privacy.attacks, Numbers):
        yield plain_table(privacy.attacks.numbers, caption="Findings of the privacy attacks")
    yield from _notes(privacy.attacks)
    yield Subheading(text="Who sees what")
    yield Table(
        caption="Trust: which party sees the data",
        heads=("Party", "Rows in the clear", "What it sees"),
        rows=tuple(
            Row(header=row.party, cells=(Cell(text="yes" if row.sees_raw_rows else "no"), Cell(text=row.sees)))
            for row in privacy.trust
        ),
        numeric=False,
    )


def _privacy_statement(statement: PrivacyStatement) -> Iterator[Block]:
    yield Items(texts=(statement.text,))
    yield Facts(
        pairs=(
            ("epsilon", (value_text(statement.epsilon),)),
            ("delta", (f"{statement.delta:g}",)),
            ("Unit of privacy", (statement.unit,)),
            ("Neighbouring data", (statement.neighbouring_relation,)),
            ("Accountant", (statement.accountant,)),
            ("Sampling", (statement.sampling,)),
            ("Assumptions", statement.assumptions or ("none stated",)),
            ("Not covered", statement.not_covered or ("nothing stated",)),
        )
    )


def _explanations(card: ModelCard, images: Sequence[tuple[str, str]]) -> Iterator[Block]:
    part = card.explanations
    if isinstance(part, NotAssessed):
        yield Gap(reason=part.reason)
        return
    yield Items(texts=part.notes)
    if images:
        yield Figures(caption="Global importances of the columns, overall and by group", images=tuple(images))
    yield from explanation_tables(part.numbers)
    others = [number for number in part.numbers if number.metric != "mean_abs_shap"]
    if others:
        yield plain_table(others, caption="Checks of the explanations")


def _considerations(card: ModelCard) -> Iterator[Block]:
    for title, said in (
        ("Limitations", card.limitations),
        ("Trade-offs", card.trade_offs),
        ("Ethical considerations", card.ethical_considerations),
    ):
        yield Subheading(text=title)
        yield _said(said)


def _evidence(card: ModelCard) -> Iterator[Block]:
    yield Subheading(text="What was withheld")
    yield Items(texts=card.publication_notes)
    yield Subheading(text="Reports")
    if card.reports:
        yield Facts(pairs=_pairs(card.reports), monospace=True)
    else:
        yield Gap(reason="this run has no report")
    numbers = card.numbers()
    if numbers:
        yield Subheading(text="All numbers")
        yield evidence_table(numbers)


def _notes(part: _Part) -> Iterator[Block]:
    """Yields why a part is missing, or what its report says about it."""
    if isinstance(part, NotAssessed):
        yield Gap(reason=part.reason)
    elif part.notes:
        yield Items(texts=part.notes, small=True)


def _said(part: Statement | NotAssessed) -> Block:
    return Items(texts=part.text) if isinstance(part, Statement) else Gap(reason=part.reason)


def _lines(part: Statement | NotAssessed) -> tuple[str, ...]:
    return part.text if isinstance(part, Statement) else (f"not assessed: {part.reason}",)


def _pairs(values: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, (value,)) for name, value in values.items())


def _pick(numbers: Sequence[CardNumber], name: str, threshold: float | None) -> CardNumber | None:
    return next(
        (n for n in numbers if (n.metric, n.threshold) == (name, threshold) and not n.slice and not n.comparison), None
    )
