"""Who takes part: three servers, the data owners, and the model owner, who builds the graph for all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from probity_encrypted_worker.refusal import Refusal

__all__ = [
    "MODEL_OWNER",
    "SERVERS",
    "TASK_JOB",
    "Cast",
    "join",
    "require_loopback",
    "settle_threads",
    "split_address",
]

SERVERS = ("server0", "server1", "server2")
"""The three servers, in the order in which the protocols number them."""
MODEL_OWNER = "model_owner"
"""Who gets the weights. Its process is the one that builds the graph and drives the others."""

TASK_JOB = "tfe"
"""TensorFlow's name for the parties that are processes of their own; their order is that of the tasks."""


@dataclass(frozen=True)
class Cast:
    """The parties of one computation.

    Attributes:
        data_owners: Names of the data owners, in the order in which their rows or columns are joined; may be empty.
        addresses: ``host:port`` of each server and data owner; empty: one process simulates all parties.
        tunnelled: Parties whose address is the near end of a mutually authenticated tunnel, as their operator declared.
    """

    data_owners: tuple[str, ...] = ()
    addresses: Mapping[str, str] | None = None
    tunnelled: tuple[str, ...] = ()

    @property
    def remote(self) -> tuple[str, ...]:
        """Names of the parties that are processes of their own, in the order of the cluster's tasks."""
        return () if self.addresses is None else (*SERVERS, *self.data_owners)

    def address(self, name: str) -> str:
        """Returns the address of a party that is a process of its own."""
        return (self.addresses or {})[name]

    def require_sound(self) -> None:
        """Raises unless every party has an address of its own, on loopback or behind a declared tunnel.

        Raises:
            Refusal: With the code ``parties``.
        """
        if self.addresses is None:
            return
        missing = [name for name in self.remote if name not in self.addresses]
        if missing:
            raise _wrong(missing[0], seen="it has no address", allowed="one host:port per server and data owner")
        owner_of: dict[tuple[str, int], str] = {}
        for name in self.remote:
            host, port = split_address(name, self.addresses[name])
            if name not in self.tunnelled:
                require_loopback(name, host)
            endpoint = ("127.0.0.1" if host == "localhost" else host, port)
            if endpoint in owner_of:
                raise _wrong(
                    name,
                    seen=f"it has the same address as {owner_of[endpoint]}",
                    allowed="an address of its own: two parties in one process could put their shares together",
                )
            owner_of[endpoint] = name


def split_address(name: str, address: str) -> tuple[str, int]:
    """Returns host and port of ``host:port``."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise _wrong(name, seen="its address is not of the form host:port", allowed="for example 127.0.0.1:4440")
    return host.strip("[]"), int(port)


def require_loopback(name: str, host: str) -> None:
    """Raises unless a host is this machine's loopback.

    TensorFlow's connections between parties are neither encrypted nor authenticated, and whoever reaches a party's port
    can run any graph on it.
    """
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise _wrong(
            name,
            seen="its address is not a loopback address, and no tunnel is declared",
            allowed="127.0.0.1, ::1, localhost, or the near end of a mutually authenticated tunnel with tunnel: true",
        )


def join(cast: Cast) -> Any:
    """Makes TensorFlow and TF Encrypted know the parties, and returns TF Encrypted's configuration.

    Guarantees: the model owner's device is this process; no other party's device is, when the parties are remote.

    Raises:
        Refusal: If the cast is not sound.
    """
    import tensorflow as tf
    import tf_encrypted as tfe

    cast.require_sound()
    if cast.addresses is None:
        config = tfe.LocalConfig([*SERVERS, *cast.data_owners, MODEL_OWNER], auto_add_unknown_players=False)
    else:
        hosts = OrderedDict((name, cast.address(name)) for name in cast.remote)
        config = tfe.RemoteConfig(hosts, job_name=TASK_JOB)
        tf.config.experimental_connect_to_host(list(hosts.values()), job_name=TASK_JOB)
        config._players[MODEL_OWNER] = tfe.player.Player(
            name=MODEL_OWNER,
            index=len(hosts),
            device_name="/job:localhost/replica:0/task:0/device:CPU:0",
        )
    tfe.set_config(config)
    return config


def settle_threads() -> None:
    """Has this process execute many operations at a time, each in one thread.

    Operations on shares are many and small; in one process, threads within one take a fifth longer on two cores. To be
    called before TF Encrypted is imported, which starts TensorFlow.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)


def _wrong(name: str, *, seen: str, allowed: str) -> Refusal:
    return Refusal("parties", f"party {name}", seen=seen, allowed=allowed, remedy="mend the parties file")
