"""A rollout while it runs: takes answers, decides, writes its state before the traffic follows, tells the history.

The state file is replaced whole, so ``kill -9`` leaves the old one or the new one, and whoever starts the same rollout
again continues there. An event is told to the history after the state is on disk; one that a killed process still owed
is told when the rollout is next opened, which is why telling must be idempotent.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from probity.errors import ConfigError
from probity.platform.rollout.comparison import Answer, Watch
from probity.platform.rollout.stages import ended, moved, seen, started
from probity.rollout import RolloutPlan, RolloutState, Transition
from probity.storage import read_record, write_atomically, write_record

__all__ = ["Rollout", "ask_to_stop", "position"]

Tell = Callable[[RolloutState, Transition], None]
"""Tells the history of a transition; called again for the same one after a crash."""


def position(plan: RolloutPlan, tracking_id: str, *, purpose: str = "answer") -> float:
    """Returns where a tracking id lies in [0, 1): below the candidate's share it is answered by the candidate.

    Guarantees: the same id keeps its place, so whoever was answered by the candidate at 1 % still is at 10 %; another
    rollout draws anew.
    """
    text = f"{plan.model_name}:{plan.incumbent}:{plan.candidate}:{purpose}:{tracking_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Rollout:
    """One rollout, in the one process that routes for it.

    Args:
        plan: What is to happen; ignored but compared when the file holds a rollout already.
        path: The state file.
        tell: Told of every transition, after it is on disk.
        now: The clock.

    Raises:
        ConfigError: If the file holds another plan, or another process routes for this rollout.
        DataError: If the file is not readable.
    """

    def __init__(self, plan: RolloutPlan, *, path: Path, tell: Tell, now: Callable[[], datetime] = _utc_now) -> None:
        self._path, self._tell, self._now = path, tell, now
        self._guard, self._deciding = threading.Lock(), threading.Lock()
        self._file_lock = _held(path)
        try:
            found = read_record(path, RolloutState) if path.exists() else None
            if found is not None and found.plan != plan:
                raise ConfigError(
                    "rollout",
                    seen=f"another plan from version {found.plan.incumbent} to {found.plan.candidate} ({found.status})",
                    allowed="the plan that was begun, word for word: a watch that is changed half-way proves nothing",
                    remedy="repeat the first command to continue, or add --anew to begin again",
                )
        except BaseException:
            self._file_lock.release()
            raise
        self.state = found or started(plan, now=now())
        self._watch = Watch(plan, self.state.evidence[-1].comparisons)
        self._owed = list(self.state.transitions)
        write_record(path, self.state)
        self._settle()

    def answers_from_candidate(self, tracking_id: str) -> bool:
        """Returns whether the candidate answers this request now."""
        return position(self.state.plan, tracking_id) < self.state.candidate_share

    def is_copied(self, tracking_id: str) -> bool:
        """Returns whether this request goes to the other version too, whose answer nobody gets."""
        if self.state.status != "running" or 0.0 < self.state.candidate_share < 1.0:
            return False
        return position(self.state.plan, tracking_id, purpose="copy") < self.state.plan.shadow_share

    def pair(self, stage: str, candidate: Answer, incumbent: Answer, *, groups: tuple[frozenset[str], ...]) -> None:
        """Takes both answers to a request that was sent at a stage; those of an earlier stage are left out."""
        with self._guard:
            if self.state.status == "running" and stage == self.state.stage:
                self._watch.pair(candidate, incumbent, groups=groups)

    def single(self, stage: str, answer: Answer, *, by_candidate: bool, groups: tuple[frozenset[str], ...]) -> None:
        """Takes the answer to a request of a canary stage."""
        with self._guard:
            if self.state.status == "running" and stage == self.state.stage:
                self._watch.single(answer, by_candidate=by_candidate, groups=groups)

    def tick(self) -> RolloutState:
        """Decides on what was seen so far; the traffic follows the state that is returned, which is on disk.

        Raises:
            ProbityError: If the history does not take what happened. The traffic has followed all the same.
        """
        with self._deciding:
            wish = _stop_file(self._path)
            if wish.exists():
                reason = wish.read_text(encoding="utf-8")
                self._become(ended(self._up_to_now(), "stopped", reason=reason, now=self._now()))
                wish.unlink()
            elif self.state.status == "running":
                self._become(moved(self._up_to_now(), now=self._now()))
            self._settle()
            return self.state

    def close(self) -> None:
        """Writes what was seen and lets another process continue."""
        with self._deciding:
            if self.state.status == "running":
                self._become(self._up_to_now())
            self._file_lock.release()

    def _up_to_now(self) -> RolloutState:
        with self._guard:
            return seen(self.state, self._watch.comparisons())

    def _become(self, state: RolloutState) -> None:
        if state == self.state:
            return
        before = len(self.state.transitions)
        write_record(self._path, state)  # answers may come in meanwhile: nobody waits for the disk
        with self._guard:
            self.state = state
            if len(state.transitions) > before:
                self._watch = Watch(state.plan, state.evidence[-1].comparisons)
        self._owed += state.transitions[before:]

    def _settle(self) -> None:
        """Tells the history what it is owed; what it does not take is told at the next tick."""
        while self._owed:
            self._tell(self.state, self._owed[0])
            del self._owed[0]


def ask_to_stop(path: Path, reason: str) -> None:
    """Leaves word for whoever routes for a rollout that a person ends it; done at its next tick."""
    write_atomically(_stop_file(path), reason.encode())


def _stop_file(path: Path) -> Path:
    return path.with_suffix(".stop")


def _held(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            "rollout",
            seen="another process routes for it",
            allowed="one router for one rollout, because it alone knows what both versions answered",
            remedy="end the other process, or ask it for the state: probity rollout MODEL --show",
        ) from error
    return lock
