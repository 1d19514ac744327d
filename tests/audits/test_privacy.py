"""Epsilon from the executed mechanism: closed forms, golden numbers, limits, and what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from probity.audits.privacy import PrivacyAudit, default_delta, epsilon_of, unaccounted
from probity.data import Transform, TransformConstant
from probity.digest import digest_bytes
from probity.findings import Subject
from probity.model import DpSgd, NonPrivate

DIGEST = digest_bytes(b"x")


def dp_sgd(noise_multiplier, sampling_prob=1.0, steps=1, **changes):
    values = {"sampling": "poisson", "l2_clip_norm": 1.0, **changes}
    return DpSgd(noise_multiplier=noise_multiplier, sampling_prob=sampling_prob, steps=steps, **values)


def evidence(mechanism, *, unit="row", n=29_249, constants=()):
    transform = Transform(digest=DIGEST, inputs=(), outputs=(), constants=constants)
    return SimpleNamespace(
        model=SimpleNamespace(mechanism=mechanism, num_train_examples=n),
        dataset=SimpleNamespace(privacy_unit=unit),
        transform=transform,
        subject=Subject(model=DIGEST, examples=DIGEST),
    )


def run(tmp_path, *args, **kwargs):
    return PrivacyAudit().run(evidence(*args, **kwargs), workdir=tmp_path)


def analytic_gaussian(sigma, delta):
    """Balle and Wang 2018, theorem 8, for sensitivity 1."""

    def gap(epsilon):
        a, b = 1 / (2 * sigma), epsilon * sigma
        return norm.cdf(a - b) - math.exp(epsilon) * norm.cdf(-a - b) - delta

    return brentq(gap, 0, 50)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0, 4.0])
def test_one_gaussian_release_agrees_with_the_closed_form(sigma):
    assert epsilon_of(dp_sgd(sigma), delta=1e-5) == pytest.approx(analytic_gaussian(sigma, 1e-5), rel=1e-4)


def test_k_full_batch_steps_are_one_gaussian_with_less_noise():
    assert epsilon_of(dp_sgd(4.0, steps=16), delta=1e-5) == pytest.approx(analytic_gaussian(1.0, 1e-5), rel=1e-3)


def test_golden_dp_sgd_on_60000_examples():
    # q = 256/60000, sigma 1.1, 15 epochs, delta 1e-5: PLD 1.1337 (and RDP 1.2811, which is looser)
    assert epsilon_of(dp_sgd(1.1, 256 / 60_000, 3515), delta=1e-5) == pytest.approx(1.1337, abs=1e-4)


@pytest.mark.parametrize(
    ("mechanism", "epsilon"),
    [
        (NonPrivate(), math.inf),
        (dp_sgd(0.0, 0.1, 10), math.inf),
        (dp_sgd(1.0, 0.1, 0), 0.0),
    ],
)
def test_limits(mechanism, epsilon):
    assert epsilon_of(mechanism, delta=1e-5) == epsilon


@settings(max_examples=2, deadline=None)  # an accountant takes seconds for unusual parameters
@given(st.floats(0.8, 3.0), st.floats(1.05, 2.0), st.integers(1, 50))
def test_more_noise_and_fewer_steps_never_cost_more(sigma, factor, steps):
    base = epsilon_of(dp_sgd(sigma, 0.05, steps), delta=1e-5)
    assert epsilon_of(dp_sgd(sigma * factor, 0.05, steps), delta=1e-5) <= base + 1e-9
    assert epsilon_of(dp_sgd(sigma, 0.05, steps * 2), delta=1e-5) >= base - 1e-9


@given(st.integers(1, 10**9))
def test_delta_is_a_power_of_ten_below_one_over_n(n):
    delta = default_delta(n)
    assert delta * n < 1
    assert delta * n >= 0.1 * (1 - 1e-12)
    assert math.log10(delta) == pytest.approx(round(math.log10(delta)), abs=1e-9)


def test_a_plain_model_states_infinity_and_what_read_the_data(tmp_path):
    constants = (
        TransformConstant(feature="age", kind="quantiles", source="training data"),
        TransformConstant(feature="sex", kind="vocabulary", source="schema"),
    )
    report = run(tmp_path, NonPrivate(), constants=constants)
    assert report.status == "complete"
    assert report.find("privacy/epsilon/overall").estimate.value == math.inf
    assert report.find("privacy/delta/overall").estimate.value == 1e-5
    assert report.to_json()["privacy_statement"]["epsilon"] == "Infinity"
    assert "quantiles" in report.privacy_statement.not_covered[0]
    assert "vocabulary" not in report.privacy_statement.not_covered[0]


def test_the_unit_is_printed(tmp_path):
    report = run(tmp_path, dp_sgd(1.0, 0.01, 10, unit="person"), unit="person")
    assert "person" in report.privacy_statement.text
    assert "one row is one person" not in report.privacy_statement.assumptions


@pytest.mark.parametrize(
    ("mechanism", "unit"),
    [
        (dp_sgd(1.0, 0.01, 10, sampling="shuffled"), "row"),
        (dp_sgd(1.0, 0.01, 10, unit="row"), "person"),
    ],
)
def test_what_cannot_be_accounted_for_fails_without_a_number(tmp_path, mechanism, unit):
    report = run(tmp_path, mechanism, unit=unit)
    assert report.status == "failed"
    assert report.findings == ()
    assert report.privacy_statement is None
    assert unaccounted(mechanism, unit=unit) in report.reasons
