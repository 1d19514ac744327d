"""What runs together, and that nobody gets another one's rows."""

import asyncio
import threading
import time

import numpy as np
import pytest

from probity.platform.serving.batching import Batcher
from probity.platform.serving.options import Batching
from probity.platform.serving.saved_model import Signature, TensorSpec
from probity.platform.serving.status import Code, ServingError


def signature(*, outputs=(None,)):
    x = TensorSpec(tensor="x", dtype=1, shape=(None,))
    return Signature(
        name="s", method_name="", inputs={"x": x}, outputs={"y": TensorSpec(tensor="y", dtype=1, shape=outputs)}
    )


class Doubling:
    """A model that doubles, refuses 13, and remembers how many rows each call had."""

    def __init__(self, *, seconds=0.0, rows_out=None):
        self.calls, self.seconds, self.rows_out, self.threads = [], seconds, rows_out, set()

    def run(self, signature, inputs):
        self.calls.append(len(inputs["x"]))
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if 13 in inputs["x"]:
            raise ServingError(Code.INVALID_ARGUMENT, "13")
        return {"y": inputs["x"][: self.rows_out] * 2}


def run_all(batcher, model, requests, *, signature=signature(), warm=True):
    async def together():
        if warm:  # the first calls are timed in a thread; after them the model is known to be quick
            for _ in range(12):
                await batcher.run(model, signature, {"x": np.array([1.0])})
            model.calls.clear()
        asked = [batcher.run(model, signature, {"x": np.array(rows, float)}) for rows in requests]
        return await asyncio.gather(*asked, return_exceptions=True)

    try:
        return asyncio.run(together())
    finally:
        batcher.close()


def test_what_arrives_together_runs_together_and_everyone_gets_his_own_rows():
    model = Doubling()
    answers = run_all(Batcher(Batching()), model, [[1], [2, 3], [4, 5, 6], [7]])
    assert [answer["y"].tolist() for answer in answers] == [[2], [4, 6], [8, 10, 12], [14]]
    assert model.calls == [7]


def test_without_batching_every_request_runs_alone():
    model = Doubling()
    run_all(Batcher(None), model, [[1], [2, 3], [4]])
    assert model.calls == [1, 2, 1]


def test_a_batch_is_not_larger_than_allowed_unless_one_request_is():
    model = Doubling()
    answers = run_all(Batcher(Batching(max_batch_size=3)), model, [[1, 2], [3], [4, 5], [6, 7, 8, 9], [10]])
    assert model.calls == [3, 2, 4, 1]
    assert [len(answer["y"]) for answer in answers] == [2, 1, 2, 4, 1]


def test_one_that_the_model_refuses_does_not_fail_the_others():
    answers = run_all(Batcher(Batching()), Doubling(), [[1], [13], [2]])
    assert answers[0]["y"].tolist() == [2]
    assert isinstance(answers[1], ServingError)
    assert answers[2]["y"].tolist() == [4]


def test_a_signature_without_rows_is_never_shared():
    model = Doubling()
    run_all(Batcher(Batching()), model, [[1], [2]], signature=signature(outputs=()))
    assert model.calls == [1, 1]


def test_a_model_that_does_not_answer_row_by_row_is_asked_again_one_by_one():
    model = Doubling(rows_out=1)
    answers = run_all(Batcher(Batching()), model, [[1], [2]])
    assert [answer["y"].tolist() for answer in answers] == [[2], [4]]
    assert model.calls == [2, 1, 1]


@pytest.mark.parametrize("together", [True, False])
def test_a_client_that_goes_away_leaves_nothing_in_the_queue_and_holds_up_nobody(together):
    model, batcher = Doubling(), Batcher(Batching() if together else None)

    async def one_leaves():
        for _ in range(12):
            await batcher.run(model, signature(), {"x": np.array([1.0])})
        first, second = (
            asyncio.create_task(batcher.run(model, signature(), {"x": np.array([number])})) for number in (1.0, 2.0)
        )
        await asyncio.sleep(0)
        first.cancel()
        answer = await asyncio.wait_for(second, 5)
        await asyncio.gather(first, return_exceptions=True)
        alone = asyncio.create_task(batcher.run(model, signature(), {"x": np.array([3.0])}))
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.gather(alone, return_exceptions=True)
        return answer

    assert asyncio.run(one_leaves())["y"].tolist() == [4]
    assert batcher._queues == {}
    batcher.close()


def test_rows_of_another_shape_go_into_another_batch():
    model = Doubling()
    wide = signature()

    async def together():
        batcher = Batcher(Batching())
        for _ in range(12):
            await batcher.run(model, wide, {"x": np.ones((1, 2))})
        model.calls.clear()
        narrow = batcher.run(model, wide, {"x": np.ones((1, 2))})
        return await asyncio.gather(narrow, batcher.run(model, wide, {"x": np.ones((1, 3))}))

    asyncio.run(together())
    assert model.calls == [1, 1]


def test_slow_models_run_in_threads_and_what_came_meanwhile_runs_together():
    model = Doubling(seconds=0.05)
    batcher = Batcher(Batching(num_batch_threads=1))

    async def waves():
        first = asyncio.ensure_future(batcher.run(model, signature(), {"x": np.array([1.0])}))
        await asyncio.sleep(0.01)
        rest = [batcher.run(model, signature(), {"x": np.array([float(number)])}) for number in range(2, 6)]
        return await asyncio.gather(first, *rest)

    answers = asyncio.run(waves())
    batcher.close()
    assert [answer["y"].tolist() for answer in answers] == [[2], [4], [6], [8], [10]]
    assert model.calls == [1, 4]
    assert threading.get_ident() not in model.threads


def test_a_full_queue_sends_requests_away():
    model = Doubling(seconds=0.05)
    options = Batching(max_batch_size=1, max_enqueued_batches=2, num_batch_threads=1)
    answers = run_all(Batcher(options), model, [[number] for number in range(8)], warm=False)
    refused = [answer for answer in answers if isinstance(answer, ServingError)]
    assert refused
    assert {error.code for error in refused} == {Code.UNAVAILABLE}
    assert len(answers) - len(refused) >= 3


@pytest.mark.parametrize("micros", [20_000])
def test_a_timeout_waits_for_company(micros):
    model = Doubling()
    batcher = Batcher(Batching(batch_timeout_micros=micros))

    async def apart():
        first = asyncio.ensure_future(batcher.run(model, signature(), {"x": np.array([1.0])}))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(batcher.run(model, signature(), {"x": np.array([2.0])}))
        return await asyncio.gather(first, second)

    asyncio.run(apart())
    batcher.close()
    assert model.calls == [2]


class Loop:
    """Counts the turns of the event loop that requests one after the other take."""

    def __init__(self, batcher, model):
        self.batcher, self.model, self.turns = batcher, model, 0

    async def turns_of(self, requests):
        before, running = self.turns, True

        async def count():
            while running:
                self.turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for _ in range(requests):
            await self.batcher.run(self.model, signature(), {"x": np.array([1.0])})
        running = False
        await counting
        return self.turns - before


def test_who_was_alone_for_long_is_hardly_made_to_wait_until_somebody_comes():
    model, batcher = Doubling(), Batcher(Batching())

    async def scenario():
        loop = Loop(batcher, model)
        await loop.turns_of(12)
        waiting = await loop.turns_of(16)  # one turn each, to see who else is there
        await loop.turns_of(30)
        alone = await loop.turns_of(16)
        model.calls.clear()
        for _ in range(8):  # one of eight looks, and finds the others
            asked = [batcher.run(model, signature(), {"x": np.array([1.0])}) for _ in range(3)]
            await asyncio.gather(*asked)
        return waiting, alone

    waiting, alone = asyncio.run(scenario())
    batcher.close()
    assert waiting >= 16
    assert alone <= 4
    assert 3 in model.calls
    assert model.calls[-1] == 3  # and from then on everybody is waited for
