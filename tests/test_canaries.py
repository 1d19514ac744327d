"""Coins: fair, independent, repeatable; and files that are what was written."""

import numpy as np
import pytest
from scipy import stats

from probity.canaries import Canaries, Coins, read_array, write_arrays
from probity.errors import DataError


def test_coins_are_fair_and_repeat_themselves():
    coins = Coins.flip(rows=20_000, gradients=20_000, seed=3)
    assert stats.binomtest(int(coins.rows.sum()), 20_000).pvalue > 1e-6
    assert stats.binomtest(int((coins.rows == coins.gradients).sum()), 20_000).pvalue > 1e-6
    np.testing.assert_array_equal(coins.rows, Coins.flip(rows=20_000, gradients=20_000, seed=3).rows)
    assert not np.array_equal(coins.rows, Coins.flip(rows=20_000, gradients=20_000, seed=4).rows)
    assert coins.planted == coins.rows.sum() + coins.gradients.sum()


def test_coins_come_back_from_disk(tmp_path):
    coins = Coins.flip(rows=7, gradients=0, seed=3)
    coins.write(tmp_path)
    back = Coins.read(tmp_path)
    np.testing.assert_array_equal(back.rows, coins.rows)
    assert back.gradients.shape == (0,)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"not a file of arrays"])
def test_a_damaged_file_is_said_to_be_one(tmp_path, content):
    (tmp_path / "coins.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"coins\.npz"):
        Coins.read(tmp_path)
    write_arrays(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(DataError, match="no readable array b"):
        read_array(tmp_path / "other.npz", "b")


def test_more_planted_than_made_cannot_be_said():
    with pytest.raises(ValueError, match="more canaries"):
        Canaries(rows=2, rows_planted=3)
