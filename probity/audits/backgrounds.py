"""The rows that an explanation is relative to, and who may be among them.

A training that was not private hides nobody, so the background is drawn from the training split. Of a private model the
training split is not even read: what was spent on its rows was spent on the training, and an explanation that averages
over some of them would be one more, unaccounted, answer about them. Its background is drawn from the schema, where that
is a public fact for every column; else from the test split, whose rows the model was not trained on and which every
other audit measures too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from probity.audits.attribution import ExplainedModel, load_explained_model
from probity.audits.base import AuditInput
from probity.audits.raw_attribution import load_raw_model
from probity.audits.shapley import Inputs
from probity.errors import AuditError
from probity.schema_rows import draw_rows as draw_from_schema
from probity.schema_rows import undrawn_columns
from probity.transform_graph import transform_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from probity.data import Column

__all__ = ["Background", "Source", "choose_background", "draw_rows", "is_private", "open_model", "take"]

MAX_EVALUATIONS = 5_000_000
"""Model outputs that an explanation may ask for: about half a minute on two cores for a small network."""
MAX_RAW_EVALUATIONS = 600_000
"""The same for a SavedModel that is asked about raw columns, which takes several times longer."""

_SCHEMA_ROWS = 10_000
"""Rows drawn from the schema, of which the background is drawn in turn."""
_FIRST, _SECOND, _SCHEMA = 1, 4, 5  # streams of chance from one seed


@dataclass(frozen=True, kw_only=True)
class Source:
    """The model that is explained, and how rows become its inputs.

    Attributes:
        split: Inputs of a split, in file order.
        table: Inputs of raw rows.
        max_evaluations: How many outputs may be asked for.
    """

    model: ExplainedModel
    split: Callable[[str], Inputs]
    table: Callable[[pa.Table], Inputs]
    max_evaluations: int


@dataclass(frozen=True, kw_only=True)
class Background:
    """Two independent backgrounds of the same size: the one that is used, and one that it is checked against.

    Attributes:
        origin: Where the rows are from.
        words: The background, in words.
        notes: Why it is not another one, and what that means.
    """

    inputs: Inputs
    again: Inputs
    origin: Literal["training", "schema", "test"]
    words: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(next(iter(self.inputs.values())))


def open_model(evidence: AuditInput) -> Source:
    """Reads the model back from its Keras file.

    Without one, as for a model that was trained elsewhere or one whose decision depends on the group, the SavedModel is
    asked about raw columns, the sensitive ones that it reads included.

    Raises:
        AuditError: If it cannot be read back.
    """
    path = evidence.model_folder / "model.keras"
    if path.is_file():
        return Source(
            model=load_explained_model(path, evidence.transform.outputs),
            split=lambda split: evidence.transformed.arrays(split)[0],
            table=lambda table: _transformed(table, evidence),
            max_evaluations=MAX_EVALUATIONS,
        )
    names = [column.name for column in _served(evidence)]
    model, book = load_raw_model(evidence.model_folder / "saved_model", names)
    return Source(
        model=model,
        split=lambda split: book.encode(evidence.examples.table(split)),
        table=book.encode,
        max_evaluations=MAX_RAW_EVALUATIONS,
    )


def is_private(evidence: AuditInput) -> bool:
    """Whether the mechanism of the training protects its rows; whatever it is called, it is not the absence of one."""
    return evidence.model.mechanism.kind not in ("non_private", "encrypted", "unknown")


def choose_background(evidence: AuditInput, source: Source) -> Background:
    """Draws the background.

    Guarantees: the training split of a private model is not read.

    Raises:
        AuditError: If the split to draw from holds no rows.
    """
    if not is_private(evidence):
        return _of_split("train", evidence, source, notes=())
    notes = ["The training was private, so no row of the training split was read for the explanation."]
    private_constants = sorted({c.feature for c in evidence.transform.constants if c.source == "training data"})
    if private_constants:
        notes.append(
            f"Constants of the transform were computed from the training rows without noise "
            f"({', '.join(private_constants)}); explanations go through them, as every score does."
        )
    unknown = _not_public(evidence)
    if unknown:
        notes.append(f"The schema states no public domain or bounds for {', '.join(unknown)}.")
    else:
        try:
            return _of_schema(evidence, source, notes=tuple(notes))
        except AuditError as error:
            notes.append(f"Rows drawn from the schema could not be used: {error.seen}.")
    return _of_split("test", evidence, source, notes=tuple(notes))


def draw_rows(available: int, wanted: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Returns up to ``wanted`` positions drawn uniformly without replacement, ascending."""
    return np.sort(rng.choice(available, size=min(wanted, available), replace=False))


def take(inputs: Inputs, rows: npt.NDArray[np.intp]) -> Inputs:
    """Returns the inputs of some rows."""
    return {name: values[rows] for name, values in inputs.items()}


def _of_split(
    split: Literal["train", "test"], evidence: AuditInput, source: Source, *, notes: tuple[str, ...]
) -> Background:
    if not evidence.examples.files[split].num_rows:
        raise AuditError(
            "explanations",
            seen=f"the {split} split, from which the background is drawn, holds no rows",
            allowed="at least one row",
            remedy="use more data, or other shares in data.split",
        )
    inputs, again, size = _draw_twice(source.split(split), evidence, source)
    name = "training" if split == "train" else "test"
    return Background(
        inputs=inputs,
        again=again,
        origin="training" if split == "train" else "test",
        words=f"{size} rows drawn systematically from the {name} split in the order of the model's output (seed "
        f"{evidence.seed}): each row has the same chance, and high and low outputs are there in proportion",
        notes=notes,
    )


def _of_schema(evidence: AuditInput, source: Source, *, notes: tuple[str, ...]) -> Background:
    rng = np.random.default_rng([evidence.seed, _SCHEMA])
    number = max(_SCHEMA_ROWS, evidence.settings.background_rows)
    pool = source.table(draw_from_schema(number, columns=_served(evidence), schema=evidence.schema, rng=rng))
    broken = sum(int((~np.isfinite(values)).any(axis=1).sum()) for values in pool.values())
    if broken:
        raise _unusable(f"the transform gives {broken} inputs that are not finite")
    inputs, again, size = _draw_twice(pool, evidence, source)
    return Background(
        inputs=inputs,
        again=again,
        origin="schema",
        words=f"{size} of {number} rows drawn from the public schema (seed {evidence.seed}), each value uniform over "
        "the domain of its column or between its bounds, each column by itself",
        notes=(
            *notes,
            "Rows drawn from the schema are not typical people: values that are rare among people are as frequent as "
            "any other, so importances differ from those against a background of people.",
        ),
    )


def _draw_twice(pool: Inputs, evidence: AuditInput, source: Source) -> tuple[Inputs, Inputs, int]:
    """Returns two independent systematic samples of a pool, in the order of the model's output, and their size.

    Rows are taken at even distances from a random start (Madow & Madow 1944). A simple random sample of 200 rows may
    hold twice as many rows of rare, decisive values as another one, and importances of such columns follow.
    """
    order = np.argsort(source.model.predict(pool), kind="stable")
    size = min(evidence.settings.background_rows, len(order))
    chosen = []
    for stream in (_FIRST, _SECOND):
        start = np.random.default_rng([evidence.seed, stream]).random()
        places = ((np.arange(size) + start) * (len(order) / size)).astype(np.intp)
        chosen.append(take(pool, np.sort(order[places])))
    return chosen[0], chosen[1], size


def _not_public(evidence: AuditInput) -> list[str]:
    """Returns the features whose domain or bounds nobody has stated, or which were read from the private rows."""
    columns = _served(evidence)
    if not evidence.schema.curated:
        return [column.name for column in columns]
    undrawn = undrawn_columns(columns, evidence.schema)
    specs = {spec.name: spec for spec in evidence.schema.features}
    return [column.name for column in columns if column.name in undrawn or not specs[column.name].reviewed]


def _served(evidence: AuditInput) -> tuple[Column, ...]:
    """Returns the columns that the served model asks for: the features, and what a rule by group reads beside them."""
    rule = () if evidence.model.mitigation is None else evidence.model.mitigation.served_columns
    names = dict.fromkeys([*(column.name for column in evidence.dataset.features), *rule])
    return tuple(evidence.dataset.column(name) for name in names)


def _transformed(table: pa.Table, evidence: AuditInput) -> Inputs:
    graph = evidence.transform_folder / evidence.transform.graph
    try:
        return transform_rows(table, graph=graph, outputs=evidence.transform.outputs)
    except Exception as error:  # TensorFlow raises many types, some of which quote values
        raise _unusable(f"the transform graph could not be applied ({type(error).__name__})") from error


def _unusable(seen: str) -> AuditError:
    return AuditError(
        "explanations",
        seen=seen,
        allowed="a transform graph that gives finite inputs for all rows that the schema allows",
        remedy="narrow the bounds of the schema, or mend the preprocessing_fn",
    )
