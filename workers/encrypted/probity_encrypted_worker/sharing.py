"""The protocols, and what TF Encrypted leaves open about them: fresh keys, where shares lie, who may put them together.

ABY3 (Mohassel & Rindal 2018) and SecureNN (Wagh, Gupta & Chandran 2019) compute with three servers, Pond (after SPDZ,
Damgard et al. 2012) with two and a third that deals multiplication triples. All three are secure against one corrupt
server that follows the protocol (semi-honest, honest majority).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from probity_encrypted_worker.refusal import Refusal

__all__ = ["PROTOCOLS", "choose", "devices_of", "gathered", "reveal_to", "shared_weights", "tracing"]

PROTOCOLS = ("aby3", "pond", "securenn")


def choose(name: str, *, precision: int) -> Any:
    """Makes a protocol TF Encrypted's current one, and returns it.

    Args:
        name: One of :data:`PROTOCOLS`.
        precision: Bits of a share: 64, or 128 with ABY3.

    Raises:
        Refusal: With the code ``settings``, if there is no such combination.
    """
    import tf_encrypted as tfe

    if name not in PROTOCOLS or precision not in (64, 128) or (precision == 128 and name != "aby3"):
        raise Refusal(
            "settings",
            "protocol and precision",
            seen=f"{name} with {precision} bits",
            allowed="aby3 with 64 or 128, pond or securenn with 64",
            remedy="choose one of these; TF Encrypted's other protocols have no 128-bit shares",
        )
    kinds = {"aby3": tfe.protocol.ABY3, "pond": tfe.protocol.Pond, "securenn": tfe.protocol.SecureNN}
    protocol = kinds[name](fixedpoint_config="h" if precision == 128 else "l")
    if name == "aby3":
        tfe.protocol.aby3.aby3._carry_computation = _carry
    tfe.set_protocol(protocol)
    return protocol


def _carry(protocol: Any, x: Any, y: Any, pos: int) -> Any:
    """Returns the carry into a position of the sum of two Boolean-shared numbers (Kogge & Stone 1973).

    TF Encrypted's own computes the two products of a level apart; here they are one, in half as many messages.
    """
    from tf_encrypted.tensor import factories

    bits = 1 << pos.bit_length()
    shift = bits - pos - 1
    if shift:
        x, y = x << shift, y << shift
    if bits != x.backing_dtype.nbits:
        x, y = x.cast(factories[bits]), y.cast(factories[bits])
    both = protocol.stack([x & y, x ^ y], axis=0)  # generate, propagate
    while bits > 1:
        bits //= 2
        halves = protocol.bit_split_and_gather(both, 2).cast(factories[bits])
        low, high = halves[0], halves[1]
        products = low & protocol.stack([high[1], high[1]], axis=0)
        both = protocol.stack([high[0] ^ products[0], products[1]], axis=0)
    one = protocol.define_constant(1, apply_scaling=False, factory=both.backing_dtype)
    found = both[0] & one
    found.is_scaled = False
    return found


@contextmanager
def tracing(protocol: Any) -> Iterator[None]:
    """Everything a compiled function computes on shares must be traced inside this.

    Guarantees: each execution of the function draws new pairwise keys. ABY3 masks every product with numbers that two
    servers derive from a common key and a counter; TF Encrypted advances that counter in Python, that is once per
    *trace*. A compiled training step would mask step after step with the same numbers, and the server that receives two
    such products learns their difference. Here the keys themselves are operations of the graph.
    """
    from tf_encrypted.protocol.protocol import nodes

    kept = {name: value for name, value in vars(protocol).items() if "_keys_" in name or name.endswith("_nonces_")}
    # Nodes that are remembered from another graph cannot be used in this one.
    nodes.clear()
    if hasattr(protocol, "initialize_keys"):
        protocol.initialize_keys()
    try:
        yield
    finally:
        vars(protocol).update(kept)
        nodes.clear()


def devices_of(config: Any) -> dict[str, str]:
    """Returns the device of each party, by name."""
    return {player.name: player.device_name for player in config.players}


def shared_weights(protocol: Any, devices: Mapping[str, str], model: Any) -> list[tuple[str, Any, Any]]:
    """Returns server, its device, and a variable that it holds, for all shares of a model's weights."""
    return [
        (server, devices[server], variable)
        for layer in model.layers
        for private in layer.weights
        for server, variable in _share_variables(protocol, private)
    ]


def reveal_to(protocol: Any, player: Any, private: Any) -> Any:
    """Puts shares together at one player, and returns the value, a tensor on its device.

    TF Encrypted's own ``reveal`` puts them together at every server.
    """
    import tensorflow as tf

    found: list[Any] = []
    protocol.define_local_computation(player, found.append, arguments=[private])
    with tf.device(player.device_name):
        return tf.identity(found[0])


def gathered(protocol: Any, private: Any, positions: Any) -> Any:
    """Returns shares of some rows of a private value, taken by each server from its own shares of all of them.

    TF Encrypted's own ``gather`` has no 128-bit shares.
    """
    import tensorflow as tf
    import tf_encrypted as tfe

    if not hasattr(protocol, "servers"):
        return tfe.gather(private, positions, axis=0)
    shares: list[list[Any]] = []
    for server, pair in zip(protocol.servers, private.unwrapped, strict=True):
        with tf.device(server.device_name):
            shares.append([share.factory.tensor(tf.gather(share.value, positions), encode=False) for share in pair])
    return type(private)(protocol, shares, private.is_scaled, private.share_type)


def _share_variables(protocol: Any, private: Any) -> list[tuple[str, Any]]:
    """Returns the TensorFlow variables that hold a private variable, each with the name of the server that holds it."""
    if hasattr(protocol, "servers"):
        return [
            (server.name, share.variable)
            for server, pair in zip(protocol.servers, private.unwrapped, strict=True)
            for share in pair
        ]
    return [
        (protocol.server_0.name, private.variable0.variable),
        (protocol.server_1.name, private.variable1.variable),
    ]
