"""Schema and anomalies."""

import pyarrow as pa
import pytest

from probity.data import Anomalies, Anomaly, Column, ColumnKind, Role, Statistics
from probity.errors import ConfigError, DigestMismatchError, SchemaViolationError
from probity.platform.profile import _write, statistics_of
from probity.platform.schema import (
    INFERRED,
    make_schema,
    read_schema,
    require_valid,
    reviewed_domain,
    text_columns,
    validate,
)

HIDDEN = "Hidden-4711"


@pytest.fixture(scope="session")
def inferred(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "schema.pbtxt"
    return path, make_schema(small.statistics, small.dataset, folder=small.folder, curated=None, out=path)


def curate(inferred, tmp_path, *changes, drop=()):
    """Returns a curated schema file: the inferred one with changes to the parsed message."""
    import tensorflow_data_validation as tfdv

    schema = tfdv.load_schema_text(str(inferred[0]))
    for change in changes:
        change(schema)
    for name in drop:
        kept = [entry for entry in schema.feature if entry.name != name]
        del schema.feature[:]
        schema.feature.extend(kept)
    path = tmp_path / "curated.pbtxt"
    tfdv.write_schema_text(schema, str(path))
    return path


def check(small, path, *, curated, tmp_path, **tables):
    """Validates with the statistics of some splits replaced by those of other rows."""
    splits = dict(small.statistics.splits)
    for split, table in tables.items():
        splits[split] = f"../other_{tmp_path.name}_{split}.pbtxt"
        _write(statistics_of(table), small.folder / splits[split])
    statistics = Statistics(splits=splits, groups={}, group_counts={})
    schema = read_schema(path, curated=curated)
    return validate(statistics, schema, small.dataset, folder=small.folder, schema_path=path)


def with_cells(small, split, column, cells):
    """Returns the split with the first cells of one column replaced."""
    table = small.examples.table(split)
    position = table.column_names.index(column)
    values = [*cells, *table.column(column).to_pylist()[len(cells) :]]
    return table.set_column(position, column, pa.array(values, table.column(column).type))


def train_rows(small):
    return small.examples.files["train"].num_rows


def named(anomalies, feature):
    return [(entry.split, entry.severity, entry.reason) for entry in anomalies.anomalies if entry.feature == feature]


def test_an_inferred_schema_describes_train(small, inferred):
    path, schema = inferred
    assert not schema.curated
    kinds = {entry.name: entry.kind for entry in schema.features}
    assert kinds == {column.name: column.kind for column in small.dataset.columns}
    assert schema.feature("job").domain == ("baker", "clerk")
    assert not schema.feature("job").required
    assert schema.feature("age").required
    assert schema.feature("age").kind is ColumnKind.INT
    assert schema.feature("nowhere") is None
    assert read_schema(path, curated=False) == schema


def test_only_train_influences_it(small, inferred, tmp_path):
    splits = dict.fromkeys(small.statistics.splits, small.statistics.splits["train"])
    other = Statistics(splits=splits, groups={}, group_counts={})
    again = make_schema(other, small.dataset, folder=small.folder, curated=None, out=tmp_path / "s.pbtxt")
    assert again == inferred[1]


def test_serving_needs_features_only(small, inferred):
    import tensorflow_data_validation as tfdv

    proto = tfdv.load_schema_text(str(inferred[0]))
    assert list(proto.default_environment) == ["TRAINING", "SERVING"]
    absent = {feature.name for feature in proto.feature if "SERVING" in feature.not_in_environment}
    assert absent == {"y", "sex", "person"}
    # TFDV itself agrees: rows with features alone are valid when serving, and are not when training.
    rows = small.examples.table("test").select(["age", "wage", "job"])
    assert not tfdv.validate_statistics(statistics_of(rows), proto, environment="SERVING").anomaly_info
    assert set(tfdv.validate_statistics(statistics_of(rows), proto, environment="TRAINING").anomaly_info) == absent


def test_good_data_has_no_errors(small, inferred, tmp_path):
    anomalies = check(small, inferred[0], curated=False, tmp_path=tmp_path)
    assert anomalies.errors == ()
    assert anomalies.schema_digest == inferred[1].digest
    require_valid(anomalies)


def test_what_one_sample_suggests_is_no_rule(small, tmp_path):
    # As text, each unit would be in the domain of one split only; TFDV also notes that all of them look like numbers.
    table = small.examples.table("train").append_column("flag", pa.array([0, 1] * 1000)[: train_rows(small)])
    position = table.column_names.index("person")
    text = table.set_column(position, "person", table.column("person").cast(pa.string()))
    _write(statistics_of(text), tmp_path / "train.pbtxt")
    statistics = Statistics(splits={"train": "train.pbtxt"}, groups={}, group_counts={})
    flag = Column(name="flag", kind=ColumnKind.INT, roles=(Role.FEATURE,))
    dataset = small.dataset.model_copy(update={"columns": (*small.dataset.columns, flag)})
    made = make_schema(statistics, dataset, folder=tmp_path, curated=None, out=tmp_path / "s.pbtxt")
    assert made.feature("person").domain is None
    assert made.feature("job").domain == ("baker", "clerk")
    text = (tmp_path / "s.pbtxt").read_text()
    assert "int_domain" not in text
    assert "bool_domain" not in text
    assert 'domain: "person"' not in text


def test_a_new_category_stops_a_run_only_under_a_curated_schema(small, inferred, tmp_path):
    rows = with_cells(small, "eval", "job", [HIDDEN, HIDDEN, HIDDEN + "2"])
    count = rows.num_rows
    soft = check(small, inferred[0], curated=False, tmp_path=tmp_path, eval=rows)
    assert named(soft, "job") == [("eval", "warning", "ENUM_TYPE_UNEXPECTED_STRING_VALUES")]
    assert soft.errors == ()
    hard = check(small, inferred[0], curated=True, tmp_path=tmp_path, eval=rows)
    assert named(hard, "job") == [("eval", "error", "ENUM_TYPE_UNEXPECTED_STRING_VALUES")]
    (entry,) = hard.anomalies
    assert entry.description == f"2 different values that the schema does not list, in 3 of {count} rows"
    with pytest.raises(SchemaViolationError, match="job in eval: ENUM_TYPE_UNEXPECTED_STRING_VALUES") as raised:
        require_valid(hard)
    assert HIDDEN not in str(raised.value)
    assert HIDDEN not in str(hard.to_json())
    assert raised.value.exit_code == 2


def test_missing_values_are_counted(small, inferred, tmp_path):
    count = small.examples.files["test"].num_rows
    few = check(small, inferred[0], curated=False, tmp_path=tmp_path, test=with_cells(small, "test", "age", [None]))
    assert {entry.severity for entry in few.anomalies if entry.feature == "age"} == {"warning"}
    assert f"missing in 1 of {count} rows" in few.anomalies[0].description
    curated = check(small, inferred[0], curated=True, tmp_path=tmp_path, test=with_cells(small, "test", "age", [None]))
    assert {entry.feature for entry in curated.errors} == {"age"}
    rows = with_cells(small, "test", "age", [None] * (count // 2))
    many = check(small, inferred[0], curated=False, tmp_path=tmp_path, test=rows)
    assert {entry.feature for entry in many.errors} == {"age"}
    gone = small.examples.table("test").drop(["age"])
    absent = check(small, inferred[0], curated=False, tmp_path=tmp_path, test=gone)
    assert {entry.feature for entry in absent.errors} == {"age"}


def test_bounds_and_types_of_a_curated_schema_hold(small, inferred, tmp_path):
    def bound(schema):
        age = next(feature for feature in schema.feature if feature.name == "age")
        age.int_domain.min, age.int_domain.max = 20, 60
        wage = next(feature for feature in schema.feature if feature.name == "wage")
        wage.float_domain.max = 2.0
        job = next(feature for feature in schema.feature if feature.name == "job")
        job.presence.min_fraction = 0.9

    path = curate(inferred, tmp_path, bound)
    out = tmp_path / "out.pbtxt"
    made = make_schema(small.statistics, small.dataset, folder=small.folder, curated=path, out=out)
    assert made.curated
    assert (made.feature("age").minimum, made.feature("age").maximum) == (20.0, 60.0)
    found = check(small, out, curated=True, tmp_path=tmp_path)
    assert {(entry.feature, entry.reason) for entry in found.errors if entry.split == "train"} >= {
        ("age", "INT_TYPE_BIG_INT"),
        ("wage", "FLOAT_TYPE_BIG_FLOAT"),
        ("job", "FEATURE_TYPE_LOW_FRACTION_PRESENT"),
    }
    descriptions = " ".join(entry.description for entry in found.anomalies)
    assert "above the largest one that the schema allows" in descriptions
    assert "at least 90.00% of the rows" in descriptions


def test_another_type_is_an_error(small, inferred, tmp_path):
    def real(schema):
        next(feature for feature in schema.feature if feature.name == "age").type = 3

    found = check(small, curate(inferred, tmp_path, real), curated=True, tmp_path=tmp_path)
    assert named(found, "age") == [(split, "error", "UNEXPECTED_DATA_TYPE") for split in ("train", "eval", "test")]
    assert found.errors[0].description == "the data is INT, the schema says FLOAT"


def test_shifted_labels_are_a_warning(small, inferred, tmp_path):
    rows = small.examples.table("eval").num_rows
    shifted = with_cells(small, "eval", "y", ["yes"] * rows)
    found = check(small, inferred[0], curated=True, tmp_path=tmp_path, eval=shifted)
    assert named(found, "y") == [("eval", "warning", "COMPARATOR_L_INFTY_HIGH")]
    # The distance is one minus the base rate of train, by hand.
    labels = small.examples.table("train").column("y").to_pylist()
    expected = labels.count("no") / len(labels)
    assert f"distance {expected:.3g}, at most 0.05 tolerated" in found.anomalies[0].description
    assert "yes" not in found.anomalies[0].description


def test_shifted_number_labels_are_a_warning(small, inferred, tmp_path):
    def number(split, ones):
        table = small.examples.table(split)
        position = table.column_names.index("y")
        values = [int(i < ones * table.num_rows) for i in range(table.num_rows)]
        return table.set_column(position, "y", pa.array(values))

    def numeric(schema):
        label = next(feature for feature in schema.feature if feature.name == "y")
        label.type = 2
        label.ClearField("domain")

    path = curate(inferred, tmp_path, numeric)
    tables = {"train": number("train", 0.25), "eval": number("eval", 0.25), "test": number("test", 0.4)}
    found = check(small, path, curated=True, tmp_path=tmp_path, **tables)
    assert named(found, "y") == [("test", "warning", "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH")]


def test_a_curated_schema_is_kept(small, inferred, tmp_path):
    path = curate(inferred, tmp_path)
    made = make_schema(small.statistics, small.dataset, folder=small.folder, curated=path, out=tmp_path / "out.pbtxt")
    assert (tmp_path / "out.pbtxt").read_text() == path.read_text() == inferred[0].read_text()
    assert made.features == inferred[1].features
    assert text_columns(path) == {"job", "sex", "y"}


def test_excluded_columns_are_left_out(small, inferred, tmp_path):
    path = curate(inferred, tmp_path, lambda schema: schema.feature.add(name="old", type=1))
    dataset = small.dataset.model_copy(update={"excluded": ("old",)})
    made = make_schema(small.statistics, dataset, folder=small.folder, curated=path, out=tmp_path / "o.pbtxt")
    assert made.feature("old") is None
    assert made.features == inferred[1].features


@pytest.mark.parametrize(
    ("changes", "drop", "seen"),
    [
        ([lambda schema: schema.feature.add(name="agee", type=2)], (), "did you mean 'age'"),
        ([lambda schema: schema.feature.add(name="age", type=2)], (), "one feature described twice"),
        ([lambda schema: schema.feature[0].ClearField("type")], (), "type TYPE_UNKNOWN"),
        ([], ["y"], r"no feature for y \(the label\)"),
        ([], ["wage", "job"], "no feature for wage, job"),
    ],
)
def test_a_curated_schema_has_to_fit(small, inferred, tmp_path, changes, drop, seen):
    path = curate(inferred, tmp_path, *changes, drop=drop)
    with pytest.raises(ConfigError, match=seen) as raised:
        make_schema(small.statistics, small.dataset, folder=small.folder, curated=path, out=tmp_path / "o.pbtxt")
    assert raised.value.exit_code == 2
    assert not (tmp_path / "o.pbtxt").exists()


@pytest.mark.parametrize("content", [b'feature { nme: "Hidden-4711" }', b"\xff\xfe", b"- a\n- Hidden-4711\n"])
def test_what_is_no_schema_is_refused(tmp_path, content):
    (tmp_path / "s.pbtxt").write_bytes(content)
    for read in (text_columns, lambda path: read_schema(path, curated=True)):
        with pytest.raises(ConfigError, match=r"s\.pbtxt") as raised:
            read(tmp_path / "s.pbtxt")
        assert "Hidden" not in str(raised.value)
    with pytest.raises(ConfigError):
        text_columns(tmp_path / "absent.pbtxt")


def test_a_changed_schema_file_is_noticed(small, inferred, tmp_path):
    path = curate(inferred, tmp_path)
    schema = read_schema(path, curated=True)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DigestMismatchError):
        validate(small.statistics, schema, small.dataset, folder=small.folder, schema_path=path)


def test_the_error_names_the_first_and_counts_the_rest():
    entries = tuple(
        Anomaly(split="test", feature=f"f{i}", severity="error", reason="R", description="d") for i in range(5)
    )
    with pytest.raises(SchemaViolationError, match=r"f0, f1, f2: 5 departures .* and 2 more"):
        require_valid(Anomalies(schema_digest="sha256:" + "0" * 64, anomalies=entries))


def test_the_domain_of_a_label_counts_once_somebody_reviewed_it(tmp_path):
    text = 'feature {{ name: "y" type: BYTES domain: "y" {comment} }}\n'
    text += 'string_domain {{ name: "y" value: "b" value: "a" }}\n'
    path = tmp_path / "schema.pbtxt"
    path.write_text(text.format(comment=""))
    assert reviewed_domain(path, "y") == ("b", "a")
    assert reviewed_domain(path, "z") is None
    path.write_text(text.format(comment=f'annotation {{ comment: "{INFERRED}" }}'))
    assert reviewed_domain(path, "y") is None
