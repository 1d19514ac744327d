"""Requests that wait together run together: one call of the graph for the rows of several requests.

A call costs nearly the same for 1 row as for 64, so under load this is what the throughput comes from. With a timeout
of zero nobody waits for company that has not arrived: the requests that one turn of the event loop brought, or that
came in while a slow model was busy, make a batch.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from probity.platform.serving.options import Batching
from probity.platform.serving.saved_model import Arrays, LoadedModel, Signature
from probity.platform.serving.status import Code, ServingError

if TYPE_CHECKING:
    Outputs = dict[str, np.ndarray[Any, Any]]
    Outcome = Outputs | ServingError

__all__ = ["Batcher"]

_INLINE_SECONDS = 0.003
"""Models that answer within this run in the event loop's thread: handing over costs more than it frees."""

_LONG_ALONE = 32
"""After so many batches of one request in a row, nobody else seems to be asking; looking costs a turn of the loop."""

_NOW_AND_THEN = 8
"""From then on every so many requests; one batch of several, and everybody is waited for again."""


@dataclass(kw_only=True, eq=False)
class _Request:
    inputs: Arrays
    rows: int
    answer: asyncio.Future[Outputs]


@dataclass(kw_only=True, eq=False)
class _Queue:
    """Requests that may be run together: one model, one signature, one shape of a row."""

    model: LoadedModel
    signature: Signature
    waiting: deque[_Request] = field(default_factory=deque)
    rows: int = 0


class Batcher:
    """Runs requests on models, in batches where that changes no answer.

    Guarantees: every request gets the rows that it sent, in its order; one that the model refuses does not make the
    others of its batch fail. Belongs to one event loop.

    Args:
        options: ``None`` runs every request by itself.
        on_run: Is told how many seconds each batch took; called in the thread that ran it.
    """

    def __init__(self, options: Batching | None, *, on_run: Callable[[float], None] = lambda _: None) -> None:
        self._on_run = on_run
        self._together = options is not None
        self._options = options or Batching()
        self._queues: dict[object, _Queue] = {}
        self._pool = ThreadPoolExecutor(self._options.num_batch_threads, thread_name_prefix="model")
        self._busy = 0
        self._alone = 0
        self._seconds: dict[tuple[int, str], float] = {}

    async def run(self, model: LoadedModel, signature: Signature, inputs: Arrays) -> Outputs:
        """Returns the outputs of a signature for some rows.

        Raises:
            ServingError: As :meth:`LoadedModel.run`; ``UNAVAILABLE`` if too much is waiting.
        """
        rows = self._rows(signature, inputs)
        key: object = object()
        if rows and self._together:
            key = (id(model), signature.name, tuple(array.shape[1:] for array in inputs.values()))
        self._require_room()
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(model=model, signature=signature)
        loop = asyncio.get_running_loop()
        request = _Request(inputs=inputs, rows=rows or 1, answer=loop.create_future())
        queue.waiting.append(request)
        queue.rows += request.rows
        if self._is_quick(queue) and not (self._together and self._options.batch_timeout_micros):
            await self._run_here(key, request)
        else:
            self._schedule(loop, key, queue)
        return await request.answer

    async def _run_here(self, key: object, request: _Request) -> None:
        """Runs a quick model in this thread, unless another request of the same batch has done it meanwhile."""
        try:
            if self._together and self._expects_company():
                await asyncio.sleep(0)  # whoever came with this turn of the loop is in the queue after it
        finally:  # also for a client that went away: others may rely on whoever was first
            if not request.answer.done():
                self._flush(key)

    def _expects_company(self) -> bool:
        """Whether to look who else is there: always, but where nobody was for long, only now and then."""
        return self._alone < _LONG_ALONE or self._alone % _NOW_AND_THEN == 0

    def close(self) -> None:
        """Ends the threads; requests that still wait are cancelled with the loop."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _rows(self, signature: Signature, inputs: Arrays) -> int:
        """Returns the number of rows of a request that may share a batch, else 0."""
        if not signature.batchable:
            return 0
        sizes = {array.shape[0] if array.ndim else -1 for array in inputs.values()}
        return max(sizes.pop(), 0) if len(sizes) == 1 else 0

    def _is_quick(self, queue: _Queue) -> bool:
        return self._seconds.get((id(queue.model), queue.signature.name), 1.0) < _INLINE_SECONDS

    def _require_room(self) -> None:
        enqueued = sum(-(-queue.rows // self._options.max_batch_size) for queue in self._queues.values())
        if enqueued > self._options.max_enqueued_batches:
            raise ServingError(Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")

    def _schedule(self, loop: asyncio.AbstractEventLoop, key: object, queue: _Queue) -> None:
        if len(queue.waiting) == 1 and self._together and self._options.batch_timeout_micros:
            loop.call_later(self._options.batch_timeout_micros / 1e6, self._flush, key)
        elif len(queue.waiting) == 1 or queue.rows >= self._options.max_batch_size:
            loop.call_soon(self._flush, key)

    def _flush(self, key: object) -> None:
        """Runs the first batch of a queue, unless all threads are busy with slow models; they come back here."""
        queue = self._queues.get(key)
        if queue is None:
            return
        quick = self._is_quick(queue)
        if not quick and self._busy >= self._options.num_batch_threads:
            return
        batch = self._take(key, queue)
        if key in self._queues:
            asyncio.get_running_loop().call_soon(self._flush, key)
        if quick:
            self._alone = self._alone + 1 if len(batch) == 1 else 0
            _answer(batch, self._timed(queue, batch))
        else:
            self._busy += 1
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._timed, queue, batch)
            running.add_done_callback(lambda done: self._finished(batch, done))

    def _take(self, key: object, queue: _Queue) -> list[_Request]:
        batch = [queue.waiting.popleft()]
        rows = batch[0].rows
        while queue.waiting and rows + queue.waiting[0].rows <= self._options.max_batch_size:
            batch.append(queue.waiting.popleft())
            rows += batch[-1].rows
        queue.rows -= rows
        if not queue.waiting:
            del self._queues[key]
        return batch

    def _timed(self, queue: _Queue, batch: Sequence[_Request]) -> list[Outcome]:
        started = time.perf_counter()
        outcomes = _execute(queue, batch)
        seconds = time.perf_counter() - started
        self._on_run(seconds)
        if len(self._seconds) > 1024:  # of models that are long gone
            self._seconds.clear()
        known = self._seconds.get((id(queue.model), queue.signature.name))
        # The first call of a session prepares the graph and says nothing about the next ones.
        self._seconds[id(queue.model), queue.signature.name] = (
            _INLINE_SECONDS if known is None else 0.8 * min(known, 1.0) + 0.2 * seconds
        )
        return outcomes

    def _finished(self, batch: Sequence[_Request], done: asyncio.Future[list[Outcome]]) -> None:
        self._busy -= 1
        if done.cancelled():
            return
        failure = done.exception()
        if failure is None:
            _answer(batch, done.result())
        else:
            _answer(batch, [ServingError(Code.INTERNAL, f"The model failed ({type(failure).__name__})")] * len(batch))
        for key in list(self._queues):
            self._flush(key)


def _answer(batch: Sequence[_Request], outcomes: Sequence[Outcome]) -> None:
    for request, outcome in zip(batch, outcomes, strict=True):
        if request.answer.done():  # its client went away
            continue
        if isinstance(outcome, ServingError):
            request.answer.set_exception(outcome)
        else:
            request.answer.set_result(outcome)


def _execute(queue: _Queue, batch: Sequence[_Request]) -> list[Outcome]:
    if len(batch) == 1:
        return [_alone(queue, batch[0])]
    total = sum(request.rows for request in batch)
    merged = {name: np.concatenate([request.inputs[name] for request in batch]) for name in batch[0].inputs}
    try:
        outputs = queue.model.run(queue.signature, merged)
    except ServingError:
        return [_alone(queue, request) for request in batch]
    if any(array.shape[:1] != (total,) for array in outputs.values()):
        return [_alone(queue, request) for request in batch]  # the signature promised one row for one row, wrongly
    ends = np.cumsum([request.rows for request in batch])
    return [
        {name: array[end - request.rows : end] for name, array in outputs.items()}
        for request, end in zip(batch, ends, strict=True)
    ]


def _alone(queue: _Queue, request: _Request) -> Outcome:
    try:
        return queue.model.run(queue.signature, request.inputs)
    except ServingError as error:
        return error
