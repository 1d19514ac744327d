"""TLS of both wires and both ends: what was asked, as the objects that ``ssl`` and gRPC take.

REST and gRPC have an implementation of TLS each. Both are given the same key, certificate and authorities here, and
what one of them would only find out with the first connection is an error of the arguments.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from probity.errors import ConfigError
from probity.platform.serving.options import Tls

__all__ = [
    "ClientTls",
    "channel_credentials",
    "client_context",
    "read_client_tls",
    "server_context",
    "server_credentials",
    "tls_of",
]

_SERVER = "--ssl-config-file"
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """TLS of a client (PEM texts).

    Attributes:
        ca: Certificates that signed the server's; ``None``: those that this machine trusts.
        key: The client's private key, where the server wants to know its clients.
        cert: Its certificate.
    """

    ca: str | None = None
    key: str | None = field(default=None, repr=False)
    cert: str | None = None


def server_context(tls: Tls) -> ssl.SSLContext:
    """Returns what a server of REST takes: TLS 1.2 or above.

    Raises:
        ConfigError: If a text is no PEM, or key and certificate do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, tls.server_cert, tls.server_key, argument=_SERVER)
    if tls.client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
        with _readable(_SERVER, seen="a custom_ca that is no certificate"):
            context.load_verify_locations(cadata=tls.custom_ca)
    return context


def server_credentials(tls: Tls) -> Any:
    """Returns the same for gRPC.

    Raises:
        ConfigError: As :func:`server_context`; gRPC itself would listen and then refuse every client.
    """
    import grpc

    server_context(tls)
    return grpc.ssl_server_credentials(
        [(tls.server_key.encode(), tls.server_cert.encode())],
        root_certificates=tls.custom_ca.encode() or None,
        require_client_auth=tls.client_verify,
    )


def client_context(
    tls: ClientTls, *, arguments: tuple[str, str] = ("ClientTls.ca", "ClientTls.cert")
) -> ssl.SSLContext:
    """Returns what a client of REST takes; it wants the server's certificate to be signed, and for its address.

    Args:
        tls: What was asked.
        arguments: What messages call its authorities and its own certificate.

    Raises:
        ConfigError: If a text is no PEM, or there is a key without its certificate, or the other way round.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.ca is None:
        context.load_default_certs()
    else:
        with _readable(arguments[0], seen="no certificate"):
            context.load_verify_locations(cadata=tls.ca)
    if (tls.key is None) != (tls.cert is None):
        raise ConfigError(
            arguments[1],
            seen="a private key without its certificate, or the other way round",
            allowed="both, where the server verifies its clients, or neither",
            remedy="give the other one too",
        )
    if tls.cert is not None and tls.key is not None:
        _load_pair(context, tls.cert, tls.key, argument=arguments[1])
    return context


def channel_credentials(tls: ClientTls) -> Any:
    """Returns the same for gRPC.

    Raises:
        ConfigError: As :func:`client_context`; gRPC itself would only say that nobody answers.
    """
    import grpc

    client_context(tls)
    return grpc.ssl_channel_credentials(
        None if tls.ca is None else tls.ca.encode(),
        private_key=None if tls.key is None else tls.key.encode(),
        certificate_chain=None if tls.cert is None else tls.cert.encode(),
    )


def read_client_tls(ca: Path | None, *, cert: Path | None = None, key: Path | None = None) -> ClientTls | None:
    """Reads the PEM files of ``--server-ca``, ``--server-cert`` and ``--server-key``; ``None`` if there is none.

    Raises:
        ConfigError: If one cannot be read, or as :func:`client_context`.
    """
    if ca is None and cert is None and key is None:
        return None
    found = ClientTls(
        ca=_text(ca, option="--server-ca"),
        cert=_text(cert, option="--server-cert"),
        key=_text(key, option="--server-key"),
    )
    client_context(found, arguments=("--server-ca", "--server-cert"))
    return found


def tls_of(address: str, tls: ClientTls | None, *, option: str) -> ClientTls | None:
    """Returns how to speak to a server: ``None`` in clear, else as was asked, by default as this machine trusts.

    Args:
        address: With ``https://`` for TLS.
        tls: What was asked.
        option: What messages call the address.

    Raises:
        ConfigError: If certificates are given for an address in clear on another machine: whoever gives them expects
            to be protected. On this machine TensorFlow Serving's REST port may be in clear beside its gRPC port.
    """
    if address.startswith("https://"):
        return tls or ClientTls()
    if tls is None or urlsplit(address if "://" in address else f"//{address}").hostname in _THIS_MACHINE:
        return None
    raise ConfigError(
        option,
        seen="an address of another machine in clear, and certificates to speak TLS with",
        allowed="an address that begins with https://",
        remedy="write https:// before host and port, or leave --server-ca, --server-cert and --server-key out",
    )


def _load_pair(context: ssl.SSLContext, cert: str, key: str, *, argument: str) -> None:
    with tempfile.TemporaryDirectory(prefix="probity-tls-") as folder:  # mode 0700; ssl reads keys from files only
        Path(folder, "cert.pem").write_text(cert, encoding="utf-8")
        Path(folder, "key.pem").write_text(key, encoding="utf-8")
        with _readable(argument, seen="a key and a certificate that do not belong together, or are no PEM"):
            context.load_cert_chain(Path(folder, "cert.pem"), Path(folder, "key.pem"), password="")


@contextlib.contextmanager
def _readable(argument: str, *, seen: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: a text that is not ASCII
        raise ConfigError(
            argument,
            seen=seen,
            allowed="PEM texts, the private key without a passphrase",
            remedy="mend the file",
        ) from error


def _text(path: Path | None, *, option: str) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            option, seen="a file that cannot be read", allowed="a readable PEM file", remedy="name another file"
        ) from error
