"""TLS on both wires: who has the right certificate is let in, and nobody else."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from probity.errors import ConfigError
from probity.platform.serving import Client
from probity.platform.serving.client import ClientTls
from probity.platform.serving.options import ModelSource, ServerOptions, Tls
from probity.platform.serving.server import EmbeddedServer
from probity.platform.serving.status import Code, ServingError


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, name):
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = self.sign(self.name, self.key.public_key(), is_authority=True)

    def sign(self, subject, public_key, *, is_authority=False):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            self.name, subject, public_key, x509.random_serial_number(), now, now + datetime.timedelta(days=1)
        )
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        signed = builder.add_extension(host, critical=False).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name):
        """Returns a key and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        plain = serialization.NoEncryption()
        text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
        return text, self.sign(subject, key.public_key())


OURS, STRANGER = Authority("ours"), Authority("stranger")


@pytest.fixture(scope="module")
def server(toy_models):
    key, cert = OURS.issue("server")
    options = ServerOptions(
        models=(ModelSource(name="m", base_path=toy_models / "half_plus_three"),),
        port=0,
        rest_api_port=0,
        require_verified=False,
        tls=Tls(server_key=key, server_cert=cert, custom_ca=OURS.cert, client_verify=True),
    )
    with EmbeddedServer(options) as running:
        yield running


def ask(server, wire, tls):
    where = {"rest_api_port": server.rest_api_port} if wire == "REST" else {"port": server.port}
    with Client("127.0.0.1", **where, tls=tls, timeout_seconds=10.0) as client:
        return client.predict("m", {"x": [1.0]}).output.tolist()


def client_tls(authority, *, ca=OURS.cert):
    key, cert = authority.issue("client")
    return ClientTls(ca=ca, key=key, cert=cert)


@pytest.mark.parametrize("wire", ["REST", "gRPC"])
def test_a_client_with_a_certificate_is_answered(server, wire):
    assert ask(server, wire, client_tls(OURS)) == [3.5]


@pytest.mark.parametrize("wire", ["REST", "gRPC"])
@pytest.mark.parametrize(
    "tls",
    [None, ClientTls(ca=OURS.cert), client_tls(STRANGER), client_tls(OURS, ca=STRANGER.cert)],
    ids=["in clear", "no certificate", "a stranger's", "a server it does not trust"],
)
def test_nobody_else_is(server, wire, tls):
    with pytest.raises(ServingError) as caught:
        ask(server, wire, tls)
    assert caught.value.code is Code.UNAVAILABLE


def test_a_key_that_is_not_the_certificates_is_an_error_of_the_arguments():
    key, _ = OURS.issue("one")
    _, cert = OURS.issue("two")
    options = ServerOptions(
        models=(), port=None, rest_api_port=0, require_verified=False, tls=Tls(server_key=key, server_cert=cert)
    )
    with pytest.raises(ConfigError, match="--ssl-config-file") as caught, EmbeddedServer(options):
        pass
    assert "PRIVATE" not in str(caught.value)
