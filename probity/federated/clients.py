"""How rows belong to clients, what of them crosses to the worker, and how unlike each other clients are.

A client is one file: features and labels of its own rows, under a number. Names of clients, raw columns and sensitive
attributes do not cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probity.errors import ConfigError
from probity.federated.settings import FederatedSettings, SimulatedClients
from probity.federation import SIZE_GROUPS, ClientGroup, size_groups

if TYPE_CHECKING:
    import numpy.typing as npt

    Rows = Sequence[npt.NDArray[np.int64]]

__all__ = ["assign", "circumstances", "groups", "label_skew", "suitability", "write"]

_NAME = "trainer federated, clients"
_SMALL = 10
_UNLIKE = 0.25


def assign(
    settings: FederatedSettings,
    labels: npt.NDArray[np.float32],
    *,
    given: npt.NDArray[np.int64] | None,
    seed: int,
) -> Rows:
    """Returns the rows of each client, ascending; every row belongs to exactly one.

    Args:
        settings: Say where clients come from.
        labels: Of the training rows, which ``dirichlet`` deals out.
        given: For each row the number of its client, where the clients are the values of a column.
        seed: Decides how simulated clients get their rows.

    Raises:
        ConfigError: If a column is to name the clients and none is there, or there are more clients than rows.
    """
    clients = settings.clients
    if isinstance(clients, SimulatedClients):
        if clients.number > len(labels):
            raise ConfigError(
                _NAME,
                seen=f"{clients.number} clients for {len(labels)} training rows",
                allowed="at most one client per row",
                remedy="simulate fewer clients",
            )
        rng = np.random.default_rng(seed)
        return _iid(clients, len(labels), rng) if clients.partition == "iid" else _dirichlet(clients, labels, rng)
    if given is None or len(given) != len(labels):
        raise ConfigError(
            _NAME,
            seen=f"{'no clients' if given is None else f'clients of {len(given)} rows'} for {len(labels)} rows",
            allowed="the client of each training row; planted canaries have none",
            remedy="train without audits.canaries, or use clients: {number: N}",
        )
    order = np.argsort(given, kind="stable")
    return np.split(order.astype(np.int64), np.cumsum(np.bincount(given))[:-1])


def groups(rows: Rows) -> tuple[ClientGroup, ...]:
    """Returns the size groups in numbers."""
    sizes = np.array([len(own) for own in rows])
    numbers = size_groups(sizes.tolist())
    return tuple(
        ClientGroup(name=name, clients=int((numbers == i).sum()), rows=int(sizes[numbers == i].sum()))
        for i, name in enumerate(SIZE_GROUPS)
    )


def label_skew(rows: Rows, labels: npt.NDArray[np.float32]) -> float:
    """Returns how far clients' labels are from everybody's: the mean total variation distance, weighted by rows.

    0: every client has everybody's share of positives; ``2 p (1 - p)`` at most, for a share ``p``.
    """
    everybody = float(labels.mean())
    return sum(len(own) * abs(float(labels[own].mean()) - everybody) for own in rows if len(own)) / len(labels)


def circumstances(
    num_clients: int, *, simulated: bool, one_source: bool, sensitive: bool, clients_per_round: int
) -> list[str]:
    """Returns what speaks against federated training whatever the rows say: public facts, in words.

    Args:
        num_clients: How many there are.
        simulated: Whether they are made up.
        one_source: Whether the clients' rows came in one table.
        sensitive: Whether the data declares anything about people that calls for protection.
        clients_per_round: How many are asked in a round.
    """
    found = []
    if simulated:
        found.append(
            "the clients are simulated: all rows are in one place, where the trainer plain would use them better"
        )
    elif one_source:
        found.append(
            "the rows of all clients came in one table: rows and labels had left the clients before, and federated "
            "training is for data that exists only where it arises"
        )
    if not sensitive:
        found.append(
            "no column is declared as sensitive, nor as the privacy unit: rows that may be pooled are used better in "
            "one place"
        )
    if num_clients < _SMALL:
        found.append(f"{num_clients} clients are few: one of them decides much of each round")
    if clients_per_round == num_clients:
        found.append("every client is asked in every round: one that is absent is missed, and nothing is sampled")
    return found


def suitability(rows: Rows, labels: npt.NDArray[np.float32]) -> list[str]:
    """Returns what in the clients' rows speaks against federated training, in words without data values."""
    sizes = np.array([len(own) for own in rows])
    found = []
    if (sizes == 0).any():
        found.append(f"{int((sizes == 0).sum())} clients have no rows; they can be asked and add nothing")
    if sizes.max() > len(labels) / 2:
        found.append("one client holds more than half of all rows: the average is mostly its own")
    if label_skew(rows, labels) > _UNLIKE * 2 * float(labels.mean()) * (1 - float(labels.mean())):
        found.append("the clients' labels are unlike: averages converge slowly and can serve single clients badly")
    return found


def write(
    folder: Path, rows: Rows, features: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]
) -> list[dict[str, object]]:
    """Writes one file per client below ``folder`` and returns how the request names them.

    Guarantees: each row is in exactly one file, and a file holds the rows of one client and no other fact.

    Args:
        folder: The worker folder.
        rows: The rows of each client.
        features: Model inputs of all rows, of shape (rows, width).
        labels: 0 or 1, of shape (rows,).
    """
    (folder / "clients").mkdir()
    entries: list[dict[str, object]] = []
    for number, own in enumerate(rows):
        name = f"clients/{number:06d}.npz"
        np.savez(folder / name, features=features[own], label=labels[own])
        entries.append({"file": name, "num_examples": len(own)})
    return entries


def _iid(clients: SimulatedClients, rows: int, rng: np.random.Generator) -> Rows:
    return [np.sort(part).astype(np.int64) for part in np.array_split(rng.permutation(rows), clients.number)]


def _dirichlet(clients: SimulatedClients, labels: npt.NDArray[np.float32], rng: np.random.Generator) -> Rows:
    """Deals out each label's rows by shares of its own (Hsu et al. 2019; as in Yurochkin et al. 2019)."""
    parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(clients.number)]
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients.number, clients.alpha))
        for part, cut in zip(parts, np.split(own, (np.cumsum(shares)[:-1] * len(own)).astype(np.int64)), strict=True):
            part.append(cut)
    return [np.sort(np.concatenate(part)).astype(np.int64) for part in parts]
