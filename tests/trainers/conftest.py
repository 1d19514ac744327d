"""Made-up data that the tests of trainers share."""

import pytest

from probity.trainers.testing_world import make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))
