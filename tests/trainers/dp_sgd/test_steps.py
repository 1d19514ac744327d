"""One step: equal to Keras where nothing is clipped or added, and the stated amount of noise where something is."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from probity.trainers.dp_sgd.keystream import KeyStream
from probity.trainers.dp_sgd.noise import GaussianNoise, rounding_grid
from probity.trainers.dp_sgd.steps import Steps
from tests.trainers.dp_sgd import naive
from tests.trainers.dp_sgd.conftest import ROWS, make_mechanism, make_model

FALSE_ALARM = 1e-6
OPTIMIZERS = {
    "sgd": lambda: tf.keras.optimizers.SGD(0.5, momentum=0.9),
    "adam": lambda: tf.keras.optimizers.Adam(0.01),
    "decay": lambda: tf.keras.optimizers.SGD(0.5, weight_decay=0.01),
}


def make_steps(rows, mechanism, *, model=None, optimizer="sgd", physical_batch_size=4096, averaging=False):
    model = model or make_model()
    return model, Steps(
        model,
        naive.clipped_sum(model, l2_clip_norm=mechanism.l2_clip_norm / mechanism.rows_per_unit),
        optimizer=OPTIMIZERS[optimizer](),
        mechanism=mechanism,
        inputs=rows[0],
        labels=rows[1],
        physical_batch_size=physical_batch_size,
        averaging=averaging,
    )


def noiseless(**changes):
    return make_mechanism(**{"noise_multiplier": 0.0, "l2_clip_norm": math.inf, **changes})


def flat(arrays):
    return np.concatenate([np.asarray(array).reshape(-1) for array in arrays])


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_without_noise_and_clipping_it_is_keras_step_for_step(rows, optimizer):
    """Batches that divide the rows: the mean over the expected number is the mean over the actual one."""
    _, steps = make_steps(rows, noiseless(expected_batch_size=24), optimizer=optimizer)
    plain = make_model()
    plain.compile(OPTIMIZERS[optimizer](), loss="binary_crossentropy")
    for step in range(12):
        chosen = np.arange(ROWS).reshape(-1, 24)[step % 4]
        steps.execute(chosen, noise=None)
        plain.train_on_batch({"x": rows[0]["x"][chosen]}, rows[1][chosen])
        np.testing.assert_allclose(flat(steps.weights), flat(plain.get_weights()), atol=1e-5, rtol=0)
    assert not np.allclose(flat(steps.weights), flat(make_model().get_weights()), atol=1e-2)


def test_summing_in_pieces_changes_nothing(rows):
    mechanism = make_mechanism(l2_clip_norm=0.3)
    results = []
    for size in (4096, 7):
        _, steps = make_steps(rows, mechanism, physical_batch_size=size)
        noise = GaussianNoise(steps.size, stream=KeyStream("noise", fixed_seed=1))
        for step in range(3):
            steps.execute(np.arange(ROWS), noise=noise.draw(step))
        results.append(flat(steps.weights))
    # Half a grid point of the noisy sum is what equal sums can differ by where rounding falls to the other side.
    tolerance = 1e-6 + 3 * 2 * rounding_grid(0.3) / 24
    np.testing.assert_allclose(*results, atol=tolerance)


def test_sums_in_pieces_are_equal_to_a_millionth(rows):
    results = []
    for size in (4096, 5):
        _, steps = make_steps(rows, noiseless(l2_clip_norm=0.3), physical_batch_size=size)
        steps.execute(np.arange(ROWS), noise=None)
        results.append(flat(steps.weights))
    np.testing.assert_allclose(*results, atol=1e-6, rtol=0)


def test_the_sum_is_divided_by_the_expected_size_whatever_was_drawn(rows):
    """Dividing by the drawn number would release it: twice the rows would not move the weights twice as far."""
    moved = {}
    for size in (12, 48):
        _, steps = make_steps(({"x": np.ones((ROWS, 6), np.float32)}, np.ones(ROWS, np.float32)), noiseless())
        before = flat(steps.weights)
        steps.execute(np.arange(size), noise=None)
        moved[size] = flat(steps.weights) - before
    np.testing.assert_allclose(moved[48], 4 * moved[12], rtol=1e-4, atol=1e-7)
    assert np.abs(moved[12]).max() > 1e-3


def measured_deviation(rows, mechanism, *, drawn, physical=4096, hidden=400):
    """Returns what a step added to the weights beyond the clipped sum, in units of clip over expected size."""
    model = make_model(hidden=hidden)
    start = model.get_weights()
    moved = []
    for executed in (mechanism, mechanism.model_copy(update={"noise_multiplier": 0.0})):
        model.set_weights(start)
        _, steps = make_steps(rows, executed, model=model, physical_batch_size=physical)
        noise = GaussianNoise(steps.size, stream=KeyStream("noise")) if steps.noisy else None
        steps.execute(np.arange(drawn), noise=None if noise is None else noise.draw(0))
        moved.append(flat(steps.weights) - flat(start))
    learning_rate = 0.5
    return (moved[0] - moved[1]) / learning_rate * mechanism.expected_batch_size / mechanism.l2_clip_norm


def as_claimed(added, noise_multiplier):
    """Two-sided chi-square test of the variance; false-alarm rate 1e-6."""
    p = stats.chi2.cdf(float(np.square(added).sum()) / noise_multiplier**2, len(added))
    return bool(2 * min(p, 1 - p) > FALSE_ALARM)


@pytest.mark.parametrize(
    ("drawn", "physical"), [(0, 4096), (10, 4096), (96, 4096), (96, 20)], ids=["empty", "small", "large", "pieces"]
)
def test_noise_enters_once_per_step_with_the_stated_deviation(rows, drawn, physical):
    """With 3,201 weights, noise of 0.7, 1.4 or sqrt(5) (once per piece) times the claim is rejected."""
    mechanism = make_mechanism(noise_multiplier=1.3, l2_clip_norm=0.4, expected_batch_size=24)
    added = measured_deviation(rows, mechanism, drawn=drawn, physical=physical)
    assert len(added) == 3201
    assert as_claimed(added, 1.3)
    for wrong in (0.7, 1.4, math.sqrt(5), 24 / max(drawn, 1) if drawn != 24 else 2):
        assert not as_claimed(added * wrong, 1.3)
    assert stats.kstest(added / 1.3, "norm").pvalue > FALSE_ALARM


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_loop_that_adds_another_amount_than_it_claims_is_found(rows, factor):
    executed = make_mechanism(noise_multiplier=1.3 * factor, l2_clip_norm=0.4)
    assert not as_claimed(measured_deviation(rows, executed, drawn=30), 1.3)


def test_noisy_sums_lie_on_the_grid(rows):
    """Steps of 2^-k from weights of zero keep every sum exact, so that the grid can be seen in the weights."""
    mechanism = make_mechanism(noise_multiplier=1.3, l2_clip_norm=0.4, expected_batch_size=32)
    _, steps = make_steps(rows, mechanism)
    for variable in steps.variables:
        variable.assign(tf.zeros_like(variable))
    steps.execute(np.arange(50), noise=GaussianNoise(steps.size, stream=KeyStream("noise")).draw(0))
    points = flat(steps.weights).astype(np.float64) / 0.5 * 32 / rounding_grid(1.3 * 0.4)
    np.testing.assert_array_equal(points, np.round(points))
    assert len(set(points.tolist())) > 20


def test_noise_and_mechanism_go_together(rows):
    _, steps = make_steps(rows, make_mechanism())
    with pytest.raises(ValueError, match="noise"):
        steps.execute(np.arange(3), noise=None)
    _, steps = make_steps(rows, noiseless())
    with pytest.raises(ValueError, match="noise"):
        steps.execute(np.arange(3), noise=np.zeros(steps.size, np.float32))


def test_averages_are_means_of_the_weights_and_leave_training_alone(rows):
    _, alone = make_steps(rows, noiseless())
    _, steps = make_steps(rows, noiseless(), averaging=True)
    seen = []
    for step in range(4):
        alone.execute(np.arange(24), noise=None)
        steps.execute(np.arange(24), noise=None, averaging_weight=1 / (step + 1))
        seen.append(flat(steps.weights))
    np.testing.assert_array_equal(flat(alone.weights), seen[-1])
    mean = np.mean(seen, axis=0)
    np.testing.assert_allclose(flat(steps.averages), mean, atol=1e-6)
    with steps.released():
        np.testing.assert_allclose(flat(steps.weights), mean, atol=1e-6)
    np.testing.assert_array_equal(flat(steps.weights), seen[-1])
    steps.release()
    np.testing.assert_allclose(flat(steps.weights), mean, atol=1e-6)


def test_state_comes_back(rows):
    _, steps = make_steps(rows, noiseless(), optimizer="adam", averaging=True)
    steps.execute(np.arange(24), noise=None)
    kept = {"weights": steps.weights, "optimizer": steps.optimizer_state, "averages": steps.averages}
    steps.execute(np.arange(24, 48), noise=None, averaging_weight=0.5)
    after = flat(steps.weights)
    _, other = make_steps(rows, noiseless(), model=make_model(seed=99), optimizer="adam", averaging=True)
    other.restore(**kept)
    other.execute(np.arange(24, 48), noise=None, averaging_weight=0.5)
    np.testing.assert_array_equal(flat(other.weights), after)
    assert int(other.optimizer.iterations.numpy()) == 2


def test_batches_of_any_size_are_traced_once(rows):
    _, steps = make_steps(rows, noiseless(), physical_batch_size=40)
    for size in (1, 2, 0, 40, 41, 96, 7):
        steps.execute(np.arange(size), noise=None)
    counts = [function.experimental_get_tracing_count() for function in (steps._whole, steps._add, steps._finish)]
    assert counts == [1, 1, 1]
