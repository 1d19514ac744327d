"""Membership attacks: intervals that hold what they should, and attacks that find what is there."""

import numpy as np
import pytest

from probity.audits.membership import ATTACKS, Sample, run_attacks, strength, true_positive_rate_at


def make_sample(rows, *, leak, seed):
    """A model that is surer of the label of rows it was trained on, by ``leak`` in its logit."""
    draw = np.random.default_rng(seed)
    members, labels = draw.random(rows) < 0.5, draw.random(rows) < 0.4
    logits = draw.normal(size=rows) + np.where(labels, 1.0, -1.0) * (1.0 + leak * members)
    return Sample(
        members=members,
        scores=1 / (1 + np.exp(-logits)),
        labels=labels,
        groups={},
        names={},
        positions=np.arange(len(members)),
    )


def test_losses_and_entropies_are_those_of_the_scores():
    scores, labels = np.array([0.9, 0.5, 0.0]), np.array([True, False, True])
    sample = Sample(members=np.ones(3, bool), scores=scores, labels=labels, groups={}, names={}, positions=np.arange(3))
    np.testing.assert_allclose(sample.losses[:2], [-np.log(0.9), np.log(2)])
    np.testing.assert_allclose(sample.entropies[:2], [-0.9 * np.log(0.9) - 0.1 * np.log(0.1), np.log(2)])
    assert np.isfinite(sample.losses).all()
    assert np.isfinite(sample.entropies).all()


@pytest.fixture(scope="module")
def attacks():
    sample = make_sample(3000, leak=2.0, seed=1)
    return sample, run_attacks(sample, seed=3)


def test_every_attack_finds_a_large_leak(attacks):
    sample, found = attacks
    assert tuple(attack.name for attack in found) == ATTACKS
    for attack in found:
        assert strength(attack.scores, sample.members, confidence=0.95).auc[1] > 0.6, attack.name


def test_the_threshold_attack_is_the_loss(attacks):
    sample, found = attacks
    np.testing.assert_allclose(found[0].scores, -sample.losses)


def test_attacks_repeat_themselves_and_leave_the_global_generator_alone(attacks):
    sample, found = attacks
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    for attack, again in zip(found, run_attacks(sample, seed=3), strict=True):
        np.testing.assert_array_equal(attack.scores, again.scores)
    assert np.random.random() == expected  # noqa: NPY002


def test_strength_by_hand():
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    members = np.array([True, False, True, False])
    found = strength(scores, members, confidence=0.95)
    assert (found.members, found.others) == (2, 2)
    assert found.auc[0] == 0.75
    assert found.advantage[0] == 0.5
    assert strength(scores, np.array([True, False, False, False]), confidence=0.95) is None


def test_the_interval_of_the_advantage_holds_what_nothing_is_there_for():
    """The largest difference is looked for, so its estimate lies above 0 even where the truth is 0."""
    above = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        found = strength(draw.normal(size=400), draw.random(400) < 0.5, confidence=0.95)
        assert found.advantage[0] > 0.0
        above += found.advantage[1] > 0.0
    assert above <= 8


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_interval_of_a_rate_holds_the_rate_at_the_true_threshold(shift):
    """At a false-positive rate of 1 %, the threshold is the 0.99 quantile of the others, here of a unit normal."""
    from scipy.stats import norm

    truth = float(norm.sf(norm.ppf(0.99) - shift))
    held = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        members = draw.random(4000) < 0.5
        found = true_positive_rate_at(
            draw.normal(size=4000) + shift * members, members, false_positive_rate=0.01, confidence=0.95
        )
        assert found[1] <= found[0] <= found[2]
        held += found[1] <= truth <= found[2]
    assert held >= 188  # 0.0006 for an interval that holds it with a probability of exactly 0.95


@pytest.mark.parametrize("others", [1000, 2000])
def test_the_lower_end_of_a_small_rate_is_above_its_truth_no_more_often_than_allowed(others):
    """No member is above the true threshold; a largest other that happens to be low lets some pass."""
    above = 0
    for seed in range(300):
        draw = np.random.default_rng(seed)
        members = np.arange(2 * others) % 2 == 0
        scores = np.where(members, draw.uniform(0, 0.999, 2 * others), draw.uniform(0, 1, 2 * others))
        found = true_positive_rate_at(scores, members, false_positive_rate=0.001, confidence=0.95)
        above += found[1] > 0.0
    assert above <= 18


def test_a_rate_that_no_row_can_show_is_not_given():
    members = np.arange(400) % 2 == 0
    assert true_positive_rate_at(np.zeros(400), members, false_positive_rate=0.001, confidence=0.95) is None
