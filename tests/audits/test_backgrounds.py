"""Who may be in a background: of a private model nobody from the training split, whatever happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits import backgrounds
from probity.audits.backgrounds import choose_background, draw_rows, open_model, take
from probity.audits.base import AuditInput
from probity.audits.explanations import ExplanationsAudit
from probity.audits.testing import make_evidence
from probity.data import TransformConstant
from probity.errors import AuditError
from probity.model import DpSgd, Unknown

PRIVATE = DpSgd(
    noise_multiplier=1.0,
    noise_source="os_entropy",
    sampling="poisson",
    sampling_prob=0.1,
    steps=10,
    l2_clip_norm=1.0,
    expected_batch_size=20.0,
    normalization="expected_batch_size",
    unit="row",
    engine="test",
)
BOUNDS = {"age": (18.0, 80.0), "hours": (1.0, 99.0)}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> AuditInput:
    settings = AuditsConfig(min_group_size=20, background_rows=40)
    return make_evidence(tmp_path_factory.mktemp("evidence"), settings=settings)


def with_mechanism(evidence, mechanism):
    return replace(evidence, model=evidence.model.model_copy(update={"mechanism": mechanism}))


def with_bounds(evidence, **changes):
    specs = tuple(
        spec.model_copy(
            update={"minimum": BOUNDS[spec.name][0], "maximum": BOUNDS[spec.name][1], **changes.get(spec.name, {})}
        )
        if spec.name in BOUNDS
        else spec
        for spec in evidence.schema.features
    )
    return replace(evidence, schema=evidence.schema.model_copy(update={"features": specs}))


@pytest.fixture
def private(evidence, tmp_path):
    """Evidence about a private model, whose training split cannot be read: it is not on disk."""
    files = {
        split: entry.model_copy(update={"path": "gone"}) if split == "train" else entry
        for split, entry in evidence.examples.files.items()
    }
    found = with_bounds(with_mechanism(evidence, PRIVATE))
    return replace(
        found,
        examples=replace(found.examples, files=files),
        transformed=replace(found.transformed, files={**found.transformed.files, "train": files["train"]}),
    )


@pytest.fixture
def graph(monkeypatch):
    """The transform of the evidence, which has no graph on disk; returns the tables that went through it."""
    seen = []

    def transform(table, *, graph, outputs):
        seen.append(table)
        numbers = {name: np.asarray(table.column(name).to_numpy(), np.float32) for name in ("age", "hours")}
        return {"age_xf": (numbers["age"][:, None] - 40) / 12, "hours_xf": (numbers["hours"][:, None] - 38) / 10}

    monkeypatch.setattr(backgrounds, "transform_rows", transform)
    return seen


def choose(evidence):
    return choose_background(evidence, open_model(evidence))


def means(inputs):
    return {name: float(values.mean()) for name, values in inputs.items()}


def test_a_model_that_is_not_private_is_explained_against_training_rows(evidence):
    found = choose(evidence)
    train, _ = evidence.transformed.arrays("train")
    assert (found.origin, found.size, found.notes) == ("training", 40, ())
    known = {tuple(row) for row in np.concatenate(list(train.values()), axis=1)}
    for inputs in (found.inputs, found.again):
        assert {tuple(row) for row in np.concatenate(list(inputs.values()), axis=1)} <= known


def test_so_is_one_that_was_trained_elsewhere(evidence):
    assert choose(with_mechanism(evidence, Unknown())).origin == "training"


def test_a_systematic_sample_has_the_mean_output_of_the_split(evidence):
    """Forty rows by chance miss it by a tenth of a standard deviation and more; these must not."""
    source = open_model(evidence)
    everyone = source.model.predict(evidence.transformed.arrays("train")[0])
    found = choose(evidence)
    for inputs in (found.inputs, found.again):
        missed = abs(source.model.predict(inputs).mean() - everyone.mean()) / everyone.std()
        assert missed < 0.05


class Shuffled:
    """A model that gives each of 200 rows, which are numbered, an output of its own."""

    def predict(self, inputs):
        return np.random.default_rng(1).permutation(200)[inputs["age_xf"][:, 0].astype(int)]


def test_every_row_has_the_same_chance(evidence):
    """Over many seeds each of 200 training rows is drawn about as often as any other: in one of five draws."""
    numbered = {"age_xf": np.arange(200.0)[:, None]}
    source = replace(open_model(evidence), split=lambda split: numbered, model=Shuffled())
    counts = np.zeros(200)
    for seed in range(300):
        found = choose_background(replace(evidence, seed=seed), source)
        drawn = found.inputs["age_xf"][:, 0].astype(int)
        assert len(set(drawn.tolist())) == 40
        counts[drawn] += 1
    # The count of a row is binomial(300, 1/5), of standard deviation 7.
    assert counts.mean() == 60
    assert np.abs(counts - 60).max() < 4.5 * 7


def test_all_rows_are_taken_where_there_are_no_more(evidence):
    settings = AuditsConfig(min_group_size=20, background_rows=500)
    found = choose(replace(evidence, settings=settings))
    assert found.size == 200
    assert means(found.inputs) == means(found.again) == pytest.approx(means(evidence.transformed.arrays("train")[0]))


def test_a_private_model_is_explained_against_rows_drawn_from_the_schema(private, graph):
    found = choose(private)
    assert (found.origin, found.size) == ("schema", 40)
    assert "public schema" in found.words
    assert any("no row of the training split was read" in note for note in found.notes)
    age = found.inputs["age_xf"] * 12 + 40
    assert 18 <= age.min() < 30
    assert 68 < age.max() <= 80
    assert graph[0].column_names == ["age", "hours"]
    assert means(found.inputs) != means(found.again)


def test_the_whole_report_on_a_private_model_reads_no_training_row(private, graph, tmp_path):
    report = ExplanationsAudit().run(private, workdir=tmp_path)
    assert report.status == "complete"
    assert any("Background: 40 of 10000 rows drawn from the public schema" in reason for reason in report.reasons)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"age": {"minimum": None}}, "age"),
        ({"hours": {"reviewed": False}}, "hours"),
        ({"age": {"reviewed": False}, "hours": {"maximum": None}}, "age, hours"),
    ],
)
def test_what_nobody_made_public_is_not_drawn_from(changes, named, private, graph):
    found = choose(with_bounds(private, **changes))
    assert found.origin == "test"
    assert any(f"no public domain or bounds for {named}." in note for note in found.notes)
    assert not graph


def test_an_inferred_schema_is_not_public(private, graph):
    inferred = replace(private, schema=private.schema.model_copy(update={"curated": False}))
    found = choose(inferred)
    assert found.origin == "test"
    assert any("age, hours" in note for note in found.notes)


def test_a_graph_that_fails_leaves_the_test_split(private):
    """The evidence has no graph on disk; whatever TensorFlow says of that is not repeated."""
    found = choose(private)
    assert found.origin == "test"
    assert any("could not be applied" in note for note in found.notes)
    assert str(private.transform_folder) not in " ".join(found.notes)


def test_inputs_that_are_not_finite_are_not_used(private, monkeypatch):
    def broken(table, *, graph, outputs):
        return {name: np.full((table.num_rows, 1), np.inf, np.float32) for name in ("age_xf", "hours_xf")}

    monkeypatch.setattr(backgrounds, "transform_rows", broken)
    found = choose(private)
    assert found.origin == "test"
    assert any("not finite" in note for note in found.notes)


def test_constants_from_private_rows_are_named(private, graph):
    constants = (
        TransformConstant(feature="age", kind="quantiles", source="training data"),
        TransformConstant(feature="hours", kind="quantiles", source="schema"),
    )
    told = replace(private, transform=private.transform.model_copy(update={"constants": constants}))
    assert any("without noise (age)" in note for note in choose(told).notes)


def test_no_rows_are_an_error_without_values(evidence, tmp_path):
    files = {**evidence.examples.files}
    files["train"] = files["train"].model_copy(update={"num_rows": 0})
    empty = replace(evidence, examples=replace(evidence.examples, files=files))
    with pytest.raises(AuditError, match="train split"):
        choose(empty)


def test_drawing_rows_is_without_replacement_and_ascending():
    rows = draw_rows(50, 20, np.random.default_rng(1))
    assert len(set(rows.tolist())) == 20
    assert rows.tolist() == sorted(rows.tolist())
    assert draw_rows(3, 10, np.random.default_rng(1)).tolist() == [0, 1, 2]
    assert draw_rows(0, 10, np.random.default_rng(1)).tolist() == []
    assert take({"a": np.arange(6)}, np.array([4, 1]))["a"].tolist() == [4, 1]


def test_a_saved_model_without_keras_file_is_asked_about_raw_rows(evidence, tmp_path):
    import shutil

    shutil.copytree(evidence.model_folder / "saved_model", tmp_path / "saved_model")
    source = open_model(replace(evidence, model_folder=tmp_path))
    assert source.model.coded
    rows = source.split("test")
    assert source.model.probability(source.model.predict(rows)) == pytest.approx(evidence.scored.scores, abs=1e-5)
    more = pa.table({"age": pa.array([30, 55], pa.int64()), "hours": pa.array([40.0, 20.0], pa.float32())})
    logits = 0.9 * (np.array([30, 55]) - 40) / 12 + 0.7 * (np.array([40, 20]) - 38) / 10 - 0.8
    assert source.model.predict(source.table(more)) == pytest.approx(logits, abs=1e-4)
