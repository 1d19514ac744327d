"""Keeps a party's port to the loopback device, and counts what goes over its connections.

TensorFlow's gRPC server listens on all interfaces, whatever address it is given, and runs any graph that reaches it.
Linux lets a process tie a listening socket to one network device (``SO_BINDTODEVICE``, without privileges since 5.7):
from then on a connection that arrives on another device does not find the socket.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from probity_encrypted_worker.refusal import Refusal

__all__ = ["fence", "listening", "sent_bytes"]

_LOOPBACK = b"lo"
_BYTES_ACKED = 120
"""Offset of ``tcpi_bytes_acked`` in Linux's ``struct tcp_info``: bytes sent that the other side has."""
_TCP_INFO_SIZE = 192


def fence() -> int:
    """Ties every socket that this process listens on to the loopback device.

    Returns:
        The number of such sockets.

    Raises:
        Refusal: With the code ``parties``, if the system does not do that.
    """
    tied = 0
    for found in listening():
        with found:
            try:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _LOOPBACK + b"\0")
                device = found.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
            except (AttributeError, OSError) as error:
                raise _open_to_all() from error
            if device.rstrip(b"\0") != _LOOPBACK:
                raise _open_to_all()
            tied += 1
    return tied


def listening() -> Iterator[socket.socket]:
    """Yields a handle of its own for each socket that this process listens on."""
    for found in _sockets():
        with suppress(OSError):
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield found
                continue
        found.close()


def sent_bytes() -> dict[tuple[str, str], int]:
    """Returns the bytes that this process sent over each of its open connections, by local and remote endpoint."""
    sent = {}
    for found in _sockets():
        with found, suppress(OSError, struct.error):
            here, there = found.getsockname(), found.getpeername()
            information = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
            (acknowledged,) = struct.unpack_from("<Q", information, _BYTES_ACKED)
            sent[(f"{here[0]}:{here[1]}", f"{there[0]}:{there[1]}")] = int(acknowledged)
    return sent


def _sockets() -> Iterator[socket.socket]:
    for entry in os.listdir("/proc/self/fd"):
        try:
            copy = os.dup(int(entry))
        except OSError:  # the handle of the listing itself, or closed meanwhile
            continue
        try:
            found = socket.socket(fileno=copy)
        except OSError:  # no socket
            os.close(copy)
            continue
        if found.family in (socket.AF_INET, socket.AF_INET6):
            yield found
        else:
            found.close()


def _open_to_all() -> Refusal:
    return Refusal(
        "parties",
        "port of a party",
        seen="it cannot be tied to the loopback device, so that other machines could reach it",
        allowed="Linux 5.7 or newer, or an older one with CAP_NET_RAW",
        remedy="run the party where that works, or use parties: local",
    )
