"""TLS on both wires: who has the right certificate is let in, and nobody else."""

import pytest

from probity.errors import ConfigError
from probity.platform.serving import Client
from probity.platform.serving.client import ClientTls
from probity.platform.serving.options import ModelSource, ServerOptions, Tls
from probity.platform.serving.server import EmbeddedServer
from probity.platform.serving.status import Code, ServingError
from probity.platform.serving.tls import (
    channel_credentials,
    client_context,
    read_client_tls,
    server_credentials,
    tls_of,
)
from tests.platform.certificates import Authority

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


def test_what_grpc_would_only_find_out_with_the_first_client_is_an_error_of_the_arguments():
    (key, _), (_, cert) = OURS.issue("one"), OURS.issue("two")
    with pytest.raises(ConfigError, match="--ssl-config-file"):
        server_credentials(Tls(server_key=key, server_cert=cert))
    key_of_it, cert_of_it = OURS.issue("three")
    with pytest.raises(ConfigError, match="custom_ca"):
        server_credentials(Tls(server_key=key_of_it, server_cert=cert_of_it, client_verify=True))
    for tls in (ClientTls(ca="no PEM"), ClientTls(ca=""), ClientTls(key=key, cert=cert), ClientTls(key=key)):
        for made in (client_context, channel_credentials):
            with pytest.raises(ConfigError, match="ClientTls") as caught:
                made(tls)
            assert "PRIVATE" not in str(caught.value)
    assert key not in repr(ClientTls(key=key, cert=cert))


def test_the_files_of_a_client_are_read_and_named(tmp_path):
    (key, cert), paths = OURS.issue("client"), {}
    for name, text in {"ca": OURS.cert, "key": key, "cert": cert, "broken": "no PEM"}.items():
        paths[name] = tmp_path / f"{name}.pem"
        paths[name].write_text(text)
    assert read_client_tls(None) is None
    found = read_client_tls(paths["ca"], cert=paths["cert"], key=paths["key"])
    assert found == ClientTls(ca=OURS.cert, key=key, cert=cert)
    for arguments, option in (
        ({"ca": paths["broken"]}, "--server-ca"),
        ({"ca": tmp_path / "absent"}, "--server-ca"),
        ({"ca": paths["ca"], "cert": paths["cert"]}, "--server-cert"),
        ({"ca": paths["ca"], "cert": paths["ca"], "key": paths["key"]}, "--server-cert"),
        ({"ca": None, "key": tmp_path / "absent"}, "--server-key"),
    ):
        with pytest.raises(ConfigError, match=option):
            read_client_tls(arguments.pop("ca"), **arguments)


def test_certificates_for_an_address_in_clear_are_refused():
    ours = ClientTls(ca=OURS.cert)
    assert tls_of("http://host:1", None, option="--server") is None
    assert tls_of("host:1", None, option="--grpc-server") is None
    assert tls_of("https://host:1", None, option="--server") == ClientTls()  # whom this machine trusts
    assert tls_of("https://host:1", ours, option="--server") is ours
    for address in ("http://127.0.0.1:1", "127.0.0.1:1", "http://[::1]:1", "localhost:1"):
        assert tls_of(address, ours, option="--server") is None
    for address in ("http://host:1", "host:1", "127.0.0.1.example.org:1"):
        with pytest.raises(ConfigError, match="--server"):
            tls_of(address, ours, option="--server")
