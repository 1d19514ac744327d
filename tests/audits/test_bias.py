"""Who is missing from the data: shares against a reference, base rates and gaps of values between groups."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest, chisquare

from probity.audit_plan import AuditsConfig
from probity.audits.bias import label_balance, missingness, references, representation
from probity.data import MISSING_GROUP, SensitiveAttribute


def evidence(labels=(), **more):
    values = {"settings": AuditsConfig(min_group_size=10), "joint_statements": 1, "seed": 1}
    return SimpleNamespace(**{**values, "scored": SimpleNamespace(labels=np.asarray(labels, bool)), **more})


def attribute(reference=None, groups=("a", "b", "c"), **more):
    return SensitiveAttribute(name="g", column="g", groups=groups, reference=reference, **more)


def dataset(*attributes, features=()):
    return SimpleNamespace(sensitive=attributes, features=[SimpleNamespace(name=name) for name in features])


def codes(*counts):
    return {"g": np.repeat(np.arange(len(counts)), counts).astype(np.int32)}


def found(findings):
    return {finding.id: finding for finding in findings}


def test_without_a_reference_nothing_is_compared_and_it_is_said():
    data = dataset(attribute())
    assert list(representation(data, codes(5, 5, 5), evidence=evidence())) == []
    assert "not assessed" in references(data)[0]
    assert "the census" in references(dataset(attribute({"a": 0.5}, reference_source="the census")))[0]


def test_ratio_is_share_over_reference_with_the_exact_interval():
    data = dataset(attribute({"a": 0.5, "b": 0.3, "c": 0.2}))
    report = found(representation(data, codes(30, 50, 20), evidence=evidence(joint_statements=4)))
    finding = report["data/representation_ratio/g=a"]
    exact = binomtest(30, 100).proportion_ci(0.95, method="exact")
    joint = binomtest(30, 100).proportion_ci(1 - 0.05 / 4, method="exact")
    assert finding.estimate.value == pytest.approx(0.6)
    assert (finding.estimate.lower, finding.estimate.upper) == pytest.approx((exact.low / 0.5, exact.high / 0.5))
    assert (finding.joint.lower, finding.joint.upper) == pytest.approx((joint.low / 0.5, joint.high / 0.5))
    assert report["data/representation_p_value/g"].estimate.value == pytest.approx(
        chisquare([30, 50, 20], [50, 30, 20]).pvalue
    )


def test_groups_that_the_reference_leaves_out_share_what_is_left():
    report = found(representation(dataset(attribute({"a": 0.5})), codes(40, 30, 30), evidence=evidence()))
    assert set(report) == {"data/representation_ratio/g=a", "data/representation_p_value/g"}
    assert report["data/representation_p_value/g"].estimate.value == pytest.approx(chisquare([40, 60]).pvalue)


def test_missing_values_do_not_look_like_absent_people():
    with_gaps = dataset(attribute({"a": 0.5, "b": 0.5}, groups=("a", "b", MISSING_GROUP)))
    report = found(representation(with_gaps, codes(30, 30, 40), evidence=evidence()))
    assert report["data/representation_ratio/g=a"].estimate.value == pytest.approx(1.0)
    assert report["data/representation_ratio/g=a"].estimate.n == 60


def test_an_absent_group_has_the_ratio_zero_and_no_rows_at_all_are_insufficient():
    data = dataset(attribute({"a": 0.5, "b": 0.5}, groups=("a", "b", MISSING_GROUP)))
    absent = found(representation(data, codes(60, 0, 0), evidence=evidence()))["data/representation_ratio/g=b"]
    assert (absent.estimate.value, absent.estimate.lower, absent.evidence) == (0.0, 0.0, "sufficient")
    unknown = found(representation(data, codes(0, 0, 9), evidence=evidence()))
    assert {finding.evidence for finding in unknown.values()} == {"insufficient"}


@pytest.mark.parametrize(
    ("reference", "counts", "words"),
    [
        ({"a": 1.0}, (10, 0, 0), "all the people"),
        ({"a": 0.6, "b": 0.4}, (50, 30, 20), "leaves nothing"),
        ({"a": 0.99, "b": 0.01}, (100, 1, 0), "fewer than five"),
    ],
)
def test_where_the_test_does_not_apply_it_says_why(reference, counts, words):
    report = found(representation(dataset(attribute(reference)), codes(*counts), evidence=evidence()))
    finding = report["data/representation_p_value/g"]
    assert (finding.estimate.value, finding.evidence) == (None, "insufficient")
    assert words in finding.reason


def test_label_balance_is_the_gap_of_base_rates():
    labels = [True] * 10 + [False] * 30 + [True] * 30 + [False] * 30
    data = dataset(attribute(groups=("a", "b")))
    report = found(label_balance(data, codes(40, 60), evidence=evidence(labels)))
    assert report["data/positive_label_rate/gap/g"].estimate.value == pytest.approx(0.25)
    assert report["data/positive_label_rate/ratio/g"].estimate.value == pytest.approx(0.5)


def test_missingness_is_compared_for_columns_with_gaps_only():
    table = pa.table(
        {
            "hours": pa.array([None] * 10 + [1.0] * 30 + [None] * 3 + [1.0] * 57),
            "full": pa.array([1.0] * 100),
            "g": pa.array([None] * 100, pa.string()),
        }
    )
    data = dataset(attribute(groups=("a", "b")), features=("hours", "full", "g"))
    report = found(missingness(data, codes(40, 60), table, evidence=evidence()))
    assert set(report) == {"data/missing_rate/hours/gap/g"}
    assert report["data/missing_rate/hours/gap/g"].estimate.value == pytest.approx(10 / 40 - 3 / 60)
    assert report["data/missing_rate/hours/gap/g"].feature == "hours"


def test_a_small_group_is_named_and_left_out():
    labels = [True] * 20 + [False] * 20 + [True] * 5
    data = dataset(attribute(groups=("a", "b", "c")))
    report = found(label_balance(data, codes(20, 20, 5), evidence=evidence(labels)))
    finding = report["data/positive_label_rate/gap/g"]
    assert finding.evidence == "insufficient"
    assert "g=c (fewer than 10 rows)" in finding.reason
