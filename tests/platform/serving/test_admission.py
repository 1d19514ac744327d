"""No way from an unsigned, changed, renamed or foreign version into a server."""

import os
import shutil

import pytest

from probity.digest import digest_tree
from probity.errors import SignatureError
from probity.platform.release.keys import create_release_key, keys_in
from probity.platform.release.push import push
from probity.platform.serving import Client
from probity.platform.serving.admission import admission, admit_any, admit_verified
from probity.platform.serving.catalogue import State
from probity.platform.serving.options import ModelSource, ServerOptions
from probity.platform.serving.server import EmbeddedServer
from probity.platform.serving.status import Code, ServingError
from tests.platform.release.candidates import Candidate, decide, keys_at, make_card
from tests.platform.serving.toy_models import half_plus

EXTRA = "assets.extra/probity"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A serving folder with one released toy model, and the folder of its keys."""
    root = tmp_path_factory.mktemp("released")
    keys = keys_at(root)
    candidate = Candidate(root / "run")
    shutil.rmtree(candidate.model)
    half_plus(candidate.model, plus=3.0)
    make_card(candidate.card, model=digest_tree(candidate.model))
    candidate.decision = decide(candidate.model, candidate.card)
    release = push(candidate.model, **candidate.push_arguments(base_path=root / "serving", keys=keys))
    return root / "serving" / "m" / str(release.version), root / "keys"


@pytest.fixture
def version(released, tmp_path):
    """A copy of the released version, to be spoilt."""
    return shutil.copytree(released[0], tmp_path / "serving" / "m" / released[0].name)


@pytest.fixture
def admit(released):
    return admit_verified(keys_in([released[1]]))


def refused(admit, path, place):
    with pytest.raises(ServingError) as caught:
        admit(path, place)
    return caught.value.code


def test_a_released_version_is_admitted_from_a_copy(version, admit, tmp_path):
    place = tmp_path / "copies" / "m" / version.name
    assert admit(version, place) == place
    (version / "saved_model.pb").write_bytes(b"changed after the check")
    assert (place / "saved_model.pb").read_bytes() != b"changed after the check"


def change_a_byte(version):
    path = version / "saved_model.pb"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_weights_by_a_link(version):
    path = version / "variables" / "variables.index"
    outside = version.parent.parent / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


@pytest.mark.parametrize(
    "spoil",
    [
        change_a_byte,
        replace_weights_by_a_link,
        lambda version: os.unlink(version / EXTRA / "claims.jsonl"),
        lambda version: os.unlink(version / EXTRA / "RELEASE.json"),
        lambda version: (version / EXTRA / "RELEASE.json").write_text("{}"),
        lambda version: (version / "more").write_text("x"),
        lambda version: shutil.rmtree(version / EXTRA),
    ],
    ids=["a byte", "a link", "no claims", "no record", "a poisoned record", "one file more", "no evidence"],
)
def test_a_spoilt_version_is_refused(version, admit, tmp_path, spoil):
    spoil(version)
    assert refused(admit, version, tmp_path / "copies" / "m" / version.name) is Code.FAILED_PRECONDITION


@pytest.mark.parametrize("place", ["m/7", "other/{number}"], ids=["another number", "another model"])
def test_a_copy_under_another_name_is_refused(version, admit, tmp_path, place):
    target = tmp_path / "copies" / place.format(number=version.name)
    assert refused(admit, version, target) is Code.FAILED_PRECONDITION


def test_a_version_signed_by_somebody_else_is_refused(version, tmp_path):
    create_release_key(tmp_path / "keys" / "release.pem")
    admit = admit_verified(keys_in([tmp_path / "keys"]))
    assert refused(admit, version, tmp_path / "copies" / "m" / version.name) is Code.FAILED_PRECONDITION


def test_a_version_that_vanishes_is_unavailable(admit, tmp_path):
    assert refused(admit, tmp_path / "none", tmp_path / "copies" / "m" / "1") is Code.UNAVAILABLE


def test_verification_is_the_default_and_needs_a_key(tmp_path):
    with pytest.raises(SignatureError):
        admission(ServerOptions(models=(), trusted_keys=(tmp_path,)))
    assert admission(ServerOptions(models=(), require_verified=False)) is admit_any


def test_the_server_goes_on_with_the_version_that_verifies(released, version):
    number = int(version.name)
    newer = shutil.copytree(version, version.parent / str(number + 1))  # a released version under a higher number
    unsigned = version.parent / str(number + 2)
    half_plus(unsigned, plus=9.0)
    options = ServerOptions(
        models=(ModelSource(name="m", base_path=version.parent),),
        port=None,
        rest_api_port=0,
        trusted_keys=(released[1],),
        poll_seconds=60.0,
    )
    with EmbeddedServer(options) as server, Client(rest_api_port=server.rest_api_port) as client:
        assert client.predict("m", {"x": [2.0]}).output.tolist() == [4.0]
        statuses = client.status("m")
        assert statuses[number].state is State.AVAILABLE
        for path in (newer, unsigned):
            assert statuses[int(path.name)].code is Code.FAILED_PRECONDITION
        shutil.rmtree(version)  # what is loaded needs no file any more; nothing else may take its place
        server.look()
        with pytest.raises(ServingError) as caught:
            client.predict("m", {"x": [2.0]})
        assert caught.value.code is Code.NOT_FOUND
