"""What of the encrypted worker needs no environment of its own: addresses, files, layers, the sigmoid, the fence."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from probity_encrypted_worker.cast import Cast, split_address
from probity_encrypted_worker.layers import dense_stack
from probity_encrypted_worker.partyfile import PartyFile
from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.rowsfile import FILE, MISSING_FILE, NOT_PARQUET, READABLE, _describe, _read
from probity_encrypted_worker.sigmoid import pieces
from pyarrow import parquet

WORKER = Path(__file__).parents[3] / "workers" / "encrypted"
ADDRESSES = {name: f"127.0.0.1:{4440 + i}" for i, name in enumerate(("server0", "server1", "server2", "owner0"))}


def cast(**changes):
    return Cast(data_owners=("owner0",), addresses={**ADDRESSES, **changes})


def test_the_approximate_sigmoid_is_odd_continuous_and_close():
    bends, lines = pieces()
    x = np.linspace(-12, 12, 20_001)
    chosen = np.searchsorted(bends, x)
    found = np.array([sum(c * value**power for power, c in enumerate(lines[i])) for value, i in zip(x, chosen)])  # noqa: B905
    assert np.abs(found - 1 / (1 + np.exp(-x))).max() < 0.0053
    assert np.abs(np.diff(found)).max() < 0.001
    np.testing.assert_allclose(found + found[::-1], 1.0, atol=1e-12)


def test_loopback_addresses_of_their_own_are_sound():
    cast().require_sound()
    cast(server0="[::1]:4440", server1="localhost:4441").require_sound()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"server1": "192.0.2.7:4441"}, "not a loopback address, and no tunnel is declared"),
        ({"server1": "example.org:4441"}, "not a loopback address"),
        ({"server1": "0.0.0.0:4441"}, "not a loopback address"),
        ({"server1": "127.0.0.1:4440"}, "the same address as server0"),
        ({"server1": "localhost:4440"}, "the same address as server0"),
        ({"server1": "4441"}, "not of the form host:port"),
        ({"server1": "127.0.0.1:0"}, "not of the form host:port"),
    ],
)
def test_addresses_that_others_could_reach_or_that_are_shared_are_refused(changes, said):
    with pytest.raises(Refusal, match=said) as raised:
        cast(**changes).require_sound()
    assert raised.value.code == "parties"


def test_a_declared_tunnel_may_end_elsewhere():
    Cast(data_owners=(), addresses={**ADDRESSES, "server1": "192.0.2.7:4441"}, tunnelled=("server1",)).require_sound()


def test_a_missing_server_is_named():
    with pytest.raises(Refusal, match="party server2"):
        Cast(addresses={name: ADDRESSES[name] for name in ("server0", "server1")}).require_sound()


def test_addresses_are_split_with_brackets_taken_off():
    assert split_address("server0", "[::1]:4440") == ("::1", 4440)


def test_a_parties_file_gives_roles_folders_and_tunnels(tmp_path):
    path = tmp_path / "parties.yaml"
    entries = {name: {"address": address} for name, address in ADDRESSES.items()}
    entries["owner0"] |= {"folder": "/srv/rows", "tunnel": True}
    path.write_text(yaml.safe_dump({"parties": entries}))
    found = PartyFile.read(path)
    assert found.cast() == Cast(data_owners=("owner0",), addresses=ADDRESSES, tunnelled=("owner0",))
    assert found.folder("owner0") == "/srv/rows"
    assert found.folder("server1") == str(tmp_path / "server1")


@pytest.mark.parametrize(
    "text", ["", "[1]", "parties: {server0: 127.0.0.1}", "parties: {server0: {address: 1, port: 2}}", "a: [", "b: {}"]
)
def test_other_files_are_refused_without_quoting_them(tmp_path, text):
    (tmp_path / "parties.yaml").write_text(text)
    with pytest.raises(Refusal, match=r"parties\.yaml"):
        PartyFile.read(tmp_path / "parties.yaml")


def architecture(*layers, kind="Sequential"):
    described = [
        {"class_name": name, "config": {"name": f"layer_{i}", "units": units, "activation": activation}}
        for i, (name, units, activation) in enumerate(layers)
    ]
    return json.dumps({"class_name": kind, "config": {"layers": described}})


def test_dense_layers_are_read_in_order():
    found = dense_stack(architecture(("Dense", 8, "relu"), ("Dense", 1, "linear")), protocol="aby3")
    assert [(layer.units, layer.activation) for layer in found] == [(8, "relu"), (1, "linear")]


@pytest.mark.parametrize(
    ("text", "protocol", "named"),
    [
        (architecture(("Conv1D", 8, "relu"), ("Dense", 1, "linear")), "aby3", r"layer_0 \(Conv1D"),
        (architecture(("Dense", 8, "relu"), ("Dense", 1, "linear")), "pond", "layer_0"),
        (architecture(("Dense", 1, "sigmoid")), "aby3", "the last layer"),
        (architecture(), "aby3", "the last layer"),
        (architecture(("Dense", 1, "linear"), kind="Functional"), "aby3", "a Functional model"),
    ],
)
def test_other_layers_are_named(text, protocol, named):
    with pytest.raises(Refusal, match=named) as raised:
        dense_stack(text, protocol=protocol)
    assert raised.value.code == "unsupported_layers"


def described(folder, *columns):
    state, rows, lacking = _describe(str(folder).encode(), np.array([name.encode() for name in columns]))
    return int(state), int(rows), list(lacking)


def test_an_owners_file_is_described_in_counts_and_names(tmp_path):
    assert described(tmp_path, "age[0]") == (MISSING_FILE, 0, [])
    (tmp_path / FILE).write_bytes(b"no table")
    assert described(tmp_path, "age[0]") == (NOT_PARQUET, 0, [])
    parquet.write_table(pa.table({"age[0]": [1.5, None], "sex": ["f", "m"], "label": [0, 1]}), tmp_path / FILE)
    assert described(tmp_path, "age[0]", "label") == (READABLE, 2, [])
    assert described(tmp_path, "sex", "age[0]", "height[0]") == (READABLE, 2, [b"sex", b"height[0]"])


def test_planned_columns_are_read_in_their_order_and_an_empty_cell_is_no_number(tmp_path):
    parquet.write_table(pa.table({"b": [3, 4], "a": [1.5, None]}), tmp_path / FILE)
    found = _read(str(tmp_path).encode(), np.array([b"a", b"b"]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1.5, 3], [np.nan, 4]])


FENCED = """
import json, socket, sys
sys.path.insert(0, sys.argv[1])
from probity_encrypted_worker.fence import fence, sent_bytes
server = socket.socket(); server.bind(("", 0)); server.listen()
other = socket.socket(); other.bind(("127.0.0.1", 0))
tied = fence()
client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
accepted, _ = server.accept()
client.sendall(b"x" * 5000)
left = 5000
while left:
    left -= len(accepted.recv(left))
device = server.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\\0").decode()
print(json.dumps([tied, device, max(sent_bytes().values())]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="SO_BINDTODEVICE is Linux's")
def test_listening_sockets_are_tied_to_loopback_and_sent_bytes_are_counted():
    ran = subprocess.run([sys.executable, "-c", FENCED, str(WORKER)], capture_output=True, text=True, check=True)
    tied, device, sent = json.loads(ran.stdout)
    assert (tied, device) == (1, "lo")
    assert 5000 <= sent <= 5001  # the first byte of a connection is its beginning
