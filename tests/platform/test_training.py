"""What precedes training: units, groups, population, and a proposal that needs no noise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from probity.data import Column, ColumnKind, Examples, Role, SplitFile
from probity.digest import digest_file
from probity.errors import DataError
from probity.groups import group_codes
from probity.model import NonPrivate
from probity.platform.training import groups_of, is_private, population_of, settle, units_of
from probity.tfexample import write_table
from probity.trainers.base import Uncalibrated
from tests.platform.conftest import make_dataset

COLUMNS = (
    Column(name="person", kind=ColumnKind.TEXT, roles=(Role.PRIVACY_UNIT,)),
    Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE,)),
    Column(name="y", kind=ColumnKind.INT, roles=(Role.LABEL,)),
)


@pytest.fixture
def made(tmp_path):
    def make(people):
        rows = len(people)
        table = pa.table({"person": people, "age": [30] * rows, "y": [0, 1] * (rows // 2) + [0] * (rows % 2)})
        path = tmp_path / "train.tfrecord.gz"
        write_table(path, table)
        split = SplitFile(path=path.name, digest=digest_file(path), num_rows=rows)
        dataset = make_dataset("people").model_copy(update={"privacy_unit": "person", "columns": COLUMNS})
        return dataset, Examples(folder=tmp_path, files={"train": split}, columns=COLUMNS)

    return make


def test_rows_of_one_person_are_one_unit(made):
    dataset, examples = made(["b", "a", "b", "c", "a", "b"])
    units = units_of(dataset, examples)
    assert units.dtype == np.int64
    assert (units == units[0]).tolist() == [True, False, True, False, False, True]
    assert sorted(set(units.tolist())) == [0, 1, 2]
    population = population_of(dataset, examples, units)
    assert (population.num_rows, population.num_units, population.unit) == (6, 3, "person")


def test_a_row_without_a_unit_is_refused_by_column_and_count(made):
    with pytest.raises(DataError, match=r"person: missing in 2 training rows"):
        units_of(*made(["b", None, "b", None]))


def test_where_rows_are_units_nothing_is_read(made):
    dataset, examples = made(["a", "b"])
    examples.path("train").unlink()
    assert units_of(dataset.model_copy(update={"privacy_unit": "row"}), examples) is None


def test_groups_are_those_that_were_asked_for_and_planted_rows_have_none(small):
    groups = groups_of(small.dataset, small.examples, ("sex", "age_band"), planted=3)
    declared = {attribute.name: attribute for attribute in small.dataset.sensitive}
    table = small.examples.table("train")
    assert len(groups.codes["train"]) == table.num_rows + 3
    assert groups.codes["train"][-3:].tolist() == [-1, -1, -1]
    assert len(groups.codes["eval"]) == small.examples.files["eval"].num_rows
    for i in range(table.num_rows):
        by_hand = tuple(
            declared[name].groups[group_codes(declared[name], table.column(declared[name].column).slice(i, 1))[0]]
            for name in ("sex", "age_band")
        )
        assert groups.names[groups.codes["train"][i]] == by_hand
    assert groups_of(small.dataset, small.examples, ()) is None


def test_a_proposal_without_noise_is_executed_as_it_is():
    assert settle(NonPrivate(), delta=1e-5) == NonPrivate()
    assert not is_private(NonPrivate())
    assert is_private(Uncalibrated(target_epsilon=1, target_delta=None, with_noise_multiplier=lambda noise: noise))
