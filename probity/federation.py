"""What a federated training was like: its clients in numbers, and its rounds (``07_model/federation.json``).

Written beside the model; it stays in the run folder. Sizes and label shares of single clients are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from probity.record import Digest, Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "FEDERATION",
    "SIZE_GROUPS",
    "ClientGroup",
    "Federation",
    "FederationFacts",
    "GroupRound",
    "Round",
    "size_groups",
]

FEDERATION = "federation.json"
"""The file's name beside ``model.json``."""

SIZE_GROUPS = ("fewest rows", "middle", "most rows")
"""Clients in three groups of about equal number, by how many rows they hold: the groups of the rounds' metrics."""


class GroupRound(Record):
    """One group of clients in one round."""

    participants: int = Field(ge=0)
    loss: float | None = None
    """Mean loss of its clients while training; ``None`` with fewer than two of them."""
    accuracy: float | None = None
    """Share of its clients' rows that were classified correctly while training; ``None`` with fewer than two."""


class Round(Record):
    """One finished round, as the worker reported it when it was over."""

    round: int = Field(ge=1)
    participants: int = Field(ge=0)
    """Clients whose update went into the round."""
    dropped: int = Field(default=0, ge=0)
    """Clients that were asked and did not answer."""
    failed: int = Field(default=0, ge=0)
    """Clients whose update was not finite and was left out."""
    loss: float | None = None
    """Mean training loss of the participants; ``None`` where none took part."""
    accuracy: float | None = None
    """Share of the participants' rows that were classified correctly while training."""
    l2_clip_norm: float | None = None
    """Norm that updates were clipped to in this round."""
    seconds: float | None = None
    groups: dict[str, GroupRound] = Field(default={})
    """By number of the group."""


class ClientGroup(Record):
    """Clients of about the same size, in numbers."""

    name: str
    clients: int = Field(ge=0)
    rows: int = Field(ge=0)


class Federation(Record):
    """Clients and rounds of one training."""

    schema_version: Literal[1] = 1
    described: str
    """What a client is: the values of a column, or simulated."""
    column: str | None = None
    """The raw column whose values are the clients; ``None``: rows were dealt out to simulate clients."""
    simulated: bool
    """Whether the clients were made up here, so that numbers about them say nothing about real ones."""
    num_clients: int = Field(ge=1)
    empty_clients: int = Field(ge=0)
    smallest: int = Field(ge=0)
    """Rows of the smallest client."""
    median: float = Field(ge=0.0)
    largest: int = Field(ge=0)
    label_skew: float = Field(ge=0.0, le=1.0)
    """Mean total variation distance between a client's labels and everybody's, weighted by rows: 0 alike, 1 apart."""
    groups: tuple[ClientGroup, ...]
    rounds: tuple[Round, ...]
    request: Digest
    """Of the request that the worker answered."""
    environment: dict[str, str]
    """Versions in the worker's environment."""


class FederationFacts(Record):
    """How a model was trained over clients, in the words of its card: settings as executed, and what they promise."""

    clients: str
    """What a client is: the values of a column, or simulated."""
    simulated: bool
    """Whether rows were dealt out to made-up clients."""
    num_clients: int = Field(ge=1)
    clients_per_round: float = Field(gt=0.0)
    """Clients that were asked in a round; under Poisson sampling, the expected number."""
    sampling: str
    rounds: int = Field(ge=0)
    """Rounds that were executed."""
    algorithm: str
    """``fedavg``, ``fedprox``, ``fedadam`` or ``fedsgd``."""
    server: str
    """What the server does with the mean of the updates."""
    local: str
    """What a client does in a round."""
    compression: str
    secure_aggregation: Literal["none", "simulated"]
    threat_model: str
    """Whom the aggregation hides a client's update from, and on which assumptions."""
    preprocessing: str
    """What the constants of the transform rest on: public facts, noisy statistics, or pooled rows."""
    separate: tuple[str, ...]
    """What was really separate for each client."""
    together: tuple[str, ...]
    """What a federation of separate owners would have done elsewhere or otherwise."""


def size_groups(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Returns the position in :data:`SIZE_GROUPS` of each client: thirds by rows, ties in order of their numbers."""
    import numpy as np

    ranks = np.empty(len(sizes), np.int64)
    ranks[np.argsort(sizes, kind="stable")] = np.arange(len(sizes))
    groups: npt.NDArray[np.int64] = ranks * len(SIZE_GROUPS) // len(sizes)
    return groups
