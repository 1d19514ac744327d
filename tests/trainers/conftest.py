"""Made-up data that the tests of trainers share."""

import pytest

from probity.digest import digest_bytes
from probity.trainers.testing_world import make_world

ONLY_WEIGHTS = "test_the_seed_decides_the_weights_and_the_test_split_does_not"


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def no_export(monkeypatch):
    """Exports nothing, which is tested elsewhere and takes most of the time."""

    def export(model, *_, workdir, **__):
        return digest_bytes(str(workdir).encode())

    monkeypatch.setattr("probity.trainers.export.export", export)


@pytest.fixture(autouse=True)
def no_export_for_weights_alone(request):
    """The contract trains twice more to compare weights; what it looks at besides was exported before."""
    if request.node.originalname == ONLY_WEIGHTS:
        request.getfixturevalue("no_export")
