"""Writes the reference pages that are made from the code: config, errors and metrics.

``python docs/generate_reference.py`` writes them; with ``--check`` nothing is written and the exit code is 1 when a
page is not what the code says, so that a change of a setting without its page does not pass ``make check``.
"""

from __future__ import annotations

import argparse
import enum
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from probity import config, errors
from probity.metric import METRICS, Metric, MetricKind
from probity.plugins import names
from probity.record import Digest, Number, Slug
from probity.trainers import registry as trainers

REFERENCE = Path(__file__).parent / "reference"

HEADER = "<!-- Written by docs/generate_reference.py from the code. Change the code, then run: make docs -->\n\n"

# What the exit codes mean to a script; the errors that give them are read from the code.
EXIT_CODES = {
    0: "done; for `run` and `gate`: the verdict is release",
    1: "anything unexpected",
    2: "the config, the data or the arguments are wrong",
    3: "the gate says hold",
    4: "the privacy budget does not allow it",
    5: "a worker environment is not ready",
}

KINDS = {
    MetricKind.RATE: ("Rates", "Ratios of confusion counts at one threshold; a row is predicted positive when its "
                      "score is greater than the threshold."),
    MetricKind.SCORE: ("Scores", "Functions of scores and labels, without a threshold."),
    MetricKind.REGRESSION: ("Predicted numbers", "Functions of predictions `p` and labels `y` of a regression."),
    MetricKind.COUNT: ("Counts", "How many rows a number rests on."),
    MetricKind.PRIVACY: ("Privacy", "What may be said about the privacy of the training rows."),
    MetricKind.EDGE_CASES: ("Edge cases", "Answers for a fixed list of cases that were chosen by hand; exact."),
    MetricKind.DATA: ("Data", "Properties of the data, not of a model."),
    MetricKind.REGULATORY: ("Regulatory", "Rates and ratios as particular rules define them."),
    MetricKind.SERVING: ("In a server", "How the exported model behaves in a server, measured before a push."),
    MetricKind.COMPARISON: ("Comparisons of groups", "Functions of the groups' rates."),
    MetricKind.EXPLANATION: ("Explanations", "How the model's output is made up."),
    MetricKind.COST: ("Cost of secret shares", "What training on shares took, and by how far it moved the model."),
}  # fmt: skip


def main() -> int:
    """Writes or checks the pages; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.stdout.write(f"{'stale' if check else 'written'}: {', '.join(stale)}\n")
    return 1 if stale and check else 0


def pages() -> dict[str, str]:
    """Returns every generated page by file name."""
    return {"config.md": config_page(), "errors.md": errors_page(), "metrics.md": metrics_page()}


# -- config --------------------------------------------------------------------------------------------------------


def config_page() -> str:
    """Returns the reference of the config file."""
    lines = [
        "# The config file",
        "",
        "YAML. Unknown keys are refused, with the likely key named, and so is a key that appears twice. Paths are",
        "relative to the config file. `--set a.b=c` on the command line overrides one key; `c` is read as YAML.",
        "`probity schema config` prints the JSON Schema. `extends: OTHER.yaml` starts from another file.",
        "",
    ]
    for title, kind in sections(config.RunConfig, ""):
        lines += settings_table(title, kind)
    lines += ["## Settings of the trainers", "", "They stand beside `name` under `trainer`.", ""]
    for name in names(trainers.GROUP):
        for title, kind in sections(trainers.load(name).settings_type, f"trainer: {name}"):
            lines += settings_table(title, kind)
    return page(lines)


def sections(kind: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yields each settings class once, under the key where it stands, outer ones first."""
    yield path or "Top level", kind
    for name, field in kind.model_fields.items():
        found = list(classes_in(field.annotation))
        for inner, many in found:
            place = f"{path}.{field.alias or name}".lstrip(".") + ("[]" if many else "")
            yield from sections(inner, place + (tag(inner) if len(found) > 1 else ""))


def tag(kind: type[BaseModel]) -> str:
    """Returns what a branch of a tagged union is chosen by: its first key that allows one value only."""
    for name, field in kind.model_fields.items():
        if typing.get_origin(field.annotation) is Literal and len(typing.get_args(field.annotation)) == 1:
            return f", {name}: {typing.get_args(field.annotation)[0]}"
    return ""


def classes_in(hint: Any, *, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """Yields the settings classes that an annotation mentions and whether they stand in a list."""
    if isinstance(hint, type) and not typing.get_args(hint) and issubclass(hint, BaseModel):
        yield hint, many
    for argument in typing.get_args(hint):
        yield from classes_in(argument, many=many or typing.get_origin(hint) is tuple)


def settings_table(title: str, kind: type[BaseModel]) -> list[str]:
    """Returns a section with one row per key."""
    heading = title if title == "Top level" or ":" in title else f"`{title}`"
    lines = [f"## {heading}", "", prose(kind), "", "| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in kind.model_fields.items():
        cells = (f"`{field.alias or name}`", describe(field), default(field), inline(field.description or ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def describe(field: FieldInfo) -> str:
    """Returns the type of a field and its limits, in words."""
    hint = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return words(hint)


def words(hint: Any) -> str:
    """Returns an annotation in the words of the config file."""
    if hint in (Number, Slug, Digest):
        return {Number: "number", Slug: "name (letters, digits, `-`, `_`)", Digest: "digest"}[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return words(arguments[0]) + limits(arguments[1:])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(words(argument) for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return f"list of {words(arguments[0])}"
    if origin is dict:
        return f"mapping from {words(arguments[0])} to {words(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "mapping, see below"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " or ".join(f"`{member.value}`" for member in hint)
    return {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Any: "anything"}[hint]


def limits(metadata: tuple[Any, ...]) -> str:
    """Returns the range that constraints state."""
    signs = {annotated_types.Ge: "≥", annotated_types.Gt: ">", annotated_types.Le: "≤", annotated_types.Lt: "<"}
    found = []
    for entry in metadata:
        for kind, sign in signs.items():
            if isinstance(entry, kind):
                found.append(f"{sign} {getattr(entry, kind.__name__.lower())}")
        if isinstance(entry, annotated_types.MinLen):
            found.append("not empty")
        if isinstance(entry, StringConstraints) and entry.pattern == typing.get_args(Slug)[1].pattern:
            found.append("letters, digits, `-`, `_`")
    return f", {', '.join(found)}" if found else ""


def default(field: FieldInfo) -> str:
    """Returns the default value as YAML would show it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None:
        return "none"
    return "see below" if isinstance(value, BaseModel) else f"`{yaml_form(value)}`"


def yaml_form(value: Any) -> str:
    """Returns a default in YAML's flow style."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(yaml_form(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {yaml_form(entry)}" for key, entry in value.items()) + "}"
    return str(value) if value != "" else '""'


# -- errors --------------------------------------------------------------------------------------------------------


def errors_page() -> str:
    """Returns the reference of exit codes and errors."""
    lines = [
        "# Exit codes and errors",
        "",
        "An expected error prints one message in four parts - which argument, what was seen, what is allowed, what to",
        "do - without a traceback (`--debug` shows it) and never with a data value.",
        "",
        "## Exit codes",
        "",
        "| code | meaning | errors |",
        "|---|---|---|",
    ]
    for code, meaning in EXIT_CODES.items():
        given = [f"`{kind.__name__}`" for kind, _ in tree(errors.ProbityError) if kind.exit_code == code]
        lines.append(f"| {code} | {meaning} | {', '.join(given)} |")
    lines += [
        "",
        "`AuditError` ends an audit, not a run: its report says `failed`, the gate holds, and the exit code is 3.",
        "",
        "## The tree",
        "",
    ]
    for kind, depth in tree(errors.ProbityError):
        others = [base.__name__ for base in kind.__bases__ if not issubclass(base, errors.ProbityError)]
        also = f" (also a `{others[0]}`)" if depth and others else ""
        lines.append(f"{'  ' * depth}- `{kind.__name__}`{also}, exit code {kind.exit_code}: {summary(kind)}")
    return page([*lines, ""])


def tree(kind: type[errors.ProbityError], depth: int = 0) -> Iterator[tuple[type[errors.ProbityError], int]]:
    """Yields the errors depth first, in the order of their definition."""
    yield kind, depth
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


# -- metrics -------------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    """Returns the vocabulary of metrics."""
    lines = [
        "# Metrics",
        "",
        "One term for one thing, in the config, in JSON, on the card and in the tracker. `TP, FP, TN, FN` are the",
        "confusion counts, `P` and `N` the numbers of positive and negative labels. A gate rule may name a metric only",
        "where the last column says so.",
        "",
    ]
    for kind, (title, meaning) in KINDS.items():
        lines += [f"## {title}", "", meaning, "", "| metric | definition | better | gate |", "|---|---|---|---|"]
        lines += [metric_row(entry) for entry in METRICS.values() if entry.kind is kind]
        lines.append("")
    lines += [
        "## How two numbers are compared",
        "",
        "| comparison | definition | neutral value |",
        "|---|---|---|",
        "| `gap` | largest minus smallest group | 0 |",
        "| `ratio` | smallest over largest group | 1 |",
        "| `change` | candidate minus latest released model, on the same rows | 0 |",
        "",
    ]
    return page(lines)


def metric_row(entry: Metric) -> str:
    """Returns one row of a table of metrics."""
    better = {"higher_is_better": "higher", "lower_is_better": "lower", "neither": "neither"}[entry.direction.value]
    definition = entry.definition + (f"; {entry.otherwise}" if entry.otherwise else "")
    definition = definition.replace("|", "\\|")
    return f"| `{entry.name}` | {definition} | {better} | {'yes' if entry.gateable else 'no'} |"


# -- text ----------------------------------------------------------------------------------------------------------


def prose(kind: type) -> str:
    """Returns a class's docstring with Markdown's backticks, line breaks kept."""
    return inspect.cleandoc(kind.__doc__ or "").replace("``", "`")


def summary(kind: type) -> str:
    """Returns the docstring's first paragraph on one line."""
    return inline(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0])


def inline(text: str) -> str:
    """Returns text on one line with Markdown's backticks."""
    return " ".join(text.replace("``", "`").split())


def page(lines: list[str]) -> str:
    """Returns a page with its header and one line end at the end."""
    return HEADER + "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.exit(main())
