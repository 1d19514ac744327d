"""What is killed: a push, a rollback, and rollouts to each of their ends."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

# What the acts import late; a step that writes compiled modules is none of theirs.
import probity.platform.release.model_signature
from probity.digest import digest_tree
from probity.history import StageEntered, live_at
from probity.platform.release.project import Project
from probity.platform.release.push import EXTRA, latest, push, releases
from probity.platform.release.rollback import roll_back
from probity.platform.release.verification import verify
from probity.platform.rollout.comparison import Answer
from probity.platform.rollout.control import Rollout, ask_to_stop
from probity.platform.rollout.telling import telling
from probity.rollout import RolloutPlan, RolloutState, state_path
from probity.storage import read_record
from tests.platform.conftest import make_config
from tests.platform.release.candidates import NOON, Candidate, keys_at
from tests.platform.release.killed import Scenario

probity.platform.release.model_signature.model_signature_problem  # noqa: B018

GOOD, BAD = Answer(failed=False, milliseconds=1, favourable=(True,)), Answer(failed=True, milliseconds=1)


def project_at(root: Path) -> Project:
    return Project(config=make_config(), root=root)


def release(root: Path, name: str, *, hour: int) -> None:
    folder = root / name
    candidate = Candidate(folder, content=name.encode(), run=name) if not folder.exists() else Existing(folder, name)
    arguments = candidate.push_arguments(
        base_path=root / "serving", keys=keys_at(root), now=lambda: NOON + timedelta(hours=hour)
    )
    push(candidate.model, **arguments)


class Existing(Candidate):
    """A candidate whose files are there."""

    def __init__(self, root: Path, run: str) -> None:
        from tests.platform.release.candidates import decide

        self.root, self.run, self.model, self.card = root, run, root / "saved_model", root / "card"
        self.decision = decide(self.model, self.card)


def servable(root: Path) -> int:
    """Asserts that a server finds whole, signed versions only, and a true history; returns the version it loads."""
    project = project_at(root)
    folders = {int(path.name): path for path in (project.base_path / "m").iterdir()}
    for path in folders.values():
        assert verify(path, trusted_keys=project.trusted()).problems == ()
    entries, problems = project.history()
    assert problems == ()
    moved = [entry.event.version for entry in entries if entry.event.kind in ("promoted", "rolled_back")]
    assert moved == sorted(folders)  # each once, none that is not there
    assert live_at(entries).event.version == max(folders)
    return max(folders)


def written(root: Path) -> None:
    """Asserts that the history on disk, and not only the one that is read, is whole, and that nothing lies about."""
    project = project_at(root)
    lines = len((project.base_path / "m.history.jsonl").read_bytes().splitlines())
    assert lines == len(project.history()[0])
    assert not list(project.base_path.glob(".incoming-*"))


# --- push ------------------------------------------------------------------------------------------------------------


def _one_release(root: Path) -> None:
    release(root, "first", hour=1)
    Candidate(root / "second", content=b"second", run="second")


def _pushed(root: Path) -> str:
    servable(root)
    live = latest(root / "serving", "m", trusted_keys=keys_at(root).trusted)[0].run
    release(root, "second", hour=3)
    assert len(list((root / "serving" / "m").iterdir())) == 2
    servable(root)
    written(root)
    return live


PUSH = Scenario(prepare=_one_release, act=lambda root: release(root, "second", hour=2), check=_pushed)


# --- rollback --------------------------------------------------------------------------------------------------------


def _two_releases(root: Path) -> None:
    release(root, "first", hour=1)
    release(root, "second", hour=2)


def _rolled_back(root: Path) -> str:
    servable(root)
    live = latest(root / "serving", "m", trusted_keys=keys_at(root).trusted)[0].run
    roll_back(project_at(root), now=lambda: NOON + timedelta(hours=4))
    assert latest(root / "serving", "m", trusted_keys=keys_at(root).trusted)[0].run != live
    servable(root)
    written(root)
    return live


ROLLBACK = Scenario(
    prepare=_two_releases,
    act=lambda root: roll_back(project_at(root), now=lambda: NOON + timedelta(hours=3)),
    check=_rolled_back,
)


# --- rollout ---------------------------------------------------------------------------------------------------------


def _opened(root: Path) -> Rollout:
    project = project_at(root)
    promoted = sorted(
        entry.event.version for entry in project.history()[0] if entry.event.kind == "promoted"
    )  # a rollback by the rollout adds another
    plan = RolloutPlan(
        model_name="m", incumbent=promoted[0], candidate=promoted[1], stages=(50, 100), requests_per_stage=20
    )
    return Rollout(plan, path=state_path(project.base_path, "m"), tell=telling(project))


def _routed(root: Path, end: str) -> Rollout:
    rollout = _opened(root)
    while rollout.state.status == "running":
        harmful = end == "rolled_back" and rollout.state.stage == "50%"
        for _ in range(200):
            rollout.pair(rollout.state.stage, BAD if harmful else GOOD, GOOD, groups=())
        if end == "stopped" and rollout.state.stage == "50%":
            ask_to_stop(state_path(root / "serving", "m"), "complaints")
        rollout.tick()
    rollout.close()
    return rollout


def _told(root: Path) -> list[tuple[str, str]]:
    entries = project_at(root).history()[0]
    return [(entry.event.at, entry.event.stage) for entry in entries if isinstance(entry.event, StageEntered)]


def _rollout_to(end: str) -> Scenario:
    def check(root: Path) -> str:
        servable(root)
        path = state_path(root / "serving", "m")
        state = read_record(path, RolloutState) if path.exists() else None
        steps = [] if state is None else [(entry.at, entry.to) for entry in state.transitions]
        told = _told(root)
        assert told == steps[: len(told)]  # the history is never ahead of the traffic, and leaves nothing out
        reached = "nothing" if state is None else state.status if state.status != "running" else state.stage
        final = _routed(root, end).state
        assert final.status == end
        assert [(entry.at, entry.to) for entry in final.transitions][: len(steps)] == steps
        assert _told(root) == [(entry.at, entry.to) for entry in final.transitions]
        newest = servable(root)
        written(root)
        found = {release.version: folder for release, folder in releases(root / "serving", "m")}
        if end == "completed":
            assert newest == final.plan.candidate
        else:
            assert len(found) == 3
            bytes_of = {version: digest_tree(folder, exclude=(EXTRA,)) for version, folder in found.items()}
            assert bytes_of[newest] == bytes_of[final.plan.incumbent]
        return reached

    return Scenario(prepare=_two_releases, act=lambda root: _routed(root, end), check=check)


ROLLOUT_ROLLED_BACK, ROLLOUT_COMPLETED, ROLLOUT_STOPPED = (
    _rollout_to(end) for end in ("rolled_back", "completed", "stopped")
)
