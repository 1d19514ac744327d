"""The noise of the aggregation: its distribution, and what the tree adds up to."""

import numpy as np
import pytest
from probity_federated_worker.noise import FreshNoise, TreeNoise, entropy_normals, fixed_normals
from scipy import stats


def test_normals_are_normal_and_never_the_same():
    drawn = entropy_normals(100_001)
    assert drawn.shape == (100_001,)
    # False alarm: one in a million.
    assert stats.kstest(drawn, "norm").pvalue > 1e-6
    assert not np.array_equal(drawn[:10], entropy_normals(10))


@pytest.mark.statistical
@pytest.mark.parametrize(("scale", "accepted"), [(1.0, True), (0.99, False), (1.01, False)])
@pytest.mark.parametrize("drawn_by", ["each round anew", "a tree of one round"])
def test_the_amount_of_noise_is_exact_and_one_percent_more_or_less_is_noticed(drawn_by, scale, accepted):
    """The sum of squares of n standard normals is chi-squared with n degrees of freedom.

    False alarm: one in a million each. One percent of the deviation is 14 standard errors, so it is never missed.
    """
    n = 1_000_000
    noise = (
        FreshNoise(n, normals=entropy_normals)
        if drawn_by == "each round anew"
        else TreeNoise(n, normals=entropy_normals, restart_every=1)
    )
    squares = float(np.square(scale * noise.draw().astype(float)).sum())
    pvalue = 2 * min(stats.chi2.cdf(squares, n), stats.chi2.sf(squares, n))
    assert bool(pvalue > 1e-6) is accepted


def test_both_halves_of_the_pairs_are_independent():
    drawn = entropy_normals(100_000)
    assert abs(np.corrcoef(drawn[:50_000], drawn[50_000:])[0, 1]) < 5 / np.sqrt(50_000)


def test_fresh_noise_leaves_nothing_behind():
    noise = FreshNoise(3, normals=fixed_normals(1))
    assert noise.draw().dtype == np.float32
    assert noise.arrays() == {}


def nodes_of_size_one():
    """Every node is 1: the cumulated noise is then the number of nodes."""
    return TreeNoise(1, normals=np.ones)


def test_the_first_rounds_are_covered_by_one_node_per_one_in_binary():
    noise = nodes_of_size_one()
    cumulated = np.cumsum([noise.draw()[0] for _ in range(64)])
    assert cumulated.tolist() == [bin(step).count("1") for step in range(1, 65)]


def test_the_variance_of_the_sum_is_the_number_of_nodes():
    noise = TreeNoise(20_000, normals=fixed_normals(1))
    total = sum(noise.draw().astype(float) for _ in range(7))
    assert total.std() == pytest.approx(np.sqrt(3), rel=0.03)  # 7 = 4 + 2 + 1


def test_a_restart_keeps_what_the_last_tree_added():
    noise = TreeNoise(1, normals=np.ones, restart_every=4)
    cumulated = np.cumsum([noise.draw()[0] for _ in range(8)])
    assert cumulated.tolist() == [1, 1, 2, 1, 2, 2, 3, 2]


def test_a_restored_tree_goes_on_as_if_nothing_had_happened():
    straight, normals = TreeNoise(5, normals=fixed_normals(2)), fixed_normals(2)
    broken = TreeNoise(5, normals=normals)
    expected = [straight.draw() for _ in range(6)]
    begun = [broken.draw() for _ in range(3)]
    resumed = TreeNoise(5, normals=normals)
    resumed.restore(broken.arrays())
    assert np.allclose([*begun, *(resumed.draw() for _ in range(3))], expected)


def test_a_lost_round_spends_its_leaf():
    noise = nodes_of_size_one()
    first = noise.draw()[0]
    noise.skip()
    assert first + noise.draw()[0] == bin(3).count("1")
