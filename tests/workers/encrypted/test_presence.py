"""Who answers at an address: another party, or one process for two, is refused before anything is computed."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from probity_encrypted_worker.cast import Cast
from probity_encrypted_worker.presence import require_identities
from probity_encrypted_worker.refusal import Refusal

HERE = SimpleNamespace(get_player=lambda name: SimpleNamespace(device_name="/CPU:0"))
"""Every party's device is this process."""
CAST = Cast(addresses={name: f"127.0.0.1:{4440 + i}" for i, name in enumerate(("server0", "server1", "server2"))})


@pytest.fixture
def called_server0():
    """A party's process has its party's name."""
    name = Path("/proc/self/comm")
    before = name.read_text()
    name.write_text("server0")
    yield
    name.write_text(before)


def test_the_process_of_another_party_is_refused():
    with pytest.raises(Refusal, match="party server0: the process at its address is another party or none"):
        require_identities(CAST, HERE)


def test_a_party_that_is_another_ones_process_is_refused(called_server0):
    with pytest.raises(Refusal, match="party server0: it is the same process as the model owner"):
        require_identities(CAST, HERE)
