"""What an author of an audit needs: evidence to run it on, and the suite that every audit must pass.

Shipped with the package, so that a plug-in is tested like our own audits::

    class TestMyAudit(AuditContract):
        def make_audit(self):
            return MyAudit()

:func:`make_evidence` makes everything real but small: examples and a SavedModel on disk, scored by that model.
"""

# ruff: noqa: S101 - a suite of tests asserts

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits.base import Audit, AuditInput
from probity.audits.scoring import ScoredRows
from probity.data import (
    MISSING_GROUP,
    Column,
    ColumnKind,
    Dataset,
    Examples,
    FeatureSpec,
    Role,
    Schema,
    SensitiveAttribute,
    SplitFile,
    Transform,
    TransformedExamples,
    TransformedFeature,
)
from probity.data_source import SPLITS
from probity.digest import digest_bytes, digest_file, digest_tree
from probity.errors import AuditError
from probity.findings import AuditReport
from probity.groups import group_codes, group_names
from probity.model import UNMITIGATED, Mechanism, Mitigation, NonPrivate, TrainedModel
from probity.tfexample import write_arrays, write_table

__all__ = ["AuditContract", "draw_rows", "make_evidence", "score_by_formula"]

_FEATURES = ("age", "hours")
_MEANS, _SCALES, _WEIGHTS, _BIAS = (40.0, 38.0), (12.0, 10.0), (0.9, 0.7), -0.8
_BINS = (30.0, 50.0)
_UNMITIGATED_BIAS = -0.4


def make_evidence(
    folder: Path,
    *,
    rows: int = 400,
    seed: int = 3,
    settings: AuditsConfig | None = None,
    mechanism: Mechanism | None = None,
    table: pa.Table | None = None,
    model_folder: Path | None = None,
    mitigated: bool = False,
) -> AuditInput:
    """Makes evidence about a logistic model of two numeric features, with three sensitive attributes.

    ``sex`` (one group declared but empty, one row in nine missing), ``race`` (one group of a few rows) and ``age_band``
    (bins of the feature ``age``); one intersection, sex x race.

    Args:
        folder: An existing empty folder; files are written below it.
        rows: Rows of the test split.
        seed: Of the drawn rows.
        settings: Defaults to a minimum group size of 20.
        mechanism: Defaults to :class:`~probity.model.NonPrivate`.
        table: The test rows instead of drawn ones: columns age, hours, sex, race and income (``yes`` is positive).
        model_folder: The model folder of other evidence, to use its model again.
        mitigated: Whether the record says that the model had a mitigation; the model without it decides more rows
            positively.
    """
    drawn = {split: draw_rows(200, seed=seed + place) for place, split in enumerate(("train", "eval"), start=1)}
    tables = {**drawn, "test": draw_rows(rows, seed=seed) if table is None else table}
    dataset = _dataset(sum(part.num_rows for part in tables.values()))
    examples = Examples(folder=folder / "examples", columns=dataset.columns, files={})
    examples = replace(examples, files=_write_splits(examples.folder, tables))
    if model_folder is None:
        model_folder = folder / "model"
        _export(model_folder)
        if mitigated:
            _export(model_folder / UNMITIGATED, bias=_UNMITIGATED_BIAS)
    test = tables["test"]
    return AuditInput(
        model=_model(model_folder, mechanism or NonPrivate(), mitigated=mitigated),
        model_folder=model_folder,
        dataset=dataset,
        examples=examples,
        schema=_schema(dataset),
        transform=_transform(dataset),
        transform_folder=folder / "transform",
        transformed=_transformed(folder / "transformed", tables),
        scored=score_by_formula(test, dataset),
        settings=settings or AuditsConfig(min_group_size=20),
        seed=seed,
    )


def draw_rows(rows: int, *, seed: int) -> pa.Table:
    """Draws raw rows whose label follows the model's score, with one group treated differently."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows)
    hours = rng.normal(38, 10, rows).round(1).astype(np.float32)
    sex = rng.choice(np.array(["Female", "Male", None], object), rows, p=[0.4, 0.49, 0.11])
    race = rng.choice(np.array(["A", "B", "Rare"], object), rows, p=[0.6, 0.38, 0.02])
    lift = 0.6 * (sex == "Male")
    positive = rng.random(rows) < _sigmoid(_logits(age, hours) + lift)
    return pa.table(
        {
            "age": pa.array(age, pa.int64()),
            "hours": pa.array(hours, pa.float32()),
            "sex": pa.array(sex, pa.string()),
            "race": pa.array(race, pa.string()),
            "income": pa.array(np.where(positive, "yes", "no"), pa.string()),
        }
    )


def score_by_formula(table: pa.Table, dataset: Dataset, *, mitigated: bool = True) -> ScoredRows:
    """Scores rows of :func:`draw_rows` by the model's formula in float64, rounded to float32, without TensorFlow.

    Args:
        table: The rows.
        dataset: Label and sensitive attributes.
        mitigated: Whether by the model itself, or by the one without mitigation.
    """
    logits = (0.0 if mitigated else _UNMITIGATED_BIAS - _BIAS) + _logits(
        *(np.asarray(table.column(name).to_numpy(), np.float64) for name in _FEATURES)
    )
    return ScoredRows(
        scores=_sigmoid(logits).astype(np.float32),
        labels=np.array([value == dataset.positive for value in table.column(dataset.label).to_pylist()], bool),
        groups={entry.name: group_codes(entry, table.column(entry.column)) for entry in dataset.sensitive},
        names={entry.name: entry.groups for entry in dataset.sensitive},
    )


def _logits(*columns: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    parts = zip(columns, _MEANS, _SCALES, _WEIGHTS, strict=True)
    logits: npt.NDArray[np.float64] = np.sum([(c - m) / s * w for c, m, s, w in parts], axis=0) + _BIAS
    return logits


def _sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits))


def _dataset(rows: int) -> Dataset:
    feature, sensitive, label = Role.FEATURE, Role.SENSITIVE, Role.LABEL
    columns = (
        Column(name="age", kind=ColumnKind.INT, roles=(feature, sensitive)),
        Column(name="hours", kind=ColumnKind.FLOAT, roles=(feature,)),
        Column(name="sex", kind=ColumnKind.TEXT, roles=(sensitive,)),
        Column(name="race", kind=ColumnKind.TEXT, roles=(sensitive,)),
        Column(name="income", kind=ColumnKind.TEXT, roles=(label,)),
    )
    return Dataset(
        name="drawn",
        source="drawn.csv",
        source_format="csv",
        source_digest=digest_bytes(b"drawn"),
        content_digest=digest_bytes(b"drawn rows"),
        num_rows=max(1, rows),
        columns=columns,
        label="income",
        positive="yes",
        sensitive=(
            SensitiveAttribute(name="sex", column="sex", groups=("Female", "Male", "Unseen", MISSING_GROUP)),
            SensitiveAttribute(name="race", column="race", groups=("A", "B", "Rare")),
            SensitiveAttribute(name="age_band", column="age", bins=_BINS, groups=group_names(_BINS), also_feature=True),
        ),
        intersections=(("sex", "race"),),
        split_rule="drawn by split",
        split_at_random=True,
    )


def _write_splits(folder: Path, tables: Mapping[str, pa.Table]) -> dict[str, SplitFile]:
    folder.mkdir(parents=True)
    files: dict[str, SplitFile] = {}
    for split in SPLITS:
        path = folder / f"{split}.tfrecord.gz"
        write_table(path, tables[split])
        files[split] = SplitFile(path=path.name, digest=digest_file(path), num_rows=tables[split].num_rows)
    return files


def _outputs() -> tuple[TransformedFeature, ...]:
    return tuple(TransformedFeature(name=f"{name}_xf", source=name, width=1) for name in _FEATURES)


def _transformed(folder: Path, tables: Mapping[str, pa.Table]) -> TransformedExamples:
    folder.mkdir(parents=True)
    files: dict[str, SplitFile] = {}
    for split, table in tables.items():
        inputs = {
            f"{name}_xf": ((table.column(name).to_numpy() - mean) / scale).astype(np.float32).reshape(-1, 1)
            for name, mean, scale in zip(_FEATURES, _MEANS, _SCALES, strict=True)
        }
        labels = np.array([value == "yes" for value in table.column("income").to_pylist()], np.float32)
        path = folder / f"{split}.tfrecord.gz"
        write_arrays(path, inputs, labels)
        files[split] = SplitFile(path=path.name, digest=digest_file(path), num_rows=table.num_rows)
    return TransformedExamples(folder=folder, files=files, outputs=_outputs())


def _transform(dataset: Dataset) -> Transform:
    inputs = tuple(column for column in dataset.columns if column.is_feature)
    return Transform(digest=digest_bytes(b"fixed"), inputs=inputs, outputs=_outputs(), constants=())


def _schema(dataset: Dataset) -> Schema:
    features = tuple(FeatureSpec(name=c.name, kind=c.kind, required=True) for c in dataset.columns)
    return Schema(digest=digest_bytes(b"schema"), curated=True, features=features)


def _model(folder: Path, mechanism: Mechanism, *, mitigated: bool) -> TrainedModel:
    fixed = digest_bytes(b"fixed")
    without = digest_tree(folder / UNMITIGATED / "saved_model") if mitigated else None
    return TrainedModel(
        trainer="fixed",
        mechanism=mechanism,
        digest=digest_tree(folder / "saved_model"),
        weights=fixed,
        train_examples=fixed,
        transform=fixed,
        settings={},
        seed=0,
        num_train_examples=200,
        num_train_units=200,
        num_parameters=3,
        steps=1,
        epochs=1,
        best_epoch=1,
        chosen_on_eval=True,
        history={},
        environment={},
        mitigation=None
        if without is None
        else Mitigation(method="fixed", across=("sex",), constraint="nothing", fitted_on="train", unmitigated=without),
    )


def _export(folder: Path, *, bias: float = _BIAS) -> None:
    """Writes ``model.keras`` over the transformed inputs and the SavedModel over serialized examples."""
    import tensorflow as tf

    folder.mkdir(parents=True)
    inputs = {f"{name}_xf": tf.keras.Input((1,), name=f"{name}_xf") for name in _FEATURES}
    joined = tf.keras.layers.Concatenate()(list(inputs.values()))
    head = tf.keras.layers.Dense(1, activation="sigmoid")
    model = tf.keras.Model(inputs, head(joined))
    head.set_weights([np.array(_WEIGHTS, np.float32).reshape(-1, 1), np.array([bias], np.float32)])
    model.save(folder / "model.keras")
    parsed = {
        "age": tf.io.FixedLenFeature([], tf.int64),
        "hours": tf.io.FixedLenFeature([], tf.float32),
    }

    def scores(raw: dict[str, Any]) -> dict[str, Any]:
        scaled = {
            f"{name}_xf": (tf.cast(tf.reshape(raw[name], [-1, 1]), tf.float32) - mean) / scale
            for name, mean, scale in zip(_FEATURES, _MEANS, _SCALES, strict=True)
        }
        return {"scores": model(scaled)}

    serve_examples = tf.function(lambda examples: scores(tf.io.parse_example(examples, parsed)))
    serve_columns = tf.function(lambda age, hours: scores({"age": age, "hours": hours}))
    signatures = {
        "serving_default": serve_examples.get_concrete_function(tf.TensorSpec([None], tf.string, name="examples")),
        "predict_columns": serve_columns.get_concrete_function(
            tf.TensorSpec([None], tf.int64, name="age"), tf.TensorSpec([None], tf.float32, name="hours")
        ),
    }
    tf.saved_model.save(model, str(folder / "saved_model"), signatures=signatures)


class AuditContract:
    """The suite that every audit must pass: subclass it and implement :meth:`make_audit`.

    A test run makes evidence once per class and runs the audit about six times.
    """

    row_order_matters = False
    """Set to ``True`` for an audit that draws a sample of rows by position, and say so in its report."""

    mitigated = False
    """Set to ``True`` for an audit of what a mitigation changed."""

    def make_audit(self) -> Audit:
        """Returns the audit under test."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def evidence(self, tmp_path_factory: pytest.TempPathFactory) -> AuditInput:
        """Evidence with an empty group, a small group and a group of missing values."""
        return make_evidence(tmp_path_factory.mktemp("evidence"), rows=240, mitigated=self.mitigated)

    @pytest.fixture(scope="class")
    def report(self, evidence: AuditInput, tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
        """The audit's report on :meth:`evidence`."""
        return self.make_audit().run(evidence, workdir=tmp_path_factory.mktemp("workdir"))

    def test_report_carries_the_audits_name_and_the_evidences_subject(
        self, evidence: AuditInput, report: AuditReport
    ) -> None:
        """Otherwise the gate would take it for evidence about another model."""
        assert report.audit == self.make_audit().name
        assert report.subject == evidence.subject
        assert report.status == "complete", report.reasons

    def test_report_survives_its_json_form(self, report: AuditReport) -> None:
        """What the gate reads from disk is what the audit returned."""
        assert AuditReport.from_json(report.to_json()) == report

    def test_equal_evidence_gives_an_equal_report_and_no_trace(
        self, evidence: AuditInput, report: AuditReport, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Deterministic for a seed; writes in ``workdir`` only; logs nothing, because many people can read a log."""
        folder = evidence.examples.folder.parent
        before = digest_tree(folder)
        with caplog.at_level("INFO"):
            again = self.make_audit().run(evidence, workdir=_new(tmp_path / "workdir"))
        assert again.to_json() == report.to_json()
        assert digest_tree(folder) == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["workdir"]
        assert not caplog.records, [record.getMessage() for record in caplog.records]

    def test_order_of_rows_does_not_matter(self, evidence: AuditInput, report: AuditReport, tmp_path: Path) -> None:
        """Up to the rounding of sums."""
        if self.row_order_matters:
            pytest.skip("the audit samples rows by position")
        test = evidence.examples.table("test")
        shuffled = test.take(np.random.default_rng(1).permutation(test.num_rows))
        other = self.make_audit().run(
            _evidence_of(tmp_path, shuffled, like=evidence), workdir=_new(tmp_path / "workdir")
        )
        assert [finding.id for finding in other.findings] == [finding.id for finding in report.findings]
        for mine, theirs in zip(report.findings, other.findings, strict=True):
            assert mine.estimate.n == theirs.estimate.n
            assert _close(mine.estimate.value, theirs.estimate.value), mine.id
            assert _close(mine.estimate.lower, theirs.estimate.lower), mine.id
            assert _close(mine.estimate.upper, theirs.estimate.upper), mine.id

    @pytest.mark.parametrize("label", ["yes", "no"])
    def test_rows_of_one_label_give_a_report(self, label: str, evidence: AuditInput, tmp_path: Path) -> None:
        """What cannot be measured is insufficient evidence or a failed audit, not an exception of another kind."""
        table = draw_rows(60, seed=5)
        table = table.set_column(table.column_names.index("income"), "income", pa.array([label] * 60))
        self._tolerates(_evidence_of(tmp_path, table, like=evidence), _new(tmp_path / "workdir"))

    def test_three_rows_give_a_report(self, evidence: AuditInput, tmp_path: Path) -> None:
        """As for rows of one label."""
        self._tolerates(_evidence_of(tmp_path, draw_rows(3, seed=5), like=evidence), _new(tmp_path / "workdir"))

    def _tolerates(self, evidence: AuditInput, workdir: Path) -> None:
        try:
            report = self.make_audit().run(evidence, workdir=workdir)
        except AuditError:
            return
        assert report.subject == evidence.subject
        for finding in report.findings:
            assert finding.estimate.value is not None or finding.reason


def _evidence_of(folder: Path, table: pa.Table, *, like: AuditInput) -> AuditInput:
    mitigated = like.model.mitigation is not None
    made = make_evidence(
        _new(folder / "evidence"),
        table=table,
        model_folder=like.model_folder,
        mitigated=mitigated,
        settings=like.settings,
    )
    model = made.model.model_copy(update={"encryption": like.model.encryption})
    return replace(made, model=model, edge_cases=like.edge_cases)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _close(mine: float | None, theirs: float | None) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return mine == theirs or bool(np.isclose(mine, theirs, rtol=1e-6, atol=1e-9))
