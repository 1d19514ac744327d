"""Rolling back: the earlier bytes under a higher number, a true history, whoever dies in the middle."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from probity.claims import CLAIMS
from probity.digest import digest_file, digest_tree
from probity.errors import ReleaseError, SignatureError
from probity.history import EvidenceExpired, Rejected, StageEntered, live_at, parse_time
from probity.platform.release.history import add_event
from probity.platform.release.project import Project
from probity.platform.release.push import EXTRA, push, verify_release
from probity.platform.release.rollback import roll_back
from probity.platform.release.verification import verify
from tests.platform.conftest import make_config
from tests.platform.release.candidates import NOON, Candidate, keys_at


class Place:
    """A model with releases, one an hour."""

    def __init__(self, root: Path):
        self.root, self.keys = root, keys_at(root)
        self.project = Project(config=make_config(), root=root)
        self.hours = 0

    def release(self, name: str):
        candidate = Candidate(self.root / name, content=name.encode(), run=name)
        self.hours += 1
        arguments = candidate.push_arguments(base_path=self.project.base_path, keys=self.keys, now=self.now)
        return push(candidate.model, **arguments)

    def now(self):
        return NOON + timedelta(hours=self.hours)

    def roll_back(self, **options):
        self.hours += 1
        return roll_back(self.project, now=self.now, **options)

    def path(self, release) -> Path:
        return self.project.base_path / "m" / str(release.version)

    @property
    def highest(self) -> int:
        return max(int(path.name) for path in (self.project.base_path / "m").iterdir())

    def told(self) -> list[tuple[str, int]]:
        entries, problems = self.project.history()
        assert problems == ()
        return [(entry.event.kind, entry.event.version) for entry in entries]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_the_earlier_bytes_come_back_under_the_highest_number_and_verify(place):
    first, second = place.release("one"), place.release("two")
    back = place.roll_back(why="complaints")
    assert back.version == place.highest > second.version > first.version
    assert (back.restores, back.model, back.run, back.number) == (first.version, first.model, "one", first.number)
    assert digest_tree(place.path(back), exclude=(EXTRA,)) == first.model
    assert verify(place.path(back), trusted_keys=place.keys.trusted).problems == ()
    for name in ("card.json", "10_decision.json", "model.sig"):
        assert digest_file(place.path(back) / EXTRA / name) == digest_file(place.path(first) / EXTRA / name)
    earlier = (place.path(first) / EXTRA / CLAIMS).read_bytes()
    assert (place.path(back) / EXTRA / CLAIMS).read_bytes().startswith(earlier)
    assert verify_release(place.path(second)) == second  # what was left behind stays to be looked at


def test_the_history_says_what_was_live_when_and_why(place):
    first, second = place.release("one"), place.release("two")
    back = place.roll_back(why="complaints")
    entries, _ = place.project.history()
    assert place.told() == [
        ("promoted", first.version),
        ("promoted", second.version),
        ("rolled_back", back.version),
    ]
    event = entries[-1].event
    assert (event.restores, event.replaces, event.why) == (first.version, second.version, "complaints")
    moments = {0: None, 1: first, 2: second, 3: back}
    for hours, release in moments.items():
        live = live_at(entries, NOON + timedelta(hours=hours, minutes=30))
        assert (None if live is None else live.event.version) == (None if release is None else release.version)
    assert live_at(entries, parse_time(second.released_at)).event.version == second.version


def test_a_release_after_a_rollback_has_a_number_that_was_never_given(place):
    numbers = [place.release(name).number for name in ("one", "two")]
    assert place.roll_back().number == numbers[0]  # the same model, the same number
    numbers.append(place.release("three").number)
    assert numbers == ["1.0.0", "1.0.1", "1.0.2"]
    shutil.rmtree(max((place.project.base_path / "m").iterdir(), key=lambda path: int(path.name)))
    place.roll_back(to=min(int(path.name) for path in (place.project.base_path / "m").iterdir()))
    assert place.release("four").number == "1.0.3"  # the history knows the one that was removed


def test_rolling_back_twice_goes_forth_again_and_a_wish_is_granted(place):
    first, second = place.release("one"), place.release("two")
    place.roll_back()
    again = place.roll_back()
    assert again.model == second.model
    third = place.roll_back(to=first.version)
    assert third.model == first.model
    for release in (again, third):
        assert verify(place.path(release), trusted_keys=place.keys.trusted).ok
    chain = place.roll_back(to=again.version)
    assert verify(place.path(chain), trusted_keys=place.keys.trusted).problems == ()


@pytest.mark.parametrize("to", [7, "live"])
def test_what_was_never_live_or_is_live_already_is_refused(place, to):
    place.release("one")
    second = place.release("two")
    with pytest.raises(ReleaseError, match=r"never live|is live"):
        place.roll_back(to=second.version if to == "live" else to)
    assert place.highest == second.version


def test_without_an_earlier_version_there_is_nothing_to_roll_back_to(place):
    with pytest.raises(ReleaseError, match="no other model was live"):
        place.roll_back()
    place.release("one")
    with pytest.raises(ReleaseError, match="no other model was live"):
        place.roll_back()


def test_a_version_that_was_tampered_with_does_not_come_back(place):
    first, second = place.release("one"), place.release("two")
    (place.path(first) / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(SignatureError, match=r"saved_model\.pb"):
        place.roll_back()
    assert place.highest == second.version


def test_a_version_whose_run_was_rejected_does_not_come_back(place):
    first, second = place.release("one"), place.release("two")
    event = Rejected(at=NOON.isoformat(), by="kim", run="one", evidence=first.model)
    add_event(place.project.base_path, "m", event, keys=place.keys.trusted, signer=place.keys.signer)
    with pytest.raises(ReleaseError, match="rejected"):
        place.roll_back()
    assert place.highest == second.version


def test_a_version_whose_evidence_monitoring_declared_expired_comes_back_only_if_it_still_answers(place):
    first, second = place.release("one"), place.release("two")
    event = EvidenceExpired(at=NOON.isoformat(), by="monitor", why="drift", run="one")
    add_event(place.project.base_path, "m", event, keys=place.keys.trusted, signer=place.keys.signer)
    with pytest.raises(ReleaseError, match="expired"):
        place.roll_back()
    assert place.highest == second.version
    assert place.roll_back(to=first.version, still_answers=True).model == first.model


def test_an_entry_that_its_process_could_not_write_is_read_at_once_and_written_by_whoever_comes_next(place):
    second = [place.release(name) for name in ("one", "two")][1]
    whole = place.project.history()[0]
    path = place.project.base_path / "m.history.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])  # killed between the rename and the entry
    entries, problems = place.project.history()
    assert problems == ()
    assert [(entry.number, entry.event, entry.model, entry.keyid) for entry in entries] == [
        (entry.number, entry.event, entry.model, entry.keyid) for entry in whole
    ]
    assert len(path.read_bytes().splitlines()) == 1
    back = place.roll_back()
    assert len(path.read_bytes().splitlines()) == 3
    assert place.told()[1:] == [("promoted", second.version), ("rolled_back", back.version)]
    assert place.project.history()[0][1].event.at == second.released_at


def test_a_stage_of_a_rollout_is_not_taken_for_the_entry_of_its_version(place):
    first, second = place.release("one"), place.release("two")
    path = place.project.base_path / "m.history.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    event = StageEntered(at=NOON.isoformat(), by="kim", version=second.version, stage="shadow")
    add_event(place.project.base_path, "m", event, keys=place.keys.trusted, signer=place.keys.signer)
    assert live_at(place.project.history()[0]).event.version == second.version
    place.roll_back()
    moves = [entry.event for entry in place.project.history()[0] if entry.event.kind != "stage_entered"]
    assert [move.version for move in moves[:2]] == [first.version, second.version]
    assert moves[2].replaces == second.version
