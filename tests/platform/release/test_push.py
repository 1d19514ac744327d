"""The push: the audited bytes or nothing, whole or not at all, whoever dies in the middle."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from probity.decision import GateDecision, Release
from probity.digest import digest_tree
from probity.errors import DigestMismatchError, ReleaseError, ReleaseHeldError
from probity.platform.release import version_folder
from probity.platform.release.push import EXTRA, latest, push, releases, verify_release
from tests.platform.release.candidates import DATASET, NOON, Candidate, decide, keys_at


class Place:
    """A finished run and a serving folder."""

    def __init__(self, root: Path):
        self.root = root
        self.base = root / "serving"
        self.keys = keys_at(root)
        self.candidate = Candidate(root / "run")

    @property
    def model(self) -> Path:
        return self.candidate.model

    @property
    def card(self) -> Path:
        return self.candidate.card

    @property
    def decision(self) -> GateDecision:
        return self.candidate.decision

    def push(self, **changes) -> Release:
        saved_model = changes.pop("saved_model", self.model)
        values = {"base_path": self.base, "keys": self.keys, **changes}
        return push(saved_model, **self.candidate.push_arguments(**values))

    def retrain(self, content: bytes) -> None:
        shutil.rmtree(self.candidate.root)
        self.candidate = Candidate(self.candidate.root, content=content)

    def visible(self) -> list[str]:
        """What a server that scans the model's folder finds."""
        folder = self.base / "m"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def leftovers(self) -> list[str]:
        return [path.name for path in self.base.glob(".incoming-*")]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# --- the good case --------------------------------------------------------------------------------------------------


def test_a_release_is_the_audited_bytes_in_the_layout_of_a_server(place):
    release = place.push()
    version = str(int(NOON.timestamp()))
    assert place.visible() == [version]
    folder = place.base / "m" / version
    assert digest_tree(folder, exclude=(EXTRA,)) == place.decision.model == release.model
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    inside = ("saved_model.pb", "assets/vocabulary")
    inside += ("variables/variables.index", "variables/variables.data-00000-of-00001")
    ours = ("RELEASE.json", "10_decision.json", "card.json", "card.md", "card.html", "claims.jsonl", "model.sig")
    assert names == {*inside, *(f"{EXTRA}/{name}" for name in ours)}
    assert (folder / EXTRA / "card.html").read_bytes() == (place.card / "card.html").read_bytes()
    assert Release.from_json(json.loads((folder / EXTRA / "RELEASE.json").read_text())) == release
    decided = GateDecision.from_json(json.loads((folder / EXTRA / "10_decision.json").read_text()))
    assert decided == place.decision
    assert release.decision == place.decision.record_digest()
    assert (release.path, release.version) == (f"serving/m/{version}", int(version))
    assert (release.dataset, release.run) == (DATASET, "run-1")
    assert release.released_at == "2026-01-02T12:00:00+00:00"
    assert place.leftovers() == []


def test_what_was_decided_is_asked_once_more_when_nobody_else_can_push(place):
    """Another release may have come between the decision and the lock; then the comparison was with an older one."""
    asked = []

    def recheck():
        with pytest.raises(ReleaseError, match="another push"), version_folder.locked(place.base, "m", "serving"):
            pass
        asked.append(place.visible())
        raise ReleaseHeldError("run run-1", seen="another version is live", allowed="none", remedy="run again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(version_folder, "_LOCK_SECONDS", 0.1)
        with pytest.raises(ReleaseHeldError, match="another version is live"):
            place.push(recheck=recheck)
    assert asked == [[]]
    assert place.visible() == place.leftovers() == []


def test_another_user_can_read_what_was_released(place):
    place.push()
    for path in (place.base / "m").rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044, path
        assert not path.is_dir() or path.stat().st_mode & 0o055 == 0o055, path


def test_a_clock_of_another_zone_gives_the_same_version(place):
    release = place.push(now=lambda: NOON.astimezone(timezone(timedelta(hours=5))))
    assert release.version == int(NOON.timestamp())
    assert release.released_at.endswith("+00:00")


def test_pushing_the_latest_release_again_changes_nothing(place):
    first = place.push()
    assert place.push(now=lambda: NOON + timedelta(hours=1)) == first
    assert len(place.visible()) == 1


def test_a_damaged_release_is_mended_by_a_new_version_and_left_alone_itself(place):
    first = place.push()
    damaged = place.base / "m" / str(first.version) / "saved_model.pb"
    damaged.write_bytes(b"other")
    second = place.push()
    assert second.version == first.version + 1
    assert damaged.read_bytes() == b"other"
    assert verify_release(place.base / "m" / str(second.version)) == second


@pytest.mark.parametrize("seconds", [0, -3600, 3600])
def test_a_later_push_has_a_higher_number_whatever_the_clock_says(place, seconds):
    first = place.push()
    place.retrain(b"second")
    second = place.push(now=lambda: NOON + timedelta(seconds=seconds))
    assert second.version == first.version + max(1, seconds)
    assert [release for release, _ in releases(place.base, "m")] == [second, first]
    assert latest(place.base, "m") == (second, place.base / "m" / str(second.version))
    for release, path in releases(place.base, "m"):
        assert verify_release(path) == release


def test_numbers_that_others_took_are_left_alone(place):
    foreign = place.base / "m" / str(int(NOON.timestamp()) + 5)
    foreign.mkdir(parents=True)
    (foreign / "saved_model.pb").write_bytes(b"theirs")
    release = place.push()
    assert release.version == int(foreign.name) + 1
    assert [path.name for path in foreign.iterdir()] == ["saved_model.pb"]
    assert [entry for entry, _ in releases(place.base, "m")] == [release]


def test_models_do_not_see_one_another(place):
    place.push()
    place.push(model_name="m-2")
    assert [release.model_name for release, _ in releases(place.base, "m-2")] == ["m-2"]
    assert latest(place.base, "m-3") is None
    assert latest(place.root / "nowhere", "m") is None


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_held_model_is_not_pushed(place):
    held = decide(place.model, place.card, verdict="hold")
    with pytest.raises(ReleaseHeldError, match="floor") as caught:
        place.push(decision=held)
    assert caught.value.exit_code == 3
    assert not place.base.exists()


@pytest.mark.parametrize(
    "tamper",
    [
        lambda model: (model / "saved_model.pb").write_bytes(b"other"),
        lambda model: (model / "assets" / "more").write_bytes(b""),
        lambda model: (model / "variables" / "variables.index").unlink(),
        lambda model: (model / "assets" / "link").symlink_to("/etc/hostname"),
        lambda model: (model / "assets.extra" / "probity").mkdir(parents=True),
    ],
    ids=["changed", "added", "removed", "link", "our own folder"],
)
def test_a_model_that_was_swapped_after_the_audit_is_refused(place, tamper):
    tamper(place.model)
    with pytest.raises(DigestMismatchError):
        place.push()
    assert place.visible() == place.leftovers() == []


def test_a_model_that_is_swapped_during_the_copy_is_refused(place, monkeypatch):
    copyfile = shutil.copyfile

    def swap_then_copy(source, target):
        if Path(source).name == "saved_model.pb":
            Path(source).write_bytes(b"other")
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", swap_then_copy)
    with pytest.raises(DigestMismatchError):
        place.push()
    assert place.visible() == place.leftovers() == []


def test_another_card_than_the_decided_one_is_refused(place):
    (place.card / "card.json").write_text("{}")
    with pytest.raises(DigestMismatchError, match=r"card\.json"):
        place.push()
    assert place.visible() == []


@pytest.mark.parametrize("name", ["card.json", "card.md", "card.html"])
def test_no_model_without_its_card(place, name):
    (place.card / name).unlink()
    with pytest.raises((ReleaseError, DigestMismatchError), match=r"card"):
        place.push()
    assert place.visible() == []


def test_no_model_at_all(place):
    with pytest.raises(ReleaseError, match="no such folder"):
        place.push(saved_model=place.root / "absent")


@pytest.mark.parametrize("name", ["..", "../m", "a/b", "", ".m", "m\n", "/m"])
def test_a_name_that_leads_elsewhere_is_refused(place, name):
    with pytest.raises(ReleaseError, match="model_name"):
        place.push(model_name=name)
    assert not place.base.exists()


def test_a_model_folder_that_is_a_link_is_refused(place):
    elsewhere = place.root / "elsewhere"
    elsewhere.mkdir()
    place.base.mkdir()
    (place.base / "m").symlink_to(elsewhere)
    with pytest.raises(ReleaseError, match="symbolic link"):
        place.push()
    assert list(elsewhere.iterdir()) == []


def test_a_serving_folder_that_cannot_be_is_one_message(place):
    place.base.write_text("a file")
    with pytest.raises(ReleaseError, match=r"serving\.base_path serving") as caught:
        place.push()
    assert caught.value.exit_code == 2


def test_a_model_folder_that_is_a_file_is_one_message(place):
    place.base.mkdir()
    (place.base / "m").write_text("a file")
    with pytest.raises(ReleaseError, match="cannot be written"):
        place.push()
    assert place.leftovers() == []


def test_a_disk_that_takes_no_more_leaves_nothing_behind(place):
    """A real refusal by the kernel: files may not grow beyond 100 kB for the length of the push."""
    place.push()
    place.retrain(b"x" * 1_000_000)
    before = place.visible()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ReleaseError, match="cannot be written"):
            place.push()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert place.visible() == before
    assert place.leftovers() == []
    assert len(releases(place.base, "m")) == 1


def test_a_full_disk_is_named(place, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ReleaseError, match="No space left"):
        place.push()
    assert place.visible() == place.leftovers() == []


# --- verification ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", f"{EXTRA}/card.json", f"{EXTRA}/10_decision.json"]
)
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_changed_release_does_not_verify(place, name, how):
    release = place.push()
    path = place.base / "m" / str(release.version)
    assert verify_release(path) == release
    if how == "changed":
        (path / name).write_bytes((path / name).read_bytes().replace(b"a", b"b") + b" ")
        if name.endswith("10_decision.json"):
            (path / name).write_text((path / name).read_text().replace("floor", "roof"))
    else:
        (path / name).unlink()
    with pytest.raises(DigestMismatchError):
        verify_release(path)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"schema_version": 1}'])
def test_a_version_without_a_readable_record_is_not_a_release(place, content):
    release = place.push()
    path = place.base / "m" / str(release.version)
    record = path / EXTRA / "RELEASE.json"
    record.unlink() if content is None else record.write_text(content)
    assert releases(place.base, "m") == ()
    with pytest.raises(ReleaseError, match="release record"):
        verify_release(path)


def test_a_copy_under_another_number_or_name_is_not_a_release(place):
    release = place.push()
    path = place.base / "m" / str(release.version)
    shutil.copytree(path, place.base / "m" / "7")
    shutil.copytree(path, place.base / "n" / str(release.version))
    assert releases(place.base, "m") == ((release, path),)
    assert releases(place.base, "n") == ()


# --- several processes, and their deaths ----------------------------------------------------------------------------

CHILD = """
import shutil, sys, time
from pathlib import Path
from probity.platform.release.push import push
from tests.platform.release.candidates import Candidate, keys_at

root, content, hang = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
shutil.rmtree(root / content, ignore_errors=True)
candidate = Candidate(root / content, content=content.encode(), run=content)
if hang != "no":
    copyfile = shutil.copyfile
    def slow(source, target):
        copyfile(source, target)
        if Path(source).name == hang:
            (root / "hanging").write_text("")
            time.sleep(600)
    shutil.copyfile = slow
print(push(candidate.model, **candidate.push_arguments(base_path=root / "serving", keys=keys_at(root))).version)
"""
PROJECT = Path(__file__).parents[3]


def start(root: Path, content: str, *, hang: str = "no") -> subprocess.Popen:
    arguments = [sys.executable, "-c", CHILD, str(root), content, hang]
    return subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 400
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.01)


@pytest.mark.heavy
@pytest.mark.parametrize("hang", ["saved_model.pb", "card.md"])
def test_a_push_killed_in_the_middle_harms_nobody(place, hang):
    first = place.push()
    child = start(place.root, "second", hang=hang)
    wait_for(place.root / "hanging")
    assert len(place.leftovers()) == 1  # it is half written, where no server looks
    assert place.visible() == [str(first.version)]
    child.kill()
    child.wait()
    assert place.visible() == [str(first.version)]
    assert latest(place.base, "m")[0] == first

    again = start(place.root, "second")
    output, errors = again.communicate(timeout=400)
    assert again.returncode == 0, errors
    assert place.visible() == sorted([str(first.version), output.strip()])
    assert place.leftovers() == []
    for release, path in releases(place.base, "m"):
        assert verify_release(path) == release


@pytest.mark.heavy
def test_pushes_at_once_get_different_versions(place):
    names = ["one", "two", "three"]
    children = [start(place.root, name) for name in names]
    outputs = [child.communicate(timeout=400) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], outputs
    versions = {output.strip() for output, _ in outputs}
    assert len(versions) == 3
    assert place.visible() == sorted(versions)
    assert {verify_release(path).run for _, path in releases(place.base, "m")} == set(names)


def test_a_live_push_of_one_model_survives_a_push_of_another(place):
    child = start(place.root, "second", hang="saved_model.pb")
    try:
        wait_for(place.root / "hanging")
        place.push(model_name="m-2")
        assert len(place.leftovers()) == 1
    finally:
        child.kill()
        child.wait()


def test_a_push_that_never_gets_its_turn_says_so(place, monkeypatch):
    child = start(place.root, "second", hang="saved_model.pb")
    try:
        wait_for(place.root / "hanging")
        monkeypatch.setattr(version_folder, "_LOCK_SECONDS", 0.2)
        with pytest.raises(ReleaseError, match="another push"):
            place.push()
    finally:
        child.kill()
        child.wait()
