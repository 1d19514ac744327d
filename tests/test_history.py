"""What answered at a moment: the newest version, or both versions of a rollout that was under way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from probity.digest import digest_bytes
from probity.history import (
    Event,
    HistoryEntry,
    Promoted,
    RolledBack,
    StageEntered,
    answering_at,
    live_at,
    stage_at,
)

ONE = digest_bytes(b"one")


def hour(number: int) -> datetime:
    return datetime(2026, 1, 2, number, tzinfo=UTC)


def promoted(at: int, version: int) -> Promoted:
    return Promoted(at=hour(at).isoformat(), by="a", run="r", version=version, claims=ONE)


def entered(at: int, stage: str, *, version: int = 2, incumbent: int | None = 1) -> StageEntered:
    return StageEntered(at=hour(at).isoformat(), by="a", version=version, stage=stage, incumbent=incumbent)


def history(*events: Event) -> tuple[HistoryEntry, ...]:
    return tuple(
        HistoryEntry(number=number, event=event, model=ONE, keyid="k", digest=ONE)
        for number, event in enumerate(events, 1)
    )


BEGUN = (promoted(1, 1), promoted(2, 2), entered(3, "shadow"), entered(4, "1%"))
BACK = RolledBack(at=hour(6).isoformat(), by="a", run="r", version=3, restores=1, replaces=2, claims=ONE)


def versions(entries: tuple[HistoryEntry, ...], moment: datetime | None = None) -> list[int]:
    return [entry.event.version for entry in answering_at(entries, moment)]


@pytest.mark.parametrize(
    ("at", "answering", "stage"),
    [(0, [], None), (1, [1], None), (2, [2], None), (3, [2, 1], "shadow"), (4, [2, 1], "1%"), (5, [2, 1], "1%")],
)
def test_while_a_rollout_is_under_way_both_of_its_versions_answer(at, answering, stage):
    entries = history(*BEGUN)
    assert versions(entries, hour(at)) == answering
    found = stage_at(entries, hour(at))
    assert (None if found is None else found.stage) == stage
    assert versions(entries) == [2, 1]


def test_after_its_end_one_version_answers():
    for end, also, answering in (("completed", (), [2]), ("rolled_back", (BACK,), [3]), ("stopped", (BACK,), [3])):
        entries = history(*BEGUN, entered(5, end), *also)
        assert stage_at(entries) is None
        assert versions(entries) == answering
        assert versions(entries, hour(4)) == [2, 1]  # and what was before stays what it was


def test_another_rollout_begins_anew():
    entries = history(*BEGUN, entered(5, "stopped"), BACK, promoted(7, 4), entered(8, "10%", version=4, incumbent=3))
    assert versions(entries) == [4, 3]
    assert versions(entries, hour(7)) == [4]


def test_a_version_that_is_pushed_during_a_rollout_is_the_newest_and_has_no_part_in_it():
    entries = history(*BEGUN, promoted(5, 9))
    assert versions(entries) == [9, 2, 1]
    assert live_at(entries).event.version == 9


def test_a_stage_that_names_no_incumbent_leaves_the_candidate():
    entries = history(*BEGUN[:2], entered(3, "shadow", incumbent=None))
    assert versions(entries) == [2]
