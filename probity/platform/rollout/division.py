"""Which version answers a request, and what the rollout hears of it: the same for every wire.

Guarantees: a request that the candidate could not answer is put to the incumbent, so a bad candidate costs its clients
time and not their answers; copies are under way in bounded number; nothing of the group table leaves this process.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from probity.platform.rollout.comparison import Answer
from probity.platform.rollout.control import Rollout

if TYPE_CHECKING:
    from probity.platform.rollout.membership import Membership

__all__ = ["TRACKING_HEADER", "VERSION_HEADER", "Division", "Reply", "tracking_ids_of"]

TRACKING_HEADER = "x-tracking-id"
"""HTTP header, and key of gRPC metadata, by which a client names the person or case."""
VERSION_HEADER = "x-model-version"
"""Likewise, by which the answer names the version."""

_MOST_COPIES = 256
"""Copies under way at once; further requests are not copied, so that a slow candidate cannot pile up memory."""


class Reply(Protocol):
    """What a server said, on whichever wire."""

    @property
    def refused(self) -> bool:
        """Whether it is no answer of the model: an error, or none at all."""
        ...


_Reply = TypeVar("_Reply", bound=Reply)


def tracking_ids_of(named: str) -> list[str]:
    """Returns the ids that a client named, separated by commas; a random one if there are none."""
    return [part.strip() for part in named.split(",") if part.strip()] or [uuid.uuid4().hex]


class Division:
    """Divides requests between the two versions of a rollout.

    Args:
        rollout: Decides and watches.
        membership: The group table, or ``None`` without groups.
    """

    def __init__(self, rollout: Rollout, membership: Membership | None) -> None:
        self.rollout, self._membership = rollout, membership
        self._copies: set[asyncio.Task[None]] = set()

    async def answer(
        self,
        tracking_ids: Sequence[str],
        ask: Callable[[bool], Awaitable[_Reply]],
        read: Callable[[_Reply], Answer],
    ) -> tuple[_Reply, int]:
        """Returns a reply and the version that it came from.

        Args:
            tracking_ids: One for the request, or one per row.
            ask: Puts the request to the candidate (true) or the incumbent; raises nothing.
            read: What a reply decided.
        """
        rollout = self.rollout
        stage, by_candidate = rollout.state.stage, rollout.answers_from_candidate(tracking_ids[0])
        copied = rollout.is_copied(tracking_ids[0]) and len(self._copies) < _MOST_COPIES
        reply = await ask(by_candidate)
        if copied:
            self._copy(tracking_ids, ask, read, stage=stage, reply=reply, by_candidate=by_candidate)
        elif 0.0 < rollout.state.candidate_share < 1.0:
            answer = read(reply)
            rollout.single(stage, answer, by_candidate=by_candidate, groups=self._groups(tracking_ids, answer))
        if by_candidate and reply.refused:
            reply, by_candidate = await ask(False), False
        plan = rollout.state.plan
        return reply, plan.candidate if by_candidate else plan.incumbent

    async def end(self) -> None:
        """Waits for the copies that are under way."""
        await asyncio.gather(*self._copies, return_exceptions=True)

    def _copy(
        self,
        tracking_ids: Sequence[str],
        ask: Callable[[bool], Awaitable[_Reply]],
        read: Callable[[_Reply], Answer],
        *,
        stage: str,
        reply: _Reply,
        by_candidate: bool,
    ) -> None:
        async def ask_the_other() -> None:
            other = read(await ask(not by_candidate))
            answer = read(reply)
            new, old = (answer, other) if by_candidate else (other, answer)
            groups = self._groups(tracking_ids, new if new.favourable else old)
            self.rollout.pair(stage, new, old, groups=groups)

        task = asyncio.create_task(ask_the_other())
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    def _groups(self, tracking_ids: Sequence[str], answer: Answer) -> tuple[frozenset[str], ...]:
        if self._membership is None:
            return ()
        rows = len(answer.favourable)
        return self._membership.of(tracking_ids if len(tracking_ids) == rows else [tracking_ids[0]] * rows)
