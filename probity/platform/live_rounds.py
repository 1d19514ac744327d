"""The rounds of a training while it goes on: each one's numbers in the tracker, and what they have cost so far.

A trainer knows its rounds and no accountant; the accountant is on this side, which pays. A tracker that does not answer
costs the live view and nothing else: at the end of the run it is asked once more, for everything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType

from probity.config import RunConfig
from probity.errors import TrackingError
from probity.model import Mechanism
from probity.platform import tracking
from probity.runs import RunFolder
from probity.storage import write_atomically
from probity.workspace import Workspace

__all__ = ["LiveRounds"]

_PAUSE_SECONDS = 2.0
"""Between two visits to the tracker, and between two answers of the accountant: both take a while."""


class LiveRounds:
    """Listens to the rounds of one training; a context manager that hands on what is left when it ends.

    Args:
        config: Names the tracker.
        folder: The run.
        workspace: Holds the tracker by default.
        mechanism: What was agreed and paid for.
        delta: The delta of the run's privacy statement.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, workspace: Workspace, *, mechanism: Mechanism, delta: float
    ) -> None:
        self._uri = config.tracking.uri or tracking.default_uri(workspace.root)
        self._experiment, self._name = config.name, folder.id
        self._marker = folder.path / ".run" / "mlflow"
        self._mechanism, self._delta = mechanism, delta
        self._waiting: dict[int, dict[str, float]] = {}
        self._reachable = True
        self._visited = time.monotonic()
        self._said: tuple[float, float] | None = None

    def __enter__(self) -> LiveRounds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hand_on()

    def epsilon_after(self, rounds: int) -> float | None:
        """Returns an epsilon that so many rounds of the agreed mechanism stay below, at the run's delta.

        By Rényi accounting, which is faster than the accounting of the final statement and never below it. ``None``
        where nothing is claimed, and within two seconds of the last answer.
        """
        from probity.audits.accounting import renyi_epsilon_of, unaccountable
        from probity.audits.privacy_events import Noisy

        mechanism = self._mechanism
        if not isinstance(mechanism, Noisy) or not hasattr(mechanism, "rounds"):
            return None
        if unaccountable(mechanism, unit=mechanism.unit) is not None:
            return None
        if self._said is not None and time.monotonic() - self._said[0] < _PAUSE_SECONDS and rounds < mechanism.rounds:
            return None
        so_far = renyi_epsilon_of([mechanism.model_copy(update={"rounds": rounds})], delta=self._delta)
        self._said = (time.monotonic(), so_far)
        return so_far

    def finished(self, number: int, numbers: Mapping[str, float]) -> None:
        """Takes the numbers of a round, from 1, and hands them on within two seconds of training."""
        known = {name: value for name, value in numbers.items() if math.isfinite(value)}
        if known:
            self._waiting[number] = known
        if time.monotonic() - self._visited >= _PAUSE_SECONDS:
            self._hand_on()

    def _hand_on(self) -> None:
        if not self._waiting or not self._reachable:
            return
        try:
            key = tracking.track_rounds(
                uri=self._uri,
                experiment=self._experiment,
                run_name=self._name,
                rounds=self._waiting,
                resume=self._marker.read_text(encoding="utf-8") if self._marker.is_file() else None,
            )
            write_atomically(self._marker, key.encode())
        except TrackingError:
            # The record at the end adds only names that the tracker does not know: let it begin anew.
            self._reachable = False
            self._marker.unlink(missing_ok=True)
        self._waiting.clear()
        self._visited = time.monotonic()
