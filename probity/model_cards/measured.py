"""The sections of a card that print measured numbers: analyses, privacy, explanations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from probity.canaries import Canaries
from probity.card import CardNumber, CumulativeSpending, ModelCard, NotAssessed, Numbers
from probity.findings import PrivacyStatement
from probity.model_cards.blocks import Block, Cell, Facts, Figures, Gap, Items, Row, Subheading, Table
from probity.model_cards.plots import interval_plot
from probity.model_cards.tables import (
    GROUP_METRICS,
    attack_table,
    attribute_tables,
    disparity_tables,
    explanation_tables,
    group_table,
    plain_table,
    threshold_table,
)
from probity.model_cards.tasks import task_analyses
from probity.model_cards.wording import group_label, insufficient_reasons, metric_title, table_title, value_text

__all__ = ["analyses", "edge_cases", "explanations", "individuals", "notes", "pick", "privacy", "regulatory"]

_PLOTTED = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
_Part = Numbers | NotAssessed


def analyses(card: ModelCard) -> Iterator[Block]:
    """Yields performance overall and by group, differences between groups, and the changes from other models."""
    if card.metrics.task != "binary":
        yield from task_analyses(card, notes=notes)
        return
    yield Subheading(text="Overall")
    if isinstance(card.overall, Numbers):
        caption = f"All rows of the test split, with {card.confidence:.0%} intervals"
        single = [number for number in card.overall.numbers if number.threshold is None]
        if single:
            yield plain_table(single, caption=caption)
        if len(single) < len(card.overall.numbers):
            yield threshold_table(card.overall.numbers, caption=f"{caption}, by decision threshold")
    yield from notes(card.overall)
    yield Subheading(text="By group")
    if isinstance(card.by_group, Numbers):
        for attributes, numbers in attribute_tables(card.by_group.numbers).items():
            yield from _group(card, attributes, numbers)
    else:
        yield from notes(card.by_group)
    yield Subheading(text="Differences between groups")
    if isinstance(card.disparities, Numbers):
        yield from _disparities(card, card.disparities.numbers)
    yield from notes(card.disparities)
    yield Subheading(text="Change from the released model, on the same rows")
    if isinstance(card.baseline, Numbers):
        yield from _changes(card, card.baseline.numbers, words="Candidate minus released model")
    yield from notes(card.baseline)
    yield Subheading(text="Change by the mitigation, on the same rows")
    if isinstance(card.mitigation, Numbers):
        yield from _changes(card, card.mitigation.numbers, words="With minus without mitigation")
    yield from notes(card.mitigation)


def edge_cases(card: ModelCard) -> Iterator[Block]:
    """Yields what the model answered for cases that were chosen by hand."""
    yield Subheading(text="Edge cases, chosen by hand")
    if isinstance(card.edge_cases, Numbers):
        yield plain_table(card.edge_cases.numbers, caption="A fixed list of cases with the outcomes that must come out")
    yield from notes(card.edge_cases)


def _changes(card: ModelCard, numbers: Sequence[CardNumber], *, words: str) -> Iterator[Block]:
    """Yields the changes over all rows and of gaps, at the decision threshold; every other one is a click away."""
    at = card.metrics.decision_threshold
    main = [number for number in numbers if not number.slice and number.threshold in (None, at)]
    rest = [number for number in numbers if number not in main]
    yield plain_table(main, caption=f"{words}, all rows, at threshold {at:g}")
    if rest:
        yield plain_table(rest, caption=f"{words}, by group and at the other thresholds", collapsed=True)


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
        whole = pick(overall, name, at)
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
        if reasons := insufficient_reasons(mine):
            yield Items(texts=reasons, small=True)
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


def privacy(card: ModelCard, images: Sequence[tuple[str, str]]) -> Iterator[Block]:
    """Yields the privacy statement, the attacks with their pictures, and who sees what."""
    part = card.privacy
    if isinstance(part.statement, PrivacyStatement):
        yield from _privacy_statement(part.statement)
    else:
        yield Gap(what="Privacy statement", reason=part.statement.reason)
    if isinstance(part.findings, Numbers):
        yield plain_table(part.findings.numbers, caption="Findings of the privacy audit")
        yield from notes(part.findings)
    yield from _cumulative(part.cumulative)
    yield Subheading(text="How well could an attacker do")
    yield from notes(part.attacks)
    if part.canaries is not None:
        yield from _canaries(part.canaries)
    if isinstance(part.attacks, Numbers):
        yield from _attacks(part.attacks)
    if images:
        yield Figures(caption="How well the attacks tell members from others", images=tuple(images))
    yield Subheading(text="Who sees what")
    yield Table(
        caption="Trust: which party sees the data",
        heads=("Party", "Rows in the clear", "What it sees"),
        rows=tuple(
            Row(header=row.party, cells=(Cell(text="yes" if row.sees_raw_rows else "no"), Cell(text=row.sees)))
            for row in part.trust
        ),
        numeric=False,
    )


def _attacks(attacks: Numbers) -> Iterator[Block]:
    overall = [number for number in attacks.numbers if not number.slice]
    membership = [number for number in overall if number.metric.startswith("membership_")]
    if membership:
        yield attack_table([n for n in membership if n.threshold is None], caption="Membership inference, by attack")
        rates = [n for n in membership if n.threshold is not None]
        yield attack_table(rates, caption="How many members are named, by how many others are named with them")
    bounds = [number for number in overall if number.metric == "audited_epsilon_lower_bound"]
    if bounds:
        yield attack_table(bounds, caption="What was proven of epsilon, by what was looked for", overall="largest")
    rest = [number for number in overall if number not in membership and number not in bounds]
    if rest:
        yield attack_table(rest, caption="Exposure", overall="planted rows")
    groups = [number for number in attacks.numbers if number.slice]
    if groups:
        yield plain_table(groups, caption="Membership inference by group, by the strongest attack", collapsed=True)


def _canaries(canaries: Canaries) -> Iterator[Block]:
    yield Facts(
        pairs=(
            ("planted rows", (f"{canaries.rows_planted:,} of {canaries.rows:,}",)),
            ("planted gradients", (f"{canaries.gradients_planted:,} of {canaries.gradients:,}",)),
        )
    )
    yield Items(
        texts=(
            "Planted rows and gradients took part in training, to be looked for afterwards. They are no part of the "
            "data: no other number of this card counts them, but for the number of training examples.",
        ),
        small=True,
    )


def _cumulative(spent: CumulativeSpending | NotAssessed) -> Iterator[Block]:
    if isinstance(spent, NotAssessed):
        yield Gap(what="Cumulative budget", reason=spent.reason)
        return
    yield Subheading(text="All models of these data together")
    per = "row" if spent.unit == "row" else f"value of {spent.unit}"
    yield Facts(
        pairs=(
            ("epsilon, composed", (f"{value_text(spent.epsilon)} per {per} at delta {spent.delta:g}",)),
            ("mechanisms", (str(spent.mechanisms),)),
            ("trainings without differential privacy", (str(spent.non_private),)),
            ("open reservations", (str(spent.open_reservations),)),
            ("last entry of the ledger", (spent.ledger,)),
        )
    )
    if spent.non_private:
        yield Items(
            texts=(
                "No epsilon bounds what the models of trainings without differential privacy reveal; the composed "
                "epsilon leaves them out.",
            ),
            small=True,
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
            *_second_opinion(statement),
            ("Sampling", (statement.sampling,)),
            *((("Composed of", statement.composed),) if statement.composed else ()),
            ("Assumptions", statement.assumptions or ("none stated",)),
            ("Not covered", statement.not_covered or ("nothing stated",)),
        )
    )


def _second_opinion(statement: PrivacyStatement) -> Iterator[tuple[str, tuple[str, ...]]]:
    if statement.second_accountant is not None and statement.second_epsilon is not None:
        yield "Second opinion", (f"{statement.second_accountant}: epsilon {value_text(statement.second_epsilon)}",)


def explanations(card: ModelCard, images: Sequence[tuple[str, str]]) -> Iterator[Block]:
    """Yields how the explanations were made, the pictures, and the importances."""
    part = card.explanations
    if isinstance(part, NotAssessed):
        yield Gap(reason=part.reason)
        return
    yield Items(texts=part.notes)
    if images:
        caption = (
            "Importances of the columns, overall and by group, and through which columns groups get a higher or lower "
            "output (global: aggregates over rows)"
        )
        yield Figures(caption=caption, images=tuple(images))
    yield from explanation_tables(part.numbers)
    others = [number for number in part.numbers if number.feature is None]
    if others:
        yield plain_table(others, caption="Checks of the explanations")


def individuals(card: ModelCard) -> Iterator[Block]:
    """Yields what decisions about single people depend on: shares of rows, no rows."""
    part = card.individuals
    yield from notes(part)
    if isinstance(part, NotAssessed):
        return
    flips = [number for number in part.numbers if number.feature is None]
    ranges = sorted((n for n in part.numbers if n.feature is not None), key=lambda n: -(n.value or 0.0))
    if flips:
        yield plain_table(flips, caption="Flips and nearest rows with the other decision, by attribute")
    if ranges:
        yield plain_table(ranges, caption="How far one column alone moves the mean score", collapsed=True)


def regulatory(card: ModelCard) -> Iterator[Block]:
    """Yields rates and ratios as particular rules define them; which rule applies is not said."""
    part = card.regulatory
    yield from notes(part)
    if isinstance(part, NotAssessed):
        return
    at = card.metrics.decision_threshold
    for attributes, mine in attribute_tables(part.numbers).items():
        columns = [("favourable_rate", at), ("impact_ratio", at)]
        yield group_table(attributes, mine, caption=f"Impact ratios by {table_title(attributes)}", columns=columns)
    overall = [number for number in part.numbers if not number.slice]
    if overall:
        yield plain_table(overall, caption="Reasons for unfavourable predictions")


def notes(part: _Part) -> Iterator[Block]:
    """Yields why a part is missing, or what its report says about it."""
    if isinstance(part, NotAssessed):
        yield Gap(reason=part.reason)
    elif part.notes:
        yield Items(texts=part.notes, small=True)


def pick(numbers: Sequence[CardNumber], name: str, threshold: float | None) -> CardNumber | None:
    """Returns the number over all rows of a metric at a threshold."""
    return next(
        (n for n in numbers if (n.metric, n.threshold) == (name, threshold) and not n.slice and not n.comparison), None
    )
