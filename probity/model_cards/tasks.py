"""What a card says differently where the label has several classes, or is a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from probity.card import CardNumber, ModelCard, NotAssessed, Numbers
from probity.model_cards.blocks import Block, Figures, Items, Row, Subheading, Table
from probity.model_cards.plots import interval_plot
from probity.model_cards.tables import attribute_tables, cell, disparity_tables, group_table, plain_table
from probity.model_cards.wording import group_label, insufficient_reasons, metric_title, table_title, unit_title
from probity.task import Task

__all__ = ["HEADLINES", "decision_facts", "label_tables", "label_text", "task_analyses"]

HEADLINES: dict[Task, tuple[str, ...]] = {
    "multiclass": ("accuracy", "auc", "log_loss"),
    "regression": ("mean_absolute_error", "root_mean_squared_error", "r_squared"),
}
"""What stands at the top of the card."""

_GROUP_COLUMNS: dict[Task, tuple[str, ...]] = {
    "multiclass": ("example_count", "accuracy", "auc", "log_loss", "favourable_rate"),
    "regression": (
        "example_count",
        "mean_absolute_error",
        "root_mean_squared_error",
        "r_squared",
        "mean_residual",
        "mean_prediction",
    ),
}
_CLASS_COLUMNS = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision")
_PLOTTED: dict[Task, tuple[str, ...]] = {
    "multiclass": ("accuracy", "log_loss"),
    "regression": ("mean_absolute_error", "mean_residual"),
}

Notes = Callable[[Numbers | NotAssessed], Iterator[Block]]


def label_text(card: ModelCard) -> str:
    """Returns what the label is, in words."""
    data = card.data
    if card.metrics.task == "multiclass":
        return f"{data.label}; one of {len(data.classes)} classes: {', '.join(data.classes)}"
    return (
        f"{data.label}; a number" if card.metrics.task == "regression" else f"{data.label}; positive: {data.positive}"
    )


def decision_facts(card: ModelCard) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields how a prediction is made of the scores, and which one benefits a person."""
    if card.metrics.task == "regression":
        yield "Prediction", (f"a number, in units of {card.data.label}",)
        more = "higher" if card.metrics.favourable_outcome == "positive" else "lower"
        yield "Favourable outcome", (f"a {more} prediction benefits a person",)
        return
    yield "Decision", ("the class with the highest score; a rate of a class speaks of it against all others",)
    favourable = ", ".join(card.data.favourable) or "not stated: data.label.favourable names no class"
    yield "Favourable outcome", (favourable,)


def label_tables(card: ModelCard) -> Iterator[Block]:
    """Yields how labels are distributed, overall and by group; nothing for a binary label, which has a column."""
    numbers = card.data.findings.numbers if isinstance(card.data.findings, Numbers) else ()
    shares = [number for number in numbers if number.metric == "label_share"]
    means = [number for number in numbers if number.metric == "mean_label"]
    if means:
        title = unit_title("mean_label", label=card.data.label)
        yield plain_table(means, caption=f"{title[:1].upper()}{title[1:]}, of all rows and by group")
    if not shares:
        return
    labels = list(dict.fromkeys(group_label(number.slice) for number in shares))
    found = {(number.label_class, group_label(number.slice)): number for number in shares}
    rows = tuple(
        Row(header=name, cells=tuple(cell(found.get((name, label))) for label in labels)) for name in card.data.classes
    )
    yield Table(
        caption="Share of each class among the rows of a group",
        heads=("Class", *labels),
        rows=rows,
        ids="data/label_share/class=⟨class⟩/⟨attribute⟩=⟨group⟩",
    )


def task_analyses(card: ModelCard, *, notes: Notes) -> Iterator[Block]:
    """Yields performance overall and by group, differences between groups, and the change from the released model."""
    yield Subheading(text="Overall")
    if isinstance(card.overall, Numbers):
        yield from _overall(card, card.overall.numbers)
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
        main = [n for n in card.baseline.numbers if not n.slice and n.label_class is None]
        rest = [number for number in card.baseline.numbers if number not in main]
        yield plain_table(main, caption="Candidate minus released model, all rows")
        if rest:
            yield plain_table(rest, caption="Candidate minus released model, by class and by group", collapsed=True)
    yield from notes(card.baseline)


def _overall(card: ModelCard, numbers: Sequence[CardNumber]) -> Iterator[Block]:
    caption = f"All rows of the test split, with {card.confidence:.0%} intervals"
    units = _units(card)
    yield plain_table(_of_class(numbers, None), caption=caption + units)
    if not card.data.classes:
        return
    columns = [name for name in _CLASS_COLUMNS if any(n.metric == name for n in numbers)]
    found = {(n.metric, n.label_class): n for n in numbers if n.predicted_class is None}
    yield Table(
        caption=f"{caption}, of each class against all others",
        heads=("Class", *(metric_title(name) for name in columns)),
        rows=tuple(
            Row(header=name, cells=tuple(cell(found.get((metric, name)), with_n=True) for metric in columns))
            for name in card.data.classes
        ),
        ids="performance/⟨metric⟩/class=⟨class⟩/overall",
    )
    yield _confusions(card, numbers)


def _confusions(card: ModelCard, numbers: Sequence[CardNumber]) -> Table:
    """Returns labels by predictions; on the diagonal stands the true positive rate of the class."""
    wrong = {(n.label_class, n.predicted_class): n for n in numbers if n.metric == "confusion_rate"}
    right = {n.label_class: n for n in numbers if n.metric == "true_positive_rate"}
    classes = card.data.classes
    return Table(
        caption="Of the rows with the label of the line, the share that is predicted as the class of the column",
        heads=("Label", *classes),
        rows=tuple(
            Row(
                header=actual,
                cells=tuple(
                    cell(right.get(actual) if actual == predicted else wrong.get((actual, predicted)))
                    for predicted in classes
                ),
            )
            for actual in classes
        ),
        ids="performance/confusion_rate/class=⟨label⟩/predicted=⟨class⟩/overall",
        collapsed=len(classes) > 8,
    )


def _group(card: ModelCard, attributes: tuple[str, ...], numbers: Sequence[CardNumber]) -> Iterator[Block]:
    task, title = card.metrics.task, table_title(attributes)
    columns = [(name, None) for name in _GROUP_COLUMNS[task]]
    yield group_table(attributes, _of_class(numbers, None), caption=f"By {title}{_units(card)}", columns=columns)
    overall = card.overall.numbers if isinstance(card.overall, Numbers) else ()
    drawings = []
    for name in _PLOTTED[task]:
        rows = [(group_label(n.slice), n) for n in numbers if n.metric == name]
        whole = next((n for n in overall if n.metric == name), None)
        reference = whole.value if whole is not None else None
        heading = unit_title(name, label=card.data.label)
        drawings.append(interval_plot(heading, rows, reference=reference, reference_label="all rows"))
    if any(drawings):
        yield Figures(
            caption=f"By {title}: value and {card.confidence:.0%} interval of each group; dashed: all rows. Axes do "
            "not start at zero.",
            drawings=tuple(str(drawing) for drawing in drawings if drawing),
        )
    for name in card.data.classes:
        mine = _of_class(numbers, name)
        table = group_table(
            attributes,
            mine,
            caption=f"Class {name} against all others, by {title}",
            columns=[(metric, None) for metric in _CLASS_COLUMNS],
            collapsed=True,
        )
        pattern = ",".join(f"{attribute}=⟨group⟩" for attribute in attributes)
        yield replace(table, ids=f"performance/⟨metric⟩/class={name}/{pattern}")


def _disparities(card: ModelCard, numbers: Sequence[CardNumber]) -> Iterator[Block]:
    for attributes, table in disparity_tables(_of_class(numbers, None), threshold=card.metrics.decision_threshold):
        yield replace(table, caption=table.caption + _units(card))
        mine = [n for n in numbers if n.across == attributes]
        for name in card.data.classes:
            own = _of_class(mine, name)
            for _, of_class in disparity_tables(own, threshold=card.metrics.decision_threshold):
                yield replace(of_class, caption=f"{of_class.caption}: class {name}", collapsed=True)
        if reasons := insufficient_reasons(mine):
            yield Items(texts=reasons, small=True)


def _of_class(numbers: Sequence[CardNumber], name: str | None) -> list[CardNumber]:
    return [n for n in numbers if n.label_class == name and n.predicted_class is None]


def _units(card: ModelCard) -> str:
    if card.metrics.task != "regression":
        return ""
    label = card.data.label
    return f" (errors in units of {label}, squared errors in their squares, percentage errors in %)"
