"""Which clients take part in a round."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from probity_federated_worker.request import Request

__all__ = ["Participation", "max_participations", "participants", "row_order"]

_SAMPLING, _AVAILABILITY, _ORDER, _PASS = range(4)


@dataclass(frozen=True, kw_only=True)
class Participation:
    """The clients of a round, by position.

    Attributes:
        chosen: Those that train.
        dropped: How many were sampled and do not train: offline, or without a row.
    """

    chosen: tuple[int, ...]
    dropped: int


def participants(request: Request, *, seed: int, round_number: int) -> Participation:
    """Returns who takes part in a round.

    Guarantees: without privacy and with ``each_once_per_pass`` the answer depends on seed and round alone, so that a
    round can be repeated. Under privacy, Poisson sampling draws each client on its own with exactly ``sampling_prob``
    from the operating system's entropy: the amplification it is credited with needs a sample that nobody can predict.

    Args:
        request: The training.
        seed: Of the request.
        round_number: From 1.
    """
    secret = request.privacy is not None and request.sampling == "poisson" and request.privacy.noise_seed is None
    entropy = int.from_bytes(os.urandom(32), "big") if secret else None
    generator = np.random.default_rng(_key(seed, _SAMPLING, round_number) if entropy is None else entropy)
    sampled = _sampled(request, generator, seed, round_number)
    online = np.random.default_rng(_key(seed, _AVAILABILITY, round_number)).random(len(sampled)) < request.availability
    chosen = tuple(
        int(client)
        for client, there in zip(sampled, online, strict=True)
        if there and request.clients[client].num_examples
    )
    return Participation(chosen=chosen, dropped=len(sampled) - len(chosen))


def max_participations(request: Request, *, rounds: int) -> int:
    """Returns in how many of so many rounds one client can take part at most."""
    if request.sampling != "each_once_per_pass":
        return rounds
    return -(-rounds // _rounds_per_pass(request))


def row_order(num_examples: int, *, seed: int, round_number: int, client: int) -> np.ndarray:
    """Returns the order in which a client uses its rows in a round."""
    return np.random.default_rng([*_key(seed, _ORDER, round_number), client]).permutation(num_examples)


def _sampled(request: Request, generator: np.random.Generator, seed: int, round_number: int) -> np.ndarray:
    count = len(request.clients)
    if request.sampling == "poisson":
        return np.flatnonzero(generator.random(count) < request.sampling_prob)
    if request.sampling == "uniform_without_replacement":
        return np.sort(generator.choice(count, request.clients_per_round, replace=False))
    number, position = divmod(round_number - 1, _rounds_per_pass(request))
    order = np.random.default_rng(_key(seed, _PASS, number)).permutation(count)
    return order[position * request.clients_per_round :][: request.clients_per_round]


def _rounds_per_pass(request: Request) -> int:
    return -(-len(request.clients) // request.clients_per_round)


def _key(seed: int, purpose: int, number: int) -> list[int]:
    return [seed % 2**64, purpose, number]
