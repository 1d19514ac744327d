"""A network of its own for the training, with nothing in it but this process and what it starts.

TensorFlow Federated executes through a server of its own (``worker_binary``). That server takes a port, listens on
every interface and asks nobody who they are; whoever reaches the port can run computations. It has no option to listen
on the loopback interface only. Linux can give a process a network namespace whose loopback interface nobody else sees.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

__all__ = ["enter_private_network"]

_CLONE_NEWNET = 0x40000000
_CLONE_NEWUSER = 0x10000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def enter_private_network() -> bool:
    """Moves this process, and all that it starts later, into a network namespace with a loopback interface.

    Sockets that are open already stay where they are. Call it before any thread is started.

    Returns:
        Whether it worked: not outside Linux, nor where the system forbids namespaces to this user.
    """
    if sys.platform != "linux":
        return False
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        # Without the right to do so directly, inside a user namespace of one's own, as the same user.
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            return False
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        except OSError:
            return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    return True
