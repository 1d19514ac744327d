"""How rows belong to clients: each to exactly one, by column, at random, or unlike on purpose."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from probity.federated.clients import assign, circumstances, groups, label_skew, suitability, write
from probity.federated.settings import FederatedSettings
from probity.federation import size_groups

LABELS = (np.random.default_rng(3).random(2000) < 0.25).astype(np.float32)


def dealt(clients, *, seed=7, given=None, labels=LABELS):
    return assign(FederatedSettings.from_json({"clients": clients}), labels, given=given, seed=seed)


@pytest.mark.parametrize(
    "clients", [{"number": 7}, {"number": 2000}, {"number": 50, "partition": "dirichlet", "alpha": 0.1}]
)
def test_every_row_belongs_to_exactly_one_client(clients):
    rows = dealt(clients)
    assert len(rows) == clients["number"]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(2000))


def test_a_column_keeps_the_rows_of_each_value_together():
    given = np.array([2, 0, 1, 0, 2, 2])
    rows = dealt({"by": "city"}, given=given, labels=LABELS[:6])
    assert [own.tolist() for own in rows] == [[1, 3], [2], [0, 4, 5]]


def test_the_seed_decides_who_gets_what():
    first, again, other = (dealt({"number": 10}, seed=seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


def test_a_smaller_alpha_makes_clients_less_alike():
    """Also by another distance: the mean Jensen-Shannon distance of a client's labels to everybody's."""

    def distance(rows):
        shares = [LABELS[own].mean() for own in rows if len(own)]
        return np.mean([jensenshannon([p, 1 - p], [LABELS.mean(), 1 - LABELS.mean()]) for p in shares])

    alike, unlike = (dealt({"number": 20, "partition": "dirichlet", "alpha": a}) for a in (100.0, 0.1))
    assert label_skew(alike, LABELS) < 0.1 < label_skew(unlike, LABELS)
    assert distance(alike) < distance(unlike)


def test_the_skew_of_clients_with_one_label_each_is_the_largest_possible():
    labels = np.array([1, 0, 0, 0], np.float32)
    assert label_skew([np.array([0]), np.array([1, 2, 3])], labels) == pytest.approx(2 * 0.25 * 0.75)
    assert label_skew([np.arange(4)], labels) == 0


def test_size_groups_are_thirds_of_the_clients():
    rows = [np.arange(size) for size in (5, 1, 9, 3, 7, 2)]
    assert size_groups([len(own) for own in rows]).tolist() == [1, 0, 2, 1, 2, 0]
    assert [(group.clients, group.rows) for group in groups(rows)] == [(2, 3), (2, 8), (2, 16)]


def test_two_clients_have_two_groups():
    assert [group.clients for group in groups([np.arange(1), np.arange(2)])] == [1, 1, 0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([np.arange(1500), *np.array_split(np.arange(1500, 2000), 20)], "more than half"),
        ([np.array([], np.int64), *np.array_split(np.arange(2000), 20)], "1 clients have no rows"),
        ([np.flatnonzero(LABELS == 1), *np.array_split(np.flatnonzero(LABELS == 0), 20)], "unlike"),
    ],
)
def test_what_speaks_against_it_in_the_rows_is_said(rows, words):
    (found,) = [text for text in suitability(rows, LABELS) if words in text]
    assert found


FITTING = {"simulated": False, "one_source": False, "sensitive": True, "clients_per_round": 5}


@pytest.mark.parametrize(
    ("num_clients", "changes", "words"),
    [
        (50, {"simulated": True, "one_source": True}, "clients are simulated"),
        (50, {"one_source": True}, "came in one table"),
        (50, {"sensitive": False}, "no column is declared as sensitive"),
        (9, {}, "9 clients are few"),
        (50, {"clients_per_round": 50}, "every client is asked in every round"),
    ],
)
def test_what_speaks_against_it_whatever_the_rows_say(num_clients, changes, words):
    (found,) = circumstances(num_clients, **{**FITTING, **changes})
    assert words in found


def test_a_fitting_federation_has_no_warning():
    assert suitability(dealt({"number": 50}), LABELS) == []
    assert circumstances(50, **FITTING) == []


def test_a_file_holds_one_clients_rows(tmp_path):
    features = np.random.default_rng(1).random((2000, 3)).astype(np.float32)
    rows = dealt({"number": 5})
    entries = write(tmp_path, rows, features, LABELS)
    for entry, own in zip(entries, rows, strict=True):
        with np.load(tmp_path / entry["file"]) as stored:
            np.testing.assert_array_equal(stored["features"], features[own])
            np.testing.assert_array_equal(stored["label"], LABELS[own])
        assert entry["num_examples"] == len(own)
