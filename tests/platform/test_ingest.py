"""Files to Dataset and Examples."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from probity.data import MISSING_GROUP, Dataset, Role
from probity.data_source import DataConfig
from probity.errors import ConfigError, DataError, DigestMismatchError
from probity.platform.ingest import ingest, source_digest
from probity.tfexample import write_table

HIDDEN = "Hidden-4711"
COLUMNS = ("age", "wage", "job", "sex", "id", "code", "y")


def people(count=120, *, seed=0):
    """Rows with whole numbers, numbers that float32 holds, text and gaps."""
    chance = random.Random(seed)  # noqa: S311
    return [
        {
            "age": chance.choice([None, *range(18, 70)]),
            "wage": chance.choice([None, 0.5, 1.25, 3.0, 12.75]),
            "job": chance.choice([None, "clerk", "sales, retail", "Bäcker"]),
            "sex": chance.choice(["F", "M"]),
            "id": f"p{chance.randrange(40):02d}",
            "code": chance.choice(["02134", "10001"]),
            "y": chance.choice(["yes", "no", "no"]),
        }
        for _ in range(count)
    ]


def write_csv(path: Path, rows, columns=COLUMNS):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def as_table(rows):
    kinds = {"age": pa.int64(), "wage": pa.float64()}
    return pa.table({name: pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in COLUMNS})


def config(source="data.csv", **changes):
    values = {"source": source, "label": {"column": "y", "positive": "yes"}, "sensitive": ["sex"], "exclude": ["id"]}
    return DataConfig.model_validate({**values, **changes})


def take(root, name="out", **changes):
    out = root / name
    out.mkdir()
    return ingest(config(**changes), name="people", root=root, out=out)


@pytest.fixture
def folder(tmp_path):
    write_csv(tmp_path / "data.csv", people())
    return tmp_path


def test_roles_kinds_and_rows(folder):
    dataset, examples = take(folder, sensitive=["sex", {"column": "age", "bins": [30], "also_feature": True}])
    assert Dataset.from_json(json.loads(json.dumps(dataset.to_json()))) == dataset
    assert dataset.num_rows == sum(entry.num_rows for entry in examples.files.values()) == 120
    assert {column.name: (str(column.kind), column.roles) for column in dataset.columns} == {
        "age": ("int64", (Role.FEATURE, Role.SENSITIVE)),
        "wage": ("float32", (Role.FEATURE,)),
        "job": ("string", (Role.FEATURE,)),
        "sex": ("string", (Role.SENSITIVE,)),
        "code": ("string", (Role.FEATURE,)),
        "y": ("string", (Role.LABEL,)),
    }
    assert dataset.excluded == ("id",)
    assert dataset.positive == "yes"
    assert [attribute.groups for attribute in dataset.sensitive] == [("F", "M"), ("<30", ">=30", MISSING_GROUP)]
    assert dataset.source == "data.csv"
    assert dataset.source_digest == source_digest(config(), root=folder)
    stored = pa.concat_tables([examples.table(split) for split in examples.files]).to_pylist()
    expected = [{name: value for name, value in row.items() if name != "id"} for row in people()]
    assert sorted(stored, key=repr) == sorted(expected, key=repr)


def test_a_changed_file_is_noticed(folder):
    _, examples = take(folder)
    examples.path("test").write_bytes(examples.path("test").read_bytes() + b"x")
    with pytest.raises(DigestMismatchError):
        examples.table("test")


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_byte(tmp_path_factory, chance):
    root = tmp_path_factory.mktemp("order")
    rows = people()
    write_csv(root / "data.csv", rows)
    dataset, examples = take(root)
    chance.shuffle(rows)
    write_csv(root / "data.csv", rows, columns=chance.sample(COLUMNS, len(COLUMNS)))
    again, same = take(root, "again")
    assert same.files == examples.files
    assert again.content_digest == dataset.content_digest
    assert again.sensitive == dataset.sensitive


def test_every_format_gives_the_same_content_and_the_same_files(tmp_path):
    # All fractions here are exact in float32. 0.1 would not be: TFRecord holds another number, and the digest says so.
    table = as_table(people())
    write_csv(tmp_path / "data.csv", people())
    parquet.write_table(table, tmp_path / "data.parquet")
    write_table(tmp_path / "data.tfrecord.gz", table.set_column(1, "wage", table.column("wage").cast(pa.float32())))
    made = [take(tmp_path, name, source=f"data.{name}") for name in ("csv", "parquet", "tfrecord.gz")]
    assert len({dataset.content_digest for dataset, _ in made}) == 1
    assert len({dataset.source_digest for dataset, _ in made}) == 3
    assert all(examples.files == made[0][1].files for _, examples in made)
    assert [dataset.source_format for dataset, _ in made] == ["csv", "parquet", "tfrecord"]


def test_one_changed_cell_changes_the_content(folder):
    before, _ = take(folder)
    rows = people()
    rows[3]["wage"] = 12.5
    write_csv(folder / "data.csv", rows)
    assert take(folder, "changed")[0].content_digest != before.content_digest


def test_splits_follow_the_shares_and_keep_repeated_rows_together(tmp_path):
    rows = [{**row, "wage": i / 4} for i, row in enumerate(people(2000))]
    write_csv(tmp_path / "data.csv", rows + rows)
    dataset, examples = take(tmp_path, split={"train": 3, "eval": 1, "test": 1})
    sizes = np.array([examples.files[split].num_rows for split in ("train", "eval", "test")])
    # Binomial: each share within five standard deviations, counted in pairs of equal rows.
    assert (abs(sizes / 2 - 2000 * np.array([0.6, 0.2, 0.2])) < 5 * np.sqrt(2000 * 0.6 * 0.4)).all()
    found = [set(examples.table(split).column("wage").to_pylist()) for split in examples.files]
    assert all(
        not first & second for first, second in ((found[0], found[1]), (found[0], found[2]), (found[1], found[2]))
    )
    assert "modulo 5 buckets: train 0-2, eval 3, test 4" in dataset.split_rule


def test_excluding_a_column_moves_no_row(folder):
    _, with_id = take(folder)
    _, without = take(folder, "less", exclude=["id", "job"])
    for split in with_id.files:
        assert with_id.table(split).drop(["job"]).equals(without.table(split))


def test_the_rows_of_one_unit_stay_together_and_never_reach_the_model(folder):
    dataset, examples = take(folder, exclude=[], privacy_unit={"column": "id"})
    found = [set(examples.table(split).column("id").to_pylist()) for split in examples.files]
    assert sum(len(units) for units in found) == len(set().union(*found))
    assert dataset.column("id").roles == (Role.PRIVACY_UNIT,)
    assert dataset.privacy_unit == "id"
    assert "the value of id" in dataset.split_rule


def test_each_file_is_a_client_whose_name_is_no_feature(tmp_path):
    (tmp_path / "clients").mkdir()
    rows = people()
    for name, own in (("7", rows[:50]), ("07", rows[50:])):
        write_csv(tmp_path / "clients" / f"{name}.csv", own)
    dataset, examples = take(tmp_path, source="clients/*.csv", file_column="client")
    assert next(column for column in dataset.columns if column.name == "client").roles == (Role.FILE,)
    tables = [examples.table(split) for split in ("train", "eval", "test")]
    found = [(row["client"], row["age"]) for table in tables for row in table.select(["client", "age"]).to_pylist()]
    given = [("7", row["age"]) for row in rows[:50]] + [("07", row["age"]) for row in rows[50:]]
    assert sorted(map(repr, found)) == sorted(map(repr, given))


def test_a_client_may_have_a_file_in_each_split(tmp_path):
    for split, count in (("train", 60), ("eval", 20), ("test", 20)):
        (tmp_path / split).mkdir()
        for name in ("a", "b"):
            write_csv(tmp_path / split / f"{name}.csv", people(count // 2, seed=len(split + name)))
    sources = {split: split for split in ("train", "eval", "test")}
    _, examples = take(tmp_path, source=sources, file_column="client")
    assert examples.table("test").column("client").to_pylist().count("a") == 10


@pytest.mark.parametrize(
    ("files", "column", "error", "words"),
    [
        (("a/x.csv", "b/x.csv"), "client", DataError, "two files of one name"),
        (("a/x.csv", "b/y.csv"), "job", ConfigError, "the data has a column"),
    ],
)
def test_names_of_files_that_tell_nothing_are_refused(tmp_path, files, column, error, words):
    for name in files:
        (tmp_path / name).parent.mkdir()
        write_csv(tmp_path / name, people(30))
    with pytest.raises(error, match=words):
        take(tmp_path, source="*/*.csv", file_column=column)


def test_an_existing_split_is_kept(tmp_path):
    for split, seed in (("train", 1), ("eval", 2), ("test", 3)):
        (tmp_path / split).mkdir()
        write_csv(tmp_path / split / "part.csv", people(30 + seed, seed=seed))
    sources = {split: f"{split}/*" for split in ("train", "eval", "test")}
    dataset, examples = take(tmp_path, source=sources)
    assert [examples.files[split].num_rows for split in ("train", "eval", "test")] == [31, 32, 33]
    assert sorted(map(repr, examples.table("test").column("age").to_pylist())) == sorted(
        repr(row["age"]) for row in people(33, seed=3)
    )
    assert dataset.split_rule.startswith("kept")
    assert dataset.source == "train: train/*, eval: eval/*, test: test/*"
    with pytest.raises(DataError, match="units have rows in several splits"):
        take(tmp_path, "units", source=sources, exclude=[], privacy_unit={"column": "id"})


def test_an_absolute_path_is_not_recorded(folder):
    assert take(folder, source=str(folder / "data.csv"))[0].source == "data.csv"


def test_groups_declared_or_missing_are_kept(tmp_path):
    rows = people()
    for row in rows[:5]:
        row["sex"] = None
    write_csv(tmp_path / "data.csv", rows)
    (attribute,) = take(tmp_path, sensitive=[{"column": "sex", "groups": ["X", "F"]}])[0].sensitive
    assert attribute.groups == ("F", "M", "X", MISSING_GROUP)


@pytest.mark.parametrize(
    ("values", "positive", "text"),
    [
        (["1", "0"], 1, "1"),
        (["1", "0"], True, "1"),
        (["1.0", "0.0"], "1", "1"),
        (["True", "False"], True, "True"),
        (["false", "true"], True, "true"),
        (["a", "b"], "b", "b"),
    ],
)
def test_positive_label_values(tmp_path, values, positive, text):
    write_csv(tmp_path / "data.csv", [{**row, "y": values[i % 2]} for i, row in enumerate(people())])
    dataset, examples = take(tmp_path, label={"column": "y", "positive": positive})
    assert dataset.positive == text
    labels = pa.concat_tables([examples.table(split) for split in examples.files]).column("y")
    assert pc.sum(pc.equal(labels.cast(pa.string()), text)).as_py() == 60


WRONG_CONFIG = {
    "label absent": ({"label": {"column": "yy"}}, "did you mean 'y'"),
    "sensitive absent": ({"sensitive": ["sx"]}, "did you mean 'sex'"),
    "excluded absent": ({"exclude": ["ids"]}, "did you mean 'id'"),
    "unit absent": ({"privacy_unit": {"column": "idd"}}, "did you mean 'id'"),
    "bins on text": ({"sensitive": [{"column": "sex", "bins": [3]}]}, "bins on a column of text"),
    "many numbers": ({"sensitive": ["age"]}, "different numbers, each of them a group"),
    "infinite bin": ({"sensitive": [{"column": "age", "bins": [3, float("inf")]}]}, "infinite bin edge"),
    "group beside bins": ({"sensitive": [{"column": "age", "bins": [3], "groups": ["old"]}]}, "which is no bin"),
}


@pytest.mark.parametrize("case", WRONG_CONFIG)
def test_a_config_that_the_data_cannot_meet(folder, case):
    changes, seen = WRONG_CONFIG[case]
    with pytest.raises(ConfigError, match=seen) as raised:
        take(folder, **changes)
    assert raised.value.exit_code == 2


def changed(**columns):
    """Rows in which some columns hold other cells, repeated as needed."""
    return [{**row, **{k: v[i % len(v)] for k, v in columns.items()}} for i, row in enumerate(people())]


WRONG_DATA = {
    "one row": (people(1), {}, "1 row in all"),
    "two rows": (people(2), {}, "2 rows in all"),
    "few rows": ([{**row, "y": "yes"} for row in people(3)] + [{**row, "y": "no"} for row in people(1)], {}, "split "),
    "constant label": (changed(y=["yes"]), {}, "one value only"),
    "positive never": (changed(y=["no", HIDDEN]), {}, "occurs in none of 120 rows"),
    "label missing": (changed(y=["yes", "no", None]), {}, "label column y: 40 of 120 values are missing"),
    "label empty": (changed(y=[None]), {}, "label column y: 120 of 120 values are missing"),
    "label fractions": (changed(y=["0.5", "1"]), {}, "numbers with a fraction"),
    "feature empty": (changed(job=[None]), {}, "column job: all 120 values are missing"),
    "sensitive empty": (changed(sex=[None]), {}, "sensitive column sex: all 120 values are missing"),
    "mixed types": (changed(age=["31", "47", HIDDEN]), {}, "column age: 80 of 120 values are numbers and 40 are not"),
    "too large": (changed(wage=["1e300", "0.5"]), {}, "column wage: 60 of 120 values"),
    "unit missing": (changed(id=["a", None]), {"exclude": [], "privacy_unit": {"column": "id"}}, "60 of 120 values"),
    "no feature": (people(), {"exclude": ["id", "age", "wage", "job", "code"]}, "none of them a feature"),
}


@pytest.mark.parametrize("case", WRONG_DATA)
def test_data_that_cannot_be_used_is_counted_and_not_quoted(tmp_path, case):
    rows, changes, seen = WRONG_DATA[case]
    write_csv(tmp_path / "data.csv", rows)
    with pytest.raises(DataError, match=seen) as raised:
        take(tmp_path, **changes)
    message = str(raised.value)
    assert not any(value in message for value in (HIDDEN, "clerk", "02134", "Bäcker", "12.75"))
    assert raised.value.exit_code == 2


def test_too_many_text_groups_are_refused(tmp_path):
    write_csv(tmp_path / "data.csv", [{**row, "sex": f"{HIDDEN}{i}"} for i, row in enumerate(people(300))])
    with pytest.raises(ConfigError, match="300 different texts") as raised:
        take(tmp_path)
    assert HIDDEN not in str(raised.value)


def test_mixed_types_pass_when_excluded_or_declared_as_text(tmp_path):
    write_csv(tmp_path / "data.csv", changed(age=["31", "47", "unknown"]))
    assert take(tmp_path, exclude=["id", "age"])[0].excluded == ("id", "age")
    out = tmp_path / "text"
    out.mkdir()
    dataset, _ = ingest(config(), name="p", root=tmp_path, out=out, text_columns=frozenset({"age"}))
    assert str(dataset.column("age").kind) == "string"


@pytest.mark.parametrize("name", ["", "__index_level_0__"])
def test_row_numbers_are_no_feature(tmp_path, name):
    rows = [{**row, name: i} for i, row in enumerate(people())]
    write_csv(tmp_path / "data.csv", rows, columns=(name, *COLUMNS))
    with pytest.raises(DataError, match="write the file without row numbers"):
        take(tmp_path)
    assert take(tmp_path, "less", exclude=["id", name])[0].num_rows == 120
