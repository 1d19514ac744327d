"""From data to release as a graph: what was made from what, as the digests in a run's own records say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from probity.dashboards.drawing import Box
from probity.dashboards.report import Report
from probity.dashboards.words import digest_text
from probity.runs import CARD, DECISION

__all__ = ["Thing", "boxes", "on_the_same_data", "things"]

_READ = 200


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One artifact of a run.

    Attributes:
        name: What it is.
        digest: Its content's digest, in full; ``None`` where no record names it.
        made_from: Names of the artifacts whose digests its own record holds.
        column: Where it stands in the flow.
    """

    name: str
    digest: str | None
    made_from: tuple[str, ...] = ()
    column: int


def things(report: Report) -> tuple[Thing, ...]:
    """Returns the artifacts that the run came to, from the data file on; an absent record ends the chain there."""
    return tuple(_data(report)) + tuple(_model(report)) + tuple(_judged(report))


def boxes(found: tuple[Thing, ...]) -> list[Box]:
    """Returns the artifacts as boxes, column by column."""
    filled: dict[int, int] = {}
    placed = []
    for thing in found:
        row = filled.get(thing.column, 0)
        filled[thing.column] = row + 1
        placed.append(
            Box(
                key=thing.name,
                column=thing.column,
                row=row,
                name=thing.name.removeprefix("audit: "),
                detail=digest_text(thing.digest),
                made_from=thing.made_from,
            )
        )
    return placed


def on_the_same_data(report: Report) -> list[str]:
    """Returns other runs, of the newest ones, that read rows with the same digest: what else came of this data."""
    own = report.dataset()
    if own is None:
        return []
    others = [line.run for line in report.lines[:_READ] if line.run != report.folder.id]
    digests = {run: found.content_digest for run in others if (found := report.at(run).dataset()) is not None}
    return [run for run, digest in digests.items() if digest == own.content_digest]


def _data(report: Report) -> Iterator[Thing]:
    dataset, schema = report.dataset(), report.schema()
    if dataset is not None:
        yield Thing(name="data file", digest=dataset.source_digest, column=0)
        yield Thing(name="data set", digest=dataset.content_digest, made_from=("data file",), column=1)
    if schema is not None:
        yield Thing(name="schema", digest=schema.digest, made_from=("data set",), column=2)


def _model(report: Report) -> Iterator[Thing]:
    model = report.model()
    if model is None:
        return
    yield Thing(name="transform", digest=model.transform, made_from=("data set", "schema"), column=2)
    yield Thing(name="training rows", digest=model.train_examples, made_from=("transform",), column=3)
    yield Thing(name="model", digest=model.digest, made_from=("training rows", "transform"), column=4)


def _judged(report: Report) -> Iterator[Thing]:
    card, decision, release = report.card(), report.decision(), report.release()
    if card is not None:
        judged = {f"audit: {name}": digest for name, digest in sorted(card.reports.items())}
        for name, digest in judged.items():
            yield Thing(name=name, digest=digest, made_from=("model",), column=5)
        yield Thing(name="card", digest=report.file_digest(f"{CARD}/card.json"), made_from=tuple(judged), column=6)
    if decision is not None:
        name = f"decision: {decision.verdict}"
        yield Thing(name=name, digest=report.file_digest(DECISION), made_from=("card",), column=7)
        if release is not None:
            yield Thing(name=f"version {release.version}", digest=release.model, made_from=(name,), column=8)
