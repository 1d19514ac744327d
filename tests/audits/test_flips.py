"""Flips of models whose answer is known."""

import numpy as np
import pyarrow as pa
import pytest

from probity.audits.flips import attribute_flips, proxies_of, proxy_flips
from probity.data import Column, ColumnKind, Role, SensitiveAttribute

SEX = SensitiveAttribute(name="sex", column="sex", groups=("F", "M"), also_feature=True)


def column(name, kind=ColumnKind.TEXT):
    return Column(name=name, kind=kind, roles=(Role.FEATURE,))


def rows(n=400, seed=3):
    """A proxy that follows sex in 90 % of rows, a number that has nothing to do with it."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, n).astype(np.int32)
    follows = rng.random(n) < 0.9
    sex = np.array(["F", "M"])[codes]
    proxy = np.where(follows, np.array(["x", "y"])[codes], np.array(["y", "x"])[codes])
    return pa.table({"sex": sex, "proxy": proxy, "work": pa.array(rng.normal(size=n), pa.float32())}), codes


FEATURES = (column("sex"), column("proxy"), column("work", ColumnKind.FLOAT))


def by_sex(table):
    return np.array(table.column("sex").to_pylist()) == "M"


def by_work(table):
    return table.column("work").to_numpy() > 0


def by_proxy(table):
    return np.array(table.column("proxy").to_pylist()) == "y"


@pytest.mark.parametrize(("decide", "share"), [(by_sex, 1.0), (by_work, 0.0), (by_proxy, 0.0)])
def test_only_a_model_that_looks_at_the_attribute_flips_with_it(decide, share):
    table, codes = rows()
    assert attribute_flips(table, SEX, codes, decide=decide).mean() == share


def test_a_binned_number_takes_the_middle_value_of_each_group():
    table = pa.table({"age": pa.array([20, 30, 35, 60, 70, 90, None], pa.int64())})
    codes = np.array([0, 0, 0, 1, 1, 1, 2], np.int32)
    attribute = SensitiveAttribute(name="band", column="age", bins=(40,), groups=("<40", ">=40", "(missing)"))
    asked = []

    def decide(changed):
        asked.append(changed.column("age").to_pylist()[0])
        return np.array([(value or 0) >= 65 for value in changed.column("age").to_pylist()])

    flipped = attribute_flips(table, attribute, codes, decide=decide)
    assert asked == [20, 30, 70, None]
    assert flipped.tolist() == [True, True, True, False, True, True, True]


def test_the_proxy_is_found_and_the_column_itself_is_none():
    table, codes = rows()
    assert [entry.name for entry in proxies_of(table, SEX, codes, FEATURES, seed=1)] == ["proxy"]
    alone = np.zeros(len(codes), np.int32)
    assert proxies_of(table, SEX, alone, FEATURES, seed=1) == ()


def test_borrowed_proxies_flip_a_model_that_acts_on_them_and_no_other():
    table, codes = rows()
    proxies, features = (FEATURES[1],), FEATURES[1:]
    acting = proxy_flips(table, codes, features, proxies=proxies, decide=by_proxy)
    assert acting.other.mean() > 0.7
    assert acting.same.mean() < 0.3
    blind = proxy_flips(table, codes, features, proxies=proxies, decide=by_work)
    assert not blind.other.any()
    assert not blind.same.any()


def test_nobody_to_borrow_from():
    table, codes = rows()
    nothing = proxy_flips(table, np.zeros_like(codes), FEATURES, proxies=(FEATURES[1],), decide=by_proxy)
    assert len(nothing.rows) == len(nothing.other) == len(nothing.same) == 0
