"""Scored rows: what they refuse, their file, and the scores of a real SavedModel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from probity.audits.scoring import ScoredRows, positive_labels, score
from probity.audits.testing import make_evidence
from probity.data import Column, ColumnKind, Dataset, Role
from probity.digest import digest_bytes
from probity.errors import AuditError, DataError, DigestMismatchError


def rows(**changes):
    given = {
        "scores": np.array([0.1, 0.9, 0.5], np.float32),
        "labels": np.array([False, True, True]),
        "groups": {"sex": np.array([0, 1, 0], np.int32)},
        "names": {"sex": ("F", "M", "Unseen")},
        **changes,
    }
    return ScoredRows(**given)


def equal(first, second):
    return (
        np.array_equal(first.scores, second.scores)
        and np.array_equal(first.labels, second.labels)
        and dict(first.names) == dict(second.names)
        and all(np.array_equal(codes, second.groups[name]) for name, codes in first.groups.items())
    )


def test_file_round_trip(tmp_path):
    rows().write(tmp_path / "scored.parquet")
    back = ScoredRows.read(tmp_path / "scored.parquet")
    assert equal(rows(), back)
    assert (back.scores.dtype, back.labels.dtype, back.groups["sex"].dtype) == (np.float32, np.bool_, np.int32)


def test_file_round_trip_without_rows_or_groups(tmp_path):
    empty = rows(scores=np.zeros(0, np.float32), labels=np.zeros(0, bool), groups={}, names={})
    empty.write(tmp_path / "scored.parquet")
    assert equal(empty, ScoredRows.read(tmp_path / "scored.parquet"))


@pytest.mark.parametrize("content", [b"", b"no parquet"])
def test_unreadable_file_is_a_data_error(tmp_path, content):
    (tmp_path / "scored.parquet").write_bytes(content)
    with pytest.raises(DataError):
        ScoredRows.read(tmp_path / "scored.parquet")
    with pytest.raises(DataError):
        ScoredRows.read(tmp_path / "absent.parquet")


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": np.array([0.1, np.nan, 0.5], np.float32)},
        {"scores": np.array([0.1, np.inf, 0.5], np.float32)},
        {"scores": np.array([0.1, 1.5, 0.5], np.float32)},
        {"scores": np.array([0.1, -0.5, 0.5], np.float32)},
        {"scores": np.array([0.1], np.float32)},
        {"groups": {"sex": np.array([0, 3, 0], np.int32)}},
        {"groups": {"sex": np.array([0, -1, 0], np.int32)}},
        {"groups": {"sex": np.array([0], np.int32)}},
        {"groups": {}},
    ],
)
def test_rows_that_cannot_be_measured_are_refused(changes):
    with pytest.raises(AuditError, match="scored test rows"):
        rows(**changes)


@pytest.mark.parametrize(
    ("kind", "positive", "values", "expected"),
    [
        (ColumnKind.TEXT, ">50K", pa.array([">50K", "<=50K", ">50K"]), [True, False, True]),
        (ColumnKind.INT, "1", pa.array([0, 1, 2], pa.int64()), [False, True, False]),
        (ColumnKind.FLOAT, "1", pa.array([0.0, 1.0], pa.float32()), [False, True]),
        (ColumnKind.FLOAT, "0.1", pa.array([0.1, 1.0], pa.float32()), [True, False]),
        (ColumnKind.TEXT, "yes", pa.array([], pa.string()), []),
    ],
)
def test_positive_labels(kind, positive, values, expected):
    dataset = Dataset(
        name="d",
        source="d.csv",
        source_format="csv",
        source_digest=digest_bytes(b""),
        content_digest=digest_bytes(b""),
        num_rows=3,
        columns=(Column(name="y", kind=kind, roles=(Role.LABEL,)),),
        label="y",
        positive=positive,
        split_rule="none",
    )
    for column in (pa.chunked_array([values]), pa.chunked_array([values[:1], values[1:]]) if len(values) else values):
        assert positive_labels(dataset, column).tolist() == expected
    if len(values):
        with pytest.raises(AuditError, match="without a label"):
            positive_labels(dataset, pa.chunked_array([values, pa.nulls(1, values.type)]))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(tmp_path_factory.mktemp("evidence"), rows=300)


def test_scores_are_those_of_the_exported_model(evidence):
    found = score(evidence.model_folder, dataset=evidence.dataset, examples=evidence.examples)
    expected = evidence.scored
    assert found.scores == pytest.approx(expected.scores, abs=1e-6)
    assert found.scores.dtype == np.float32
    assert equal(replace(found, scores=expected.scores), expected)
    assert found.names["sex"] == ("Female", "Male", "Unseen", "(missing)")


def test_a_released_folder_is_scored_as_well(evidence):
    found = score(evidence.model_folder / "saved_model", dataset=evidence.dataset, examples=evidence.examples)
    assert found.scores == pytest.approx(evidence.scored.scores, abs=1e-6)


def test_changed_examples_are_refused(evidence, tmp_path):
    files = {
        name: (entry.model_copy(update={"digest": digest_bytes(b"other")}))
        for name, entry in evidence.examples.files.items()
    }
    with pytest.raises(DigestMismatchError):
        score(evidence.model_folder, dataset=evidence.dataset, examples=replace(evidence.examples, files=files))
