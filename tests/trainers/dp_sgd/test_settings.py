"""Settings that cannot be, and the mechanism that those which can be mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probity.errors import ConfigError
from probity.trainers import registry
from probity.trainers.base import Population, Uncalibrated
from probity.trainers.dp_sgd.loop import epoch_ends
from probity.trainers.dp_sgd.settings import DpSgdSettings, propose
from probity.trainers.dp_sgd.trainer import DpSgdTrainer


def people(num_units, *, num_rows=None, unit="row"):
    return Population(num_rows=num_rows or num_units, num_units=num_units, unit=unit)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "exactly one"),
        ({"target_epsilon": 1, "noise_multiplier": 1}, "exactly one"),
        ({"target_epsilon": 0}, "never means without a limit"),
        ({"target_epsilon": 0.0}, "never means without a limit"),
        ({"target_epsilon": -1}, "greater than 0"),
        ({"target_epsilon": math.inf}, "finite"),
        ({"target_epsilon": math.nan}, "finite"),
        ({"noise_multiplier": -0.1}, "greater than or equal to 0"),
        ({"noise_multiplier": math.inf}, "finite"),
        ({"noise_multiplier": 1, "delta": 0}, "delta"),
        ({"noise_multiplier": 1, "delta": 1.0}, "delta"),
        ({"noise_multiplier": 1, "delta": "small"}, "delta"),
        ({"noise_multiplier": 1, "l2_clip_norm": 0}, "l2_clip_norm"),
        ({"noise_multiplier": 1, "l2_clip_norm": math.nan}, "l2_clip_norm"),
        ({"noise_multiplier": 1, "l2_clip_norm": math.inf}, "no noise is enough"),
        ({"target_epsilon": 1, "l2_clip_norm": math.inf}, "no noise is enough"),
        ({"noise_multiplier": 1, "sampling": "balls_in_bins"}, "sampling"),
        ({"noise_multiplier": 1, "optimizer": {"kind": "adam", "momentum": 0.9}}, "momentum belongs to sgd"),
        ({"noise_multiplier": 1, "optimizer": {"nesterov": True}}, "nesterov"),
        ({"noise_multiplier": 1, "epsilon": 1}, "epsilon"),
        ({"noise_multiplier": 1, "patience": 0}, "patience"),
    ],
)
def test_what_cannot_be_is_refused(given, match):
    with pytest.raises(ValueError, match=match):
        DpSgdSettings(**given)


def test_through_the_config_the_message_has_its_four_parts():
    trainer = DpSgdTrainer()
    with pytest.raises(ConfigError, match=r"target_epsilon: 0\. Allowed: .*never means.*To do"):
        registry.parse_settings(trainer, {"target_epsilon": 0})
    with pytest.raises(ConfigError, match="exactly one"):
        registry.parse_settings(trainer, {})


def test_resolved_settings_say_everything_and_read_back():
    settings = DpSgdSettings(target_epsilon=1, optimizer={"kind": "adam"}, l2_clip_norm=0.5)
    stored = settings.to_json()
    assert stored["optimizer"] == {"kind": "adam", "learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0}
    assert DpSgdSettings.from_json(stored) == settings
    unclipped = DpSgdSettings(noise_multiplier=0, l2_clip_norm=math.inf)
    assert DpSgdSettings.from_json(unclipped.to_json()) == unclipped
    assert DpSgdSettings(noise_multiplier=1, optimizer={"learning_rate": 0.5}).optimizer.momentum == 0.6


def test_poisson_by_hand():
    """60,000 units at 256 per step and 15 epochs: 3,516 steps (3,515.6) at probability 256/60,000."""
    settings = DpSgdSettings(noise_multiplier=1.1, expected_batch_size=256, epochs=15, l2_clip_norm=0.7)
    mechanism = propose(settings, people(60_000))
    assert mechanism.to_json() == {
        "kind": "dp_sgd",
        "noise_multiplier": 1.1,
        "noise_source": "os_entropy",
        "sampling": "poisson",
        "sampling_prob": 256 / 60_000,
        "max_participations": None,
        "steps": 3516,
        "l2_clip_norm": 0.7,
        "expected_batch_size": 256.0,
        "normalization": "expected_batch_size",
        "unit": "row",
        "rows_per_unit": 1,
        "engine": "auto",
    }


def test_shuffled_by_hand_counts_the_last_smaller_batch():
    """1,000 units at 300 per step are four steps a pass, not three: no tail is dropped."""
    settings = DpSgdSettings(noise_multiplier=1, expected_batch_size=300, epochs=5, sampling="shuffled")
    mechanism = propose(settings, people(1000))
    assert (mechanism.sampling, mechanism.steps, mechanism.max_participations) == ("shuffled", 20, 5)
    assert mechanism.sampling_prob == 0.3


@given(
    units=st.integers(1, 10**7),
    share=st.floats(1e-4, 1.0),
    epochs=st.integers(1, 60),
    sampling=st.sampled_from(["poisson", "shuffled"]),
)
def test_steps_make_up_the_epochs(units, share, epochs, sampling):
    batch = max(1, round(units * share))
    settings = DpSgdSettings(noise_multiplier=1, expected_batch_size=batch, epochs=epochs, sampling=sampling)
    mechanism = propose(settings, people(units))
    ends = epoch_ends(mechanism)
    assert len(ends) == epochs
    assert sorted(set(ends)) == list(ends)
    assert ends[0] >= 1
    assert ends[-1] == mechanism.steps
    if sampling == "poisson":
        assert abs(mechanism.steps * mechanism.sampling_prob - epochs) <= 0.5 * mechanism.sampling_prob + 1e-6
    else:
        assert all(end * batch >= units * (i + 1) for i, end in enumerate(ends))


def test_an_asked_epsilon_leaves_only_the_noise_open():
    settings = DpSgdSettings(target_epsilon=3, delta=1e-6, noise_seed=4)
    proposal = propose(settings, people(50_000, num_rows=80_000, unit="person"))
    assert isinstance(proposal, Uncalibrated)
    assert (proposal.target_epsilon, proposal.target_delta) == (3.0, 1e-6)
    low, high = proposal.with_noise_multiplier(0.5), proposal.with_noise_multiplier(2.0)
    assert low.model_copy(update={"noise_multiplier": 2.0}) == high
    assert (high.unit, high.sampling_prob) == ("person", 2048 / 50_000)
    assert high.noise_source == "fixed_seed"
    assert propose(DpSgdSettings(target_epsilon=3), people(50_000)).target_delta is None


def test_a_delta_of_one_over_n_or_more_is_refused():
    """At delta = 1/n, publishing one row outright is allowed (Dwork and Roth 2014, section 2.3)."""
    settings = {"noise_multiplier": 1, "expected_batch_size": 10}
    for delta in (1e-3, 2e-3, 0.5):
        with pytest.raises(ConfigError, match=r"delta: .*1000 units.*less than 1/1000"):
            propose(DpSgdSettings(**settings, delta=delta), people(1000))
    assert propose(DpSgdSettings(**settings, delta=9.99e-4), people(1000)).steps == 3000
    persons = people(500, num_rows=2000, unit="person")  # counted in units, not in rows
    assert propose(DpSgdSettings(**settings, delta=1.9e-3), persons).unit == "person"
    with pytest.raises(ConfigError, match="500 units"):
        propose(DpSgdSettings(**settings, delta=2e-3), persons)


@pytest.mark.parametrize("sampling", ["poisson", "shuffled"])
def test_more_units_per_step_than_there_are_is_refused(sampling):
    settings = DpSgdSettings(noise_multiplier=1, expected_batch_size=101, sampling=sampling)
    with pytest.raises(ConfigError, match="expected_batch_size: 101, with 100 units"):
        propose(settings, people(100))
    assert propose(settings, people(101)).sampling_prob == 1.0


def test_bounding_rows_needs_units_to_bound():
    settings = DpSgdSettings(noise_multiplier=1, rows_per_unit=3, expected_batch_size=10)
    with pytest.raises(ConfigError, match="rows_per_unit: 3, where each row is a unit"):
        propose(settings, people(100))
    assert propose(settings, people(100, num_rows=250, unit="person")).rows_per_unit == 3
