"""The decision rule in the graph: the group that the audits see, the decision that the group's threshold makes."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.data import MISSING_GROUP, Column, ColumnKind, Dataset, Role, SensitiveAttribute
from probity.digest import digest_bytes
from probity.groups import group_codes, group_names
from probity.trainers.mitigation.group_rule import GroupRule, common_threshold, make_rule, moved

SEX = SensitiveAttribute(name="sex", column="sex", groups=("Female", "Male", MISSING_GROUP))
CODE = SensitiveAttribute(name="code", column="code", groups=("1", "7", "unheard", MISSING_GROUP))
SHARE = SensitiveAttribute(name="share", column="share", groups=("0.1", "2"))
AGE_BINS, PAY_BINS = (25.0, 40.0), (0.1, 7.7)
AGE = SensitiveAttribute(name="age_band", column="age", bins=AGE_BINS, groups=(*group_names(AGE_BINS), MISSING_GROUP))
PAY = SensitiveAttribute(name="pay_band", column="pay", bins=PAY_BINS, groups=group_names(PAY_BINS))
KINDS = {
    "sex": ColumnKind.TEXT,
    "code": ColumnKind.INT,
    "share": ColumnKind.FLOAT,
    "age": ColumnKind.INT,
    "pay": ColumnKind.FLOAT,
}
DATASET = Dataset(
    name="x",
    source="x",
    source_format="csv",
    source_digest=digest_bytes(b"x"),
    content_digest=digest_bytes(b"x"),
    num_rows=1,
    columns=(
        Column(name="y", kind=ColumnKind.INT, roles=(Role.LABEL,)),
        *(Column(name=name, kind=kind, roles=(Role.SENSITIVE,)) for name, kind in KINDS.items()),
    ),
    label="y",
    positive="1",
    sensitive=(SEX, CODE, SHARE, AGE, PAY),
    split_rule="drawn",
)
TYPES = {ColumnKind.TEXT: tf.string, ColumnKind.INT: tf.int64, ColumnKind.FLOAT: tf.float32}


def sparse(values, kind):
    """A column as both signatures give it: missing values are not there."""
    rows = [i for i, value in enumerate(values) if value is not None]
    present = tf.constant([values[i] for i in rows], TYPES[kind])
    return tf.sparse.SparseTensor(np.array([[i, 0] for i in rows], np.int64).reshape(-1, 2), present, [len(values), 1])


def codes_in_graph(across, columns):
    rule = make_rule(DATASET, across, (), decision_threshold=0.5)
    raw = {name: sparse(values, KINDS[name]) for name, values in columns.items()}
    return tf.function(rule._codes)(raw).numpy()


@pytest.mark.parametrize(
    ("attribute", "values", "kind"),
    [
        (SEX, ["Male", "Female", "Male"], pa.string()),
        (CODE, [7, 1, 1], pa.int64()),
        (SHARE, [0.1, 2.0, 0.1], pa.float32()),
        (AGE, [24, 25, 39, 40, -3, 10**12], pa.int64()),
        # 7.7 and 0.1 are no floats: values at an edge stay on the side where probity.groups puts them.
        (PAY, [0.1, 7.7, np.nextafter(np.float32(7.7), np.float32(0)), -1.0, 1e30], pa.float32()),
    ],
    ids=lambda value: value.name if isinstance(value, SensitiveAttribute) else "",
)
def test_known_values_have_the_group_that_the_audits_see(attribute, values, kind):
    expected = group_codes(attribute, pa.array(values, kind))
    np.testing.assert_array_equal(codes_in_graph((attribute.name,), {attribute.column: values}), expected)


def test_missing_unknown_and_empty_values_have_no_group():
    assert codes_in_graph(("sex",), {"sex": [None, "", "Nobody", MISSING_GROUP, "male"]}).tolist() == [-1] * 5
    assert codes_in_graph(("code",), {"code": [None, 3]}).tolist() == [-1] * 2
    assert codes_in_graph(("age_band",), {"age": [None, None]}).tolist() == [-1] * 2
    assert codes_in_graph(("pay_band",), {"pay": [None, float("nan")]}).tolist() == [-1] * 2
    assert codes_in_graph(("sex",), {"sex": []}).tolist() == []


def test_an_intersection_numbers_its_groups_in_the_order_of_the_product():
    columns = {"sex": ["Female", "Male", "Male", None], "age": [30, 20, 50, 20]}
    assert codes_in_graph(("sex", "age_band"), columns).tolist() == [1, 4, 6, -1]


floats = st.floats(0.0, 1.0, width=32, allow_subnormal=False)
"""TensorFlow takes subnormal floats for 0."""


@given(st.lists(floats, min_size=1, max_size=20), floats, st.sampled_from([0.0, 0.1, 0.5, 0.9]))
@settings(max_examples=150, deadline=None)
def test_decisions_at_the_common_threshold_are_those_at_the_groups_own(scores, threshold, decision_threshold):
    given_scores = np.sort(np.array(scores, np.float32))[:, None]
    own = np.full_like(given_scores, threshold)
    found = moved(tf.constant(given_scores), tf.constant(own), common=common_threshold(decision_threshold)).numpy()
    np.testing.assert_array_equal(found.astype(np.float64) > decision_threshold, given_scores > own)
    assert (np.diff(found[:, 0]) >= 0).all()
    assert found.min() >= 0.0
    assert found.max() <= 1.0


def test_ends_and_thresholds_stay_where_they_should():
    found = moved(tf.constant([0.0, 0.2, 0.6, 1.0]), tf.constant([0.2] * 4), common=0.5).numpy()
    np.testing.assert_allclose(found, [0.0, 0.5, 0.75, 1.0], atol=1e-7)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25, 0.5, 0.7, 1 / 3])
def test_the_common_threshold_decides_floats_as_the_number_itself_does(threshold):
    common = common_threshold(threshold)
    near = np.float32(threshold) + np.spacing(np.float32(threshold)) * np.arange(-3, 4, dtype=np.float32)
    np.testing.assert_array_equal(near > np.float32(common), near.astype(np.float64) > threshold)


def test_rows_without_a_threshold_of_their_own_keep_their_score_bit_by_bit():
    common = common_threshold(0.1)
    rule = GroupRule(
        attributes=(SEX,), columns=(DATASET.column("sex"),), thresholds=(0.4, common, 0.9), decision_threshold=common
    )
    scores = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    words = ["Male", None, "Nobody", "", "Female", "Male", "Male", "Male"]
    found = rule.apply(tf.constant(scores), {"sex": sparse(words, ColumnKind.TEXT)}).numpy()
    untouched = np.array([word != "Female" for word in words])
    np.testing.assert_array_equal(found[untouched], scores[untouched])
    assert found[4] != scores[4]
