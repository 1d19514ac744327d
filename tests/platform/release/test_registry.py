"""MLflow's registry mirrors the history: versions, champion, challenger; and makes up for what it missed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from probity.digest import digest_bytes
from probity.errors import TrackingError
from probity.history import Promoted, RolledBack, StageEntered
from probity.platform.release.history import add_event
from probity.platform.release.project import Project
from probity.platform.release.registry import mirror
from probity.platform.tracking import default_uri
from probity.platform.tracking_store import open_client, quiet
from tests.platform.conftest import make_config

AT = datetime(2026, 1, 2, tzinfo=UTC).isoformat()
ONE, TWO = digest_bytes(b"one"), digest_bytes(b"two")


@pytest.mark.heavy
def test_what_was_live_is_mirrored_once_and_the_aliases_follow(tmp_path):
    project = Project(config=make_config(), root=tmp_path)
    keys = project.keys()

    def tell(event, model):
        add_event(project.base_path, "m", event, model=model, keys=keys.trusted, signer=keys.signer)

    def look():
        mirror(project, workspace=tmp_path)
        with quiet():
            client = open_client(default_uri(tmp_path))
            found = client.search_model_versions("name = 'm'")
            versions = {int(entry.tags["probity.version"]): entry for entry in found}
            aliases = client.get_registered_model("m").aliases
        numbers = {str(entry.version): version for version, entry in versions.items()}
        return versions, {alias: numbers[str(number)] for alias, number in aliases.items()}

    mirror(project, workspace=tmp_path)  # nothing has happened yet
    tell(Promoted(at=AT, by="a", run="r1", version=5, number="1.0.0", claims=ONE), ONE)
    tell(Promoted(at=AT, by="a", run="r2", version=7, number="1.0.1", claims=TWO), TWO)
    versions, aliases = look()
    assert set(versions) == {5, 7}
    assert aliases == {"champion": 7}
    assert versions[7].tags["probity.model"] == TWO
    assert versions[7].tags["probity.release"] == "1.0.1"
    for end in ("completed", "stopped", "rolled_back"):
        tell(StageEntered(at=AT, by="a", version=7, stage="10%", incumbent=5), TWO)
        assert look()[1] == {"champion": 5, "challenger": 7}
        tell(StageEntered(at=AT, by="a", version=7, stage=end, incumbent=5), TWO)
        assert look()[1] == {"champion": 7}
    tell(RolledBack(at=AT, by="a", run="r1", version=9, restores=5, replaces=7, claims=ONE), ONE)
    versions, aliases = look()
    assert set(versions) == {5, 7, 9}
    assert aliases == {"champion": 9}
    assert set(look()[0]) == {5, 7, 9}


def test_a_registry_that_cannot_be_reached_is_one_message(tmp_path):
    project = Project(config=make_config(tracking={"uri": "nowhere://user:secret@host"}), root=tmp_path)
    keys = project.keys()
    event = Promoted(at=AT, by="a", run="r1", version=5, claims=ONE)
    add_event(project.base_path, "m", event, model=ONE, keys=keys.trusted, signer=keys.signer)
    with pytest.raises(TrackingError) as caught:
        mirror(project, workspace=tmp_path)
    assert "secret" not in str(caught.value)
