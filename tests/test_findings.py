"""Estimates, findings and reports refuse what would mislead the gate."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from probity.digest import digest_bytes
from probity.findings import AuditReport, Estimate, Finding, JointInterval, Subject, finding_id, slice_name
from probity.metric import Direction

SUBJECT = Subject(model=digest_bytes(b"model"), examples=digest_bytes(b"rows"))


def estimate(value=0.5, **more):
    return Estimate(value=value, method="wilson", n=10, **more)


def finding(identity="performance/accuracy/overall@0.5", **more):
    settings = {"metric": "accuracy", "estimate": estimate(), "direction": Direction.HIGHER_IS_BETTER, **more}
    return Finding(id=identity, **settings)


@pytest.mark.parametrize(
    ("value", "lower", "upper"),
    [(0.5, 0.4, None), (0.5, None, 0.6), (None, 0.4, 0.6), (0.7, 0.4, 0.6), (0.3, 0.4, 0.6), (0.5, 0.6, 0.4)],
)
def test_an_interval_has_both_ends_and_holds_the_value(value, lower, upper):
    with pytest.raises(ValidationError):
        estimate(value, lower=lower, upper=upper)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_an_estimate_accepts_exactly_ordered_triples(one, two, three):
    lower, value, upper = sorted((one, two, three))
    assert estimate(value, lower=lower, upper=upper).value == value


def test_infinite_values_may_have_infinite_intervals():
    assert estimate(math.inf, lower=math.inf, upper=math.inf).lower == math.inf
    assert estimate(math.inf, lower=1.0, upper=math.inf).upper == math.inf
    with pytest.raises(ValidationError):
        estimate(math.inf, lower=1.0, upper=2.0)


def test_rounding_may_put_a_value_just_outside_its_interval():
    # Wilson's interval at 10 of 10 computes an upper end of 1 - 2e-16.
    assert estimate(1.0, lower=0.7, upper=1.0 - 2e-16)


@pytest.mark.parametrize(("value", "lower", "upper"), [(0.5, 0.6, 0.7), (0.5, 0.1, 0.4), (None, 0.1, 0.4)])
def test_a_joint_interval_holds_the_value_too(value, lower, upper):
    joint = JointInterval(lower=lower, upper=upper, statements=2)
    with pytest.raises(ValidationError):
        finding(estimate=estimate(value), joint=joint, evidence="insufficient", reason="none")
    assert finding(joint=JointInterval(lower=0.5, upper=0.6, statements=2)).joint.statements == 2


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_confidence_level_is_a_probability(confidence):
    with pytest.raises(ValidationError):
        estimate(confidence=confidence)


def test_nan_is_no_estimate():
    with pytest.raises(ValidationError):
        estimate(math.nan)


def test_a_negative_n_is_refused():
    with pytest.raises(ValidationError):
        Estimate(value=1.0, method="exact", n=-1)


def test_no_value_means_insufficient_evidence_with_a_reason():
    nothing = estimate(None)
    with pytest.raises(ValidationError, match="insufficient"):
        finding(estimate=nothing)
    with pytest.raises(ValidationError, match="reason"):
        finding(estimate=nothing, evidence="insufficient")
    assert finding(estimate=nothing, evidence="insufficient", reason="no positive labels").estimate.value is None


@pytest.mark.parametrize("reason", [None, ""])
def test_insufficient_evidence_needs_a_reason_even_with_a_value(reason):
    with pytest.raises(ValidationError, match="reason"):
        finding(evidence="insufficient", reason=reason)


def test_a_metric_outside_the_vocabulary_is_refused():
    with pytest.raises(ValidationError, match="vocabulary"):
        finding(metric="acuracy")


def report(**more):
    return AuditReport(**{"audit": "performance", "status": "complete", "subject": SUBJECT, **more})


def test_an_empty_report_is_legal_and_finds_nothing():
    assert report().find("performance/accuracy/overall@0.5") is None


@pytest.mark.parametrize("status", ["failed", "not_applicable"])
def test_what_did_not_complete_says_why(status):
    with pytest.raises(ValidationError, match="reason"):
        report(status=status)
    assert report(status=status, reasons=("no test rows",)).status == status


def test_ids_are_unique_and_begin_with_the_audit():
    with pytest.raises(ValidationError, match="share an id"):
        report(findings=(finding(), finding()))
    with pytest.raises(ValidationError, match="starts with"):
        report(findings=(finding("fairness/accuracy/overall@0.5"),))
    with pytest.raises(ValidationError, match="starts with"):
        report(findings=(finding("performance2/accuracy/overall@0.5"),))


def test_a_report_finds_by_id():
    assert report(findings=(finding(),)).find(finding().id) == finding()


def test_the_json_form_of_a_report_is_the_documented_one():
    female = finding(
        "performance/true_positive_rate/sex=Female@0.5",
        metric="true_positive_rate",
        slice={"sex": "Female"},
        threshold=0.5,
        estimate=Estimate(value=0.61, lower=0.57, upper=0.65, confidence=0.95, method="wilson", n=412),
    )
    value = json.loads(json.dumps(report(findings=(female,)).to_json(), allow_nan=False))
    assert value["schema_version"] == 1
    assert value["subject"] == {"model": SUBJECT.model, "examples": SUBJECT.examples}
    documented = {
        "id": "performance/true_positive_rate/sex=Female@0.5", "metric": "true_positive_rate",
        "slice": {"sex": "Female"}, "threshold": 0.5,
        "estimate": {"value": 0.61, "lower": 0.57, "upper": 0.65, "confidence": 0.95, "method": "wilson", "n": 412},
        "direction": "higher_is_better", "neutral": None,
    }  # fmt: skip
    assert documented.items() <= value["findings"][0].items()
    assert AuditReport.from_json(value).findings == (female,)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("performance", "auc", {}), "performance/auc/overall"),
        (("performance", "true_positive_rate", {"slice_": {"sex": "Female"}, "threshold": 0.5}),
         "performance/true_positive_rate/sex=Female@0.5"),
        (("fairness", "selection_rate", {"across": ("sex", "race"), "comparison": "ratio", "threshold": 0.5}),
         "fairness/selection_rate/ratio/sex*race@0.5"),
        (("baseline", "auc", {"comparison": "change"}), "baseline/auc/change/overall"),
        (("data", "missing_rate", {"feature": "occupation", "slice_": {"sex": "Female"}}),
         "data/missing_rate/occupation/sex=Female"),
        (("performance", "accuracy", {"threshold": 0.0}), "performance/accuracy/overall@0"),
    ],
)  # fmt: skip
def test_finding_ids(arguments, expected):
    audit, metric, more = arguments
    assert finding_id(audit, metric, **more) == expected


def test_slice_names_keep_the_order_given():
    assert slice_name({"sex": "Female", "race": "White"}) == "sex=Female,race=White"
    assert slice_name({}) == "overall"
