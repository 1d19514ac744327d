"""Which versions are live, without a server: a fleet that only remembers what it was told."""

import os
import shutil

import pytest

from probity.platform.serving.admission import admit_any
from probity.platform.serving.catalogue import State
from probity.platform.serving.options import All, Latest, ModelSource, Specific
from probity.platform.serving.status import Code, ServingError
from probity.platform.serving.watcher import VersionWatcher, present_versions


class Memory:
    """A fleet that writes down what happens; a version whose folder holds ``broken`` cannot be loaded."""

    def __init__(self):
        self.events, self.live, self.views, self.reloads = [], set(), {}, False

    def load(self, name, version, path):
        if (path / "broken").exists():
            raise ServingError(Code.DATA_LOSS, "broken")
        self.events.append(("load", name, version))
        self.live.add((name, version))

    def publish(self, views):
        for name, view in views.items():
            assert {(name, version) for version in view.available} <= self.live
            before = self.views.get(name)
            if not self.reloads and before is not None and before.available and present_versions(self.base / name):
                assert view.available, "a model that answered stopped answering"
        self.views = views
        self.events.append("publish")

    def unload(self, name, version):
        assert version not in self.views[name].available if name in self.views else True
        self.events.append(("unload", name, version))
        self.live.remove((name, version))


@pytest.fixture
def base(tmp_path):
    return tmp_path / "base"


def make_version(base, number, *, name="m", broken=False):
    folder = base / name / str(number)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"x")
    if broken:
        (folder / "broken").touch()
    return folder


def watcher_of(base, tmp_path, **source):
    fleet = Memory()
    fleet.base = base
    sources = [ModelSource(name="m", base_path=base / "m", **source)]
    return VersionWatcher(sources, fleet=fleet, admit=admit_any, copies=tmp_path / "copies"), fleet


def available(watcher, name="m"):
    return watcher.views[name].available


def test_nothing_there_is_nothing_served(base, tmp_path):
    watcher, _ = watcher_of(base, tmp_path)
    watcher.step()
    assert available(watcher) == ()


def test_only_folders_with_numbers_are_versions(base):
    make_version(base, 3)
    make_version(base, "00000123")
    for name in ("x1", "1.tmp", "-1", ".incoming-m.1"):
        (base / "m" / name).mkdir()
    (base / "m" / "7").touch()
    assert set(present_versions(base / "m")) == {3, 123}
    assert present_versions(base / "none") == {}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (Latest(), (30,)), (Latest(num_versions=2), (30, 20)), (Latest(num_versions=9), (30, 20, 10)),
        (All(), (30, 20, 10)), (Specific(versions=(10, 30, 99)), (30, 10)),
    ],
)  # fmt: skip
def test_policies(base, tmp_path, policy, served):
    for number in (10, 20, 30):
        make_version(base, number)
    watcher, _ = watcher_of(base, tmp_path, policy=policy)
    watcher.step()
    assert available(watcher) == served


def test_a_newer_version_takes_over_and_the_old_one_goes_after_that(base, tmp_path):
    make_version(base, 1)
    watcher, fleet = watcher_of(base, tmp_path)
    watcher.step()
    make_version(base, 2)
    fleet.events.clear()
    watcher.step()
    orders = [event for event in fleet.events if event != "publish"]
    assert orders == [("load", "m", 2), ("unload", "m", 1)]
    assert watcher.views["m"].versions[1].state is State.END
    assert available(watcher) == (2,)


def test_a_version_that_is_removed_gives_way_to_the_one_before(base, tmp_path):
    make_version(base, 1)
    newest = make_version(base, 2)
    watcher, _ = watcher_of(base, tmp_path)
    watcher.step()
    shutil.rmtree(newest)
    watcher.step()
    assert available(watcher) == (1,)


def test_where_the_newest_cannot_be_loaded_the_next_one_answers_and_the_status_says_why(base, tmp_path):
    make_version(base, 1)
    make_version(base, 2, broken=True)
    watcher, _ = watcher_of(base, tmp_path)
    watcher.step()
    assert available(watcher) == (1,)
    failed = watcher.views["m"].versions[2]
    assert (failed.state, failed.code, failed.message) == (State.END, Code.DATA_LOSS, "broken")


def test_a_version_that_failed_is_tried_again_only_when_its_files_change(base, tmp_path):
    folder = make_version(base, 2, broken=True)
    watcher, fleet = watcher_of(base, tmp_path)
    watcher.step()
    fleet.events.clear()
    watcher.step()
    assert [event for event in fleet.events if event != "publish"] == []
    os.unlink(folder / "broken")
    watcher.step()
    assert available(watcher) == (2,)


def test_a_folder_that_cannot_be_read_changes_nothing(base, tmp_path, monkeypatch):
    make_version(base, 1)
    watcher, _ = watcher_of(base, tmp_path)
    watcher.step()

    def fail(path):
        raise PermissionError(13, "no")

    monkeypatch.setattr("probity.platform.serving.watcher.present_versions", fail)
    watcher.step()
    assert available(watcher) == (1,)


def test_versions_that_ended_are_forgotten_in_the_end(base, tmp_path):
    watcher, _ = watcher_of(base, tmp_path)
    for number in range(1, 60):
        folder = make_version(base, number)
        watcher.step()
        shutil.rmtree(folder) if number < 59 else None
    assert len(watcher.views["m"].versions) <= 34


def test_reload_serves_other_models_and_no_longer_the_first(base, tmp_path):
    make_version(base, 1)
    make_version(base, 5, name="other")
    watcher, fleet = watcher_of(base, tmp_path)
    watcher.step()
    fleet.reloads = True
    watcher.reload([ModelSource(name="other", base_path=base / "other", labels={"stable": 5})])
    assert list(fleet.views) == ["other"]
    assert fleet.live == {("other", 5)}
    assert dict(watcher.views["other"].labels) == {"stable": 5}


def test_reload_says_what_could_not_be_served(base, tmp_path):
    make_version(base, 1)
    watcher, fleet = watcher_of(base, tmp_path)
    watcher.step()
    fleet.reloads = True
    with pytest.raises(ServingError, match="No version of model none") as caught:
        watcher.reload([ModelSource(name="none", base_path=base / "none")])
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(ServingError, match="Labels canary of model m") as caught:
        watcher.reload([ModelSource(name="m", base_path=base / "m", labels={"canary": 2, "stable": 1})])
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert dict(watcher.views["m"].labels) == {"stable": 1}
