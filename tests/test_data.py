"""The data nouns: roles are one fact, files are checked before they are read."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from probity.data import (
    Anomalies,
    Anomaly,
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
    TransformConstant,
    TransformedExamples,
    TransformedFeature,
)
from probity.digest import digest_bytes, digest_file
from probity.errors import DigestMismatchError
from probity.tfexample import write_arrays, write_table

DIGEST = digest_bytes(b"x")
AGE = Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE, Role.SENSITIVE))
SEX = Column(name="sex", kind=ColumnKind.TEXT, roles=(Role.SENSITIVE,))
LABEL = Column(name="income", kind=ColumnKind.TEXT, roles=(Role.LABEL,))


def dataset(**changes):
    values = {
        "name": "adult",
        "source": "adult.csv.gz",
        "source_format": "csv",
        "source_digest": DIGEST,
        "content_digest": DIGEST,
        "num_rows": 1,
        "columns": (AGE, SEX, LABEL),
        "label": "income",
        "positive": ">50K",
        "split_rule": "by hash",
        "sensitive": (SensitiveAttribute(name="sex", column="sex", groups=("Female", "Male")),),
        **changes,
    }
    return Dataset(**values)


def test_features_are_what_the_model_may_see():
    assert dataset().features == (AGE,)
    assert dataset().column("sex") is not None
    assert not dataset().column("sex").is_feature
    with pytest.raises(KeyError):
        dataset().column("race")


def test_slices_are_everything_then_attributes_then_intersections():
    assert dataset(sensitive=(), intersections=()).slices() == ((),)
    race = SensitiveAttribute(name="race", column="race", groups=())
    whole = dataset(sensitive=(*dataset().sensitive, race), intersections=(("sex", "race"),))
    assert whole.slices() == ((), ("sex",), ("race",), ("sex", "race"))


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": (AGE, SEX)},
        {"columns": (AGE, LABEL, LABEL.model_copy(update={"name": "other"}))},
        {"label": "age"},
        {"num_rows": 0},
        {"source_digest": "abc"},
    ],
)
def test_a_dataset_without_exactly_one_label_or_without_rows_is_refused(changes):
    with pytest.raises(ValidationError):
        dataset(**changes)


def test_a_column_has_a_role():
    with pytest.raises(ValidationError):
        Column(name="a", kind=ColumnKind.INT, roles=())


def test_the_json_form_comes_back():
    value = json.loads(json.dumps(dataset().to_json(), allow_nan=False))
    assert Dataset.from_json(value) == dataset()
    assert value["columns"][0]["roles"] == ["feature", "sensitive"]


@pytest.fixture
def examples(tmp_path):
    table = pa.table({"age": pa.array([25, None], pa.int64()), "sex": pa.array(["Female", None])})
    write_table(tmp_path / "test.tfrecord.gz", table)
    entry = SplitFile(path="test.tfrecord.gz", digest=digest_file(tmp_path / "test.tfrecord.gz"), num_rows=2)
    return Examples(folder=tmp_path, files={"test": entry}, columns=(SEX, AGE))


def test_a_split_is_read_as_recorded(examples):
    assert examples.table("test").to_pydict() == {"sex": ["Female", None], "age": [25, None]}


def test_a_split_that_changed_is_not_read(examples):
    with examples.path("test").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DigestMismatchError, match=r"test\.tfrecord\.gz"):
        examples.table("test")


def test_an_unknown_split_is_a_key_error(examples):
    with pytest.raises(KeyError):
        examples.table("train")


def test_transformed_arrays_are_checked_before_they_are_read(tmp_path):
    write_arrays(tmp_path / "train", {"age_xf": np.ones((2, 3), np.float32)}, np.array([0, 1]))
    entry = SplitFile(path="train", digest=digest_file(tmp_path / "train"), num_rows=2)
    outputs = (TransformedFeature(name="age_xf", source="age", width=3),)
    transformed = TransformedExamples(folder=tmp_path, files={"train": entry}, outputs=outputs)
    inputs, labels = transformed.arrays("train")
    assert inputs["age_xf"].shape == (2, 3)
    assert labels.tolist() == [0, 1]
    (tmp_path / "train").write_bytes(b"other")
    with pytest.raises(DigestMismatchError):
        transformed.arrays("train")


def test_only_errors_stop_a_run():
    def anomaly(severity):
        return Anomaly(split="train", feature="age", severity=severity, reason="R", description="d")

    assert Anomalies(schema_digest=DIGEST).errors == ()
    both = Anomalies(schema_digest=DIGEST, anomalies=(anomaly("warning"), anomaly("error")))
    assert both.errors == (anomaly("error"),)
    with pytest.raises(ValidationError):
        anomaly("fatal")


def test_a_schema_knows_its_features():
    age = FeatureSpec(name="age", kind=ColumnKind.INT, required=True)
    schema = Schema(digest=DIGEST, curated=False, features=(age,))
    assert schema.feature("age") == age
    assert schema.feature("sex") is None


def transform(*sources):
    constants = tuple(TransformConstant(feature="age", kind="quantiles", source=source) for source in sources)
    outputs = tuple(
        TransformedFeature(name=f"{name}_xf", source=name, width=width) for name, width in (("a", 2), ("b", 3))
    )
    return Transform(digest=DIGEST, inputs=(AGE,), outputs=outputs, constants=constants)


def test_one_private_constant_is_enough():
    assert not transform().depends_on_private_data
    assert not transform("schema", "schema").depends_on_private_data
    assert transform("schema", "training data").depends_on_private_data
    assert transform().width == 5


def test_rates_are_finite():
    with pytest.raises(ValidationError):
        Transform(digest=DIGEST, inputs=(), outputs=(), constants=(), unknown_rates={"age": float("nan")})
