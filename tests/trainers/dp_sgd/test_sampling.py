"""Batches: drawn as the mechanism says. The tests with more power are in tests/statistical."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probity.trainers.dp_sgd.keystream import KeyStream
from probity.trainers.dp_sgd.sampling import BoundedRows, PoissonBatches, ShuffledBatches

FALSE_ALARM = 1e-6


class Digits:
    """A stream of given bytes in place of a cipher: one answer per question."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def at(self, step):
        return self

    def take(self, count):
        answer = self.answers.pop(0)
        assert len(answer) == count
        return np.frombuffer(answer, np.uint8)


def poisson(num_units, prob, seed=None):
    return PoissonBatches(num_units, sampling_prob=prob, stream=KeyStream("batches", fixed_seed=seed))


@given(
    prob=st.floats(1e-9, 1.0, exclude_min=True),
    offset=st.integers(-3, 3) | st.integers(-(2**66), 2**66) | st.integers(-(2**80), 2**80),
)
def test_a_unit_is_drawn_iff_its_uniform_number_is_below_the_probability(prob, offset):
    """In exact arithmetic, with numbers close to the threshold too."""
    threshold = Fraction(prob) * 2**80
    number = min(max(int(threshold) + offset, 0), 2**80 - 1)
    first, more = divmod(number, 2**64)
    stream = Digits(np.uint16(first).tobytes(), np.uint64(more).tobytes())
    undecided = first == int(threshold) >> 64
    if not undecided:
        stream.answers[1] = b""
    drawn = PoissonBatches(1, sampling_prob=prob, stream=stream).draw(0)
    assert len(drawn) == (number < int(threshold))


def test_units_come_in_order_once_each_also_when_late_digits_decide():
    many = poisson(200_000, 0.3)
    for step in range(3):
        drawn = many.draw(step)
        assert drawn.dtype == np.int64
        assert (np.diff(drawn) > 0).all()
        assert 0 <= drawn[0] <= drawn[-1] < 200_000


def test_batches_vary_and_may_be_empty():
    few = poisson(3, 0.05)
    sizes = [len(few.draw(step)) for step in range(400)]
    assert 0 in sizes
    assert len(set(sizes)) > 1


def test_probability_one_draws_everybody_and_a_tiny_one_nobody():
    assert poisson(50, 1.0).draw(0).tolist() == list(range(50))
    assert len(poisson(50, 1e-30).draw(0)) == 0


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (1.02, False), (0.98, False)])
def test_the_probability_is_the_stated_one(factor, right):
    """Binomial test over 40,000 units and 100 steps: a fiftieth is ten standard deviations."""
    sampler, stated = poisson(40_000, 0.0625 * factor), 0.0625
    total = sum(len(sampler.draw(step)) for step in range(100))
    assert bool(stats.binomtest(total, 4_000_000, stated).pvalue > FALSE_ALARM) is right


@given(units=st.integers(1, 40), batch=st.integers(1, 40), passes=st.integers(1, 3))
def test_shuffling_gives_every_unit_once_per_pass_and_keeps_the_last_batch(units, batch, passes):
    sampler = ShuffledBatches(units, batch_size=batch, stream=KeyStream("batches"))
    steps = -(-units // batch)
    for number in range(passes):
        batches = [sampler.draw(number * steps + step) for step in range(steps)]
        assert sorted(np.concatenate(batches).tolist()) == list(range(units))
        assert [len(entry) for entry in batches[:-1]] == [batch] * (steps - 1)
        assert 1 <= len(batches[-1]) <= batch


def test_each_pass_has_an_order_of_its_own_and_every_order_is_as_likely():
    sampler = ShuffledBatches(4, batch_size=4, stream=KeyStream("batches"))
    orders = [tuple(sampler.draw(step).tolist()) for step in range(4800)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_a_pass_is_finished_by_another_process_in_the_same_order():
    """What the next process draws is what this one would have drawn, and the pass stays a pass."""
    before = ShuffledBatches(10, batch_size=4, stream=KeyStream("batches"))
    first = before.draw(0)
    state = before.state.copy()
    after = ShuffledBatches(10, batch_size=4, stream=KeyStream("batches"), state=state)
    second, third = after.draw(1), after.draw(2)
    assert second.tolist() == before.draw(1).tolist()
    assert sorted([*first, *second, *third]) == list(range(10))
    with pytest.raises(RuntimeError, match="order is not known"):
        ShuffledBatches(10, batch_size=4, stream=KeyStream("batches")).draw(1)
    with pytest.raises(RuntimeError, match="order is not known"):
        ShuffledBatches(11, batch_size=4, stream=KeyStream("batches"), state=state).draw(1)


@given(
    units=st.lists(st.integers(0, 5), min_size=6, max_size=40).map(lambda found: [*range(6), *found]),
    limit=st.integers(1, 4),
    data=st.data(),
)
def test_a_unit_gives_at_most_so_many_rows_and_only_its_own(units, limit, data):
    owners = np.array(units)
    drawn = np.array(data.draw(st.lists(st.integers(0, 5), unique=True)), np.int64)
    rows = BoundedRows(owners, rows_per_unit=limit, stream=KeyStream("rows")).of(drawn, step=0)
    assert len(set(rows.tolist())) == len(rows)
    given_rows = {unit: int((owners[rows] == unit).sum()) for unit in range(6)}
    expected = {unit: min(limit, int((owners == unit).sum())) if unit in drawn else 0 for unit in range(6)}
    assert given_rows == expected


def test_each_choice_of_a_units_rows_is_as_likely():
    """Two of four rows of one unit: six pairs; the other unit has fewer and always gives all."""
    owners = np.array([1, 0, 1, 0, 1, 1])
    bounded = BoundedRows(owners, rows_per_unit=2, stream=KeyStream("rows"))
    pairs = []
    for step in range(3000):
        rows = bounded.of(np.array([0, 1]), step=step)
        assert {1, 3} <= set(rows.tolist())
        pairs.append(sorted(set(rows.tolist()) - {1, 3}))
    _, counts = np.unique(pairs, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > FALSE_ALARM
