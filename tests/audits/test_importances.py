"""Findings by column and group: signs, differences that add up, intervals against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probity.audit_plan import AuditsConfig
from probity.audits.explained import explain
from probity.audits.importances import _difference, _mean, importances
from probity.audits.testing import make_evidence


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(
        tmp_path_factory.mktemp("evidence"), settings=AuditsConfig(min_group_size=20, background_rows=40)
    )


@pytest.fixture(scope="module")
def explained(evidence):
    return explain(evidence)


@pytest.fixture(scope="module")
def found(explained, evidence):
    return {
        finding.id.removeprefix("explanations/"): finding for finding in importances(explained, evidence, withheld=None)
    }


def test_differences_add_up_to_the_difference_of_the_mean_outputs(found, explained, evidence):
    """So they say through which columns a group's output is lower: nothing is left over."""
    for attribute, group in (("sex", "Female"), ("race", "A"), ("age_band", "<30")):
        members = evidence.scored.groups[attribute] == evidence.scored.names[attribute].index(group)
        outputs = explained.attribution.outputs
        parts = [
            found[f"mean_shap_difference/{column}/{attribute}={group}"].estimate.value for column in ("age", "hours")
        ]
        assert sum(parts) == pytest.approx(outputs[members].mean() - outputs[~members].mean(), abs=1e-6)


def test_the_young_score_lower_through_their_age(found):
    difference = found["mean_shap_difference/age/age_band=<30"]
    assert difference.estimate.upper < 0
    assert difference.neutral == 0.0
    assert found["mean_shap/age/age_band=<30"].estimate.value < 0 < found["mean_shap/age/age_band=>=50"].estimate.value


def test_signed_means_add_up_to_the_mean_output(found, explained):
    signed = sum(found[f"mean_shap/{column}/overall"].estimate.value for column in ("age", "hours"))
    assert signed == pytest.approx(explained.attribution.outputs.mean() - explained.attribution.base_value, abs=1e-6)


def test_the_interval_of_a_difference_is_welchs_for_many_rows():
    rng = np.random.default_rng(1)
    first, second = rng.normal(1.0, 2.0, 4000), rng.normal(0.0, 0.5, 3000)
    estimate = _difference(first, second, 0.95)
    welch = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (estimate.lower, estimate.upper) == pytest.approx((welch.low, welch.high), abs=1e-3)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_have_no_interval(rows):
    values = np.full(rows, 2.0)
    assert _mean(values, 0.95).lower is None
    assert _difference(values, np.arange(5.0), 0.95).value is None
    assert _mean(values, 0.95).value == (None if rows == 0 else 2.0)


def test_the_interval_of_a_magnitude_stops_at_zero():
    estimate = _mean(np.array([0.0, 0.0, 5.0]), 0.95, floor=0.0)
    assert estimate.lower == 0.0
    assert _mean(np.array([0.0, 0.0, 5.0]), 0.95).lower < 0.0


def test_a_group_that_is_everybody_has_nobody_to_be_compared_with(explained, evidence):
    from dataclasses import replace

    everybody = replace(
        evidence.scored,
        groups={"sex": np.zeros(len(evidence.scored), np.int32)},
        names={"sex": ("only",)},
    )
    sample = replace(explained.sample, attributes={"sex": explained.sample.overall})
    given = importances(replace(explained, sample=sample), replace(evidence, scored=everybody), withheld=None)
    found = {finding.id.removeprefix("explanations/"): finding for finding in given}
    assert found["mean_shap/age/sex=only"].evidence == "sufficient"
    compared = found["mean_shap_difference/age/sex=only"]
    assert compared.evidence == "insufficient"
    assert "outside the group" in compared.reason


def test_what_is_withheld_has_no_value_anywhere(explained, evidence):
    for finding in importances(explained, evidence, withheld="the explanation is not stable"):
        assert finding.estimate.value is None
        assert finding.reason == "the explanation is not stable"
