"""What the tracker is told: legal keys, no small groups, no infinities among the numbers."""

from __future__ import annotations

import math
import posixpath
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probity.config_file import parse_config
from probity.findings import AuditReport, Estimate, Finding, Subject
from probity.platform.tracking_values import infinities_of, metric_key, metrics_of, params_of

DIGEST = "sha256:" + "a" * 64


def finding(number=0, *, metric="true_positive_rate", value=0.5, n=500, **changes):
    fields = {
        "id": f"performance/{number}",
        "metric": metric,
        "estimate": Estimate(value=value, method="exact", n=n),
        "direction": "neither",
    }
    return Finding(**{**fields, **changes})


def reports(*findings, status="complete"):
    subject = Subject(model=DIGEST, examples=DIGEST)
    reasons = () if status == "complete" else ("no",)
    made = AuditReport(audit="performance", status=status, subject=subject, findings=findings, reasons=reasons)
    return {"performance": made}


def legal(key):
    """MLflow's own rules, restated: allowed characters, one path, bounded length."""
    return (
        re.fullmatch(r"[/\w.\- :]+", key)
        and posixpath.normpath(key) == key
        and not key.startswith(("/", ".."))
        and key != "."
        and len(key) <= 250
    )


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"slice": {"sex": "Female"}, "threshold": 0.5}, "performance/true_positive_rate/sex:Female/at 0.5"),
        ({"metric": "auc"}, "performance/auc/overall"),
        ({"label_class": "good"}, "performance/true_positive_rate/class:good/overall"),
        (
            {"metric": "confusion_rate", "label_class": "a/b", "predicted_class": ".."},
            "performance/confusion_rate/class:a_u2f_b/predicted:../overall",
        ),
        ({"metric": "auc", "slice": {"age_band": "<25"}}, "performance/auc/age_band:under 25"),
        ({"metric": "auc", "slice": {"age_band": ">=60"}}, "performance/auc/age_band:from 60"),
        ({"metric": "auc", "slice": {"age_band": "25-40"}}, "performance/auc/age_band:25-40"),
        ({"metric": "auc", "slice": {"sex": "F", "race": "W"}}, "performance/auc/sex:F race:W"),
        (
            {"metric": "selection_rate", "across": ("sex", "race"), "comparison": "ratio", "threshold": 0.5},
            "performance/selection_rate/ratio/sex x race/at 0.5",
        ),
        ({"metric": "missing_rate", "feature": "a/../b"}, "performance/missing_rate/a_u2f_.._u2f_b/overall"),
        ({"metric": "missing_rate", "feature": ".."}, "performance/missing_rate/_u2e__u2e_/overall"),
        ({"metric": "auc", "slice": {"sex": "(missing)"}}, "performance/auc/sex:_u28_missing_u29_"),
    ],
)
def test_keys_follow_the_finding(changes, key):
    assert metric_key(finding(**changes)) == key
    assert legal(key)


@settings(max_examples=200, deadline=None)
@given(
    group=st.text(min_size=1, max_size=300),
    attribute=st.text(min_size=1, max_size=10),
    feature=st.one_of(st.none(), st.text(max_size=10), st.sampled_from(["..", ".", "/", "a/", "//"])),
)
def test_any_name_makes_a_legal_key(group, attribute, feature):
    from mlflow.utils.validation import _validate_metric_name

    key = metric_key(finding(metric="auc", slice={attribute: group}, feature=feature))
    _validate_metric_name(key)
    assert legal(key)


def test_findings_that_look_alike_keep_their_own_key():
    alike = [finding(1, metric="auc", slice={"g": "<5"}, value=0.1), finding(2, metric="auc", slice={"g": "under 5"})]
    assert sorted(metrics_of(reports(*alike), min_group_size=100).values()) == [0.1, 0.5]


def test_nothing_of_a_small_group_is_told():
    small, large, other = {"sex": "Other"}, {"sex": "Female"}, {"sex": "Male"}
    told = metrics_of(
        reports(
            finding(1, metric="example_count", value=99, n=99, slice=small),
            finding(2, metric="example_count", value=400, n=400, slice=large),
            finding(3, metric="example_count", value=400, n=400, slice=other),
            finding(4, value=0.9, n=99, slice=small),
            finding(5, metric="accuracy", value=0.8, n=99, slice=small),
            finding(6, value=0.7, n=9, slice=large),  # next to no positives in a large group
            finding(7, metric="accuracy", value=0.6, n=400, slice=large),
            finding(8, metric="accuracy", value=0.5, n=899),
        ),
        min_group_size=100,
    )
    # The total and the other sizes would give the small group's size away, so no size of this table is told either.
    assert set(told.values()) == {0.6, 0.5}


def test_what_is_insufficient_missing_or_failed_is_not_told():
    weak = finding(1, evidence="insufficient", reason="too small")
    gone = finding(2, value=None, evidence="insufficient", reason="undefined")
    assert metrics_of(reports(weak, gone), min_group_size=2) == {}
    assert metrics_of(reports(finding(), status="failed"), min_group_size=2) == {}
    assert metrics_of({"performance": None}, min_group_size=2) == {}
    assert metrics_of({}, min_group_size=2) == {}


def test_infinities_are_words_and_never_numbers():
    found = reports(finding(1, metric="epsilon", value=math.inf), finding(2, metric="auc", value=0.9))
    assert metrics_of(found, min_group_size=2) == {"performance/auc/overall": 0.9}
    assert infinities_of(found, min_group_size=2) == {"performance/epsilon/overall": "Infinity"}
    down = reports(finding(1, metric="epsilon", value=-math.inf))
    assert infinities_of(down, min_group_size=2) == {"performance/epsilon/overall": "-Infinity"}


def test_parameters_are_flat_texts_without_the_label_value():
    config = parse_config(
        {
            "name": "a",
            "data": {"source": "a.csv", "label": {"column": "y", "positive": "hidden"}, "sensitive": ["sex"]},
            "model": {"kind": "mlp", "hidden": [8, 4]},
            "trainer": {"name": "plain", "epochs": 3},
            "serving": {"model_name": "a"},
        }
    )
    params = params_of(config)
    assert params["trainer.name"] == "plain"
    assert params["trainer.epochs"] == "3"
    assert params["model.hidden"] == "[8, 4]"
    assert params["data.split.train"] == "6"
    assert params["data.privacy_unit"] == "row"
    assert "hidden" not in str(list(params.values()))
    assert all(isinstance(value, str) and legal(key) for key, value in params.items())
    long = parse_config({**config.to_json(), "trainer": {"name": "plain", "note": "x" * 10_000}})
    assert len(params_of(long)["trainer.note"]) == 6000
