"""The router's gRPC wire: the same division and the same evidence, and bytes that are passed on as they are."""

import asyncio

import grpc
import numpy as np
import pyarrow as pa
import pytest

from probity.platform.rollout.control import Rollout, position
from probity.platform.rollout.grpc_router import GrpcRouter, _scores
from probity.platform.rollout.membership import Membership
from probity.platform.rollout.router import Router
from probity.rollout import RolloutPlan

PLAN = RolloutPlan(
    model_name="m", incumbent=1, candidate=2, requests_per_stage=50, requests_per_group=1, groups=("sex=Female",)
)
GROUPS = Membership(pa.table({"tracking_id": [f"p{number}" for number in range(400)], "sex": ["Female", "Male"] * 200}))
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Backend:
    """Both versions behind one address, as bytes; ``candidate`` may raise a status."""

    def __init__(self, *, candidate=0.9, refuses=None):
        self.requests, self._candidate, self._refuses = [], candidate, refuses

    async def answer(self, method, body, context):
        from tensorflow_serving.apis import predict_pb2

        metadata = {key: entry for key, entry in context.invocation_metadata() if not key.startswith("grpc-")}
        if method != PREDICT:
            self.requests.append((method, body, metadata))
            return b"as it is"
        try:
            request = predict_pb2.PredictRequest.FromString(body)
        except Exception:
            await context.abort(grpc.StatusCode.INTERNAL, "no message")
        spec = request.model_spec
        self.requests.append((spec.name, spec.version.value, metadata))
        by_candidate = spec.version.value == 2
        if by_candidate and self._refuses is not None:
            await context.abort(self._refuses, "broken")
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(spec)
        tensor = response.outputs["scores"]
        tensor.dtype = 1
        for size in (1, 1):
            tensor.tensor_shape.dim.add().size = size
        tensor.float_val.append(self._candidate if by_candidate else 0.9)
        return response.SerializeToString()


class _Every(grpc.GenericRpcHandler):
    def __init__(self, backend):
        self.backend = backend

    def service(self, details):
        async def call(body, context):
            return await self.backend.answer(details.method, body, context)

        return grpc.unary_unary_rpc_method_handler(call)


def through(tmp_path, scenario, *, backend, step=0):
    rollout = Rollout(PLAN, path=tmp_path / "m.rollout.json", tell=lambda *_: None)
    rollout.state = rollout.state.model_copy(update={"step": step})

    async def run():
        behind = grpc.aio.server()
        behind.add_generic_rpc_handlers((_Every(backend),))
        address = f"127.0.0.1:{behind.add_insecure_port('127.0.0.1:0')}"
        await behind.start()
        rest = Router(rollout, incumbent="http://127.0.0.1:1", candidate="http://127.0.0.1:1", membership=GROUPS)
        router = GrpcRouter(rest.division, incumbent=address, candidate=address)
        try:
            port = await router.start("127.0.0.1", 0)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                found = await scenario(channel)
            await rest.division.end()
            return found, rollout._watch.comparisons()
        finally:
            await router.stop()
            await behind.stop(None)
            rollout.close()

    return asyncio.run(run())


async def ask(channel, tracking_id=None, *, version=None, name="m"):
    """Returns the version that the answer names, and its trailing metadata."""
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    call = channel.unary_unary(PREDICT)(
        request.SerializeToString(), metadata=() if tracking_id is None else (("x-tracking-id", tracking_id),)
    )
    answer = predict_pb2.PredictResponse.FromString(await call)
    return answer.model_spec.version.value, dict(await call.trailing_metadata())


def test_in_the_shadow_the_client_gets_the_incumbents_answer_and_pairs_are_counted(tmp_path):
    backend = Backend(candidate=0.1)

    async def scenario(channel):
        return [await ask(channel, f"p{number}") for number in range(20)]

    found, comparisons = through(tmp_path, scenario, backend=backend)
    assert [version for version, _ in found] == [1] * 20
    assert [told["x-tracking-id"] for _, told in found] == [f"p{number}" for number in range(20)]
    assert {told["x-model-version"] for _, told in found} == {"1"}
    asked = [(version, metadata["x-tracking-id"]) for _, version, metadata in backend.requests]
    assert sorted(asked) == sorted((version, f"p{number}") for number in range(20) for version in (1, 2))
    assert not any("female" in str(entry).lower() for entry in backend.requests)
    favourable, women = (next(c for c in comparisons if c.metric == "selection_rate" and c.group == group)
                         for group in (None, "sex=Female"))  # fmt: skip
    assert (favourable.candidate_requests, favourable.running.mean) == (20, -1.0)
    assert (women.candidate_requests, women.running.mean) == (10, -1.0)


def test_a_canary_divides_as_the_rest_wire_does(tmp_path):
    ids = [f"p{number}" for number in range(200)]

    async def scenario(channel):
        return [(await ask(channel, tracking_id))[0] for tracking_id in ids]

    found, comparisons = through(tmp_path, scenario, backend=Backend(), step=2)
    assert found == [2 if position(PLAN, tracking_id) < 0.1 else 1 for tracking_id in ids]
    assert (comparisons[0].candidate_requests, comparisons[0].incumbent_requests) == (found.count(2), found.count(1))


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL])
def test_what_the_candidate_cannot_answer_the_incumbent_does_and_it_counts(tmp_path, code):
    async def scenario(channel):
        return [(await ask(channel, f"p{number}"))[0] for number in range(100)]

    found, comparisons = through(tmp_path, scenario, backend=Backend(refuses=code), step=3)
    assert found == [1] * 100
    assert comparisons[0].candidate_requests > 20
    assert comparisons[0].running.mean == 1.0


def test_what_is_not_divided_is_passed_on_as_it_is(tmp_path):
    backend = Backend()

    async def scenario(channel):
        named = [await ask(channel, "p1", version=2), await ask(channel, "p1", name="other")]
        other = await channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(b"\x01\xff")
        with pytest.raises(grpc.RpcError) as caught:
            await channel.unary_unary(PREDICT)(b"\xff\xff")
        return named, other, caught.value

    (named, other, refusal), comparisons = through(tmp_path, scenario, backend=backend)
    assert [version for version, _ in named] == [2, 0]
    assert all("x-model-version" not in told for _, told in named)
    assert other == b"as it is"
    assert backend.requests[2][:2] == ("/tensorflow.serving.ModelService/GetModelStatus", b"\x01\xff")
    assert (refusal.code(), refusal.details()) == (grpc.StatusCode.INTERNAL, "no message")
    assert comparisons[0].candidate_requests == 0


def test_a_server_that_is_gone_is_unavailable_and_no_crash(tmp_path):
    async def scenario(channel):
        rollout = Rollout(PLAN, path=tmp_path / "other.rollout.json", tell=lambda *_: None)
        division = Router(rollout, incumbent="http://x", candidate="http://x").division
        router = GrpcRouter(division, incumbent="127.0.0.1:1", candidate="127.0.0.1:1")
        port = await router.start("127.0.0.1", 0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as gone:
                with pytest.raises(grpc.RpcError) as caught:
                    await ask(gone)
            return caught.value.code()
        finally:
            await router.stop()
            rollout.close()

    assert through(tmp_path, scenario, backend=Backend())[0] is grpc.StatusCode.UNAVAILABLE


def test_the_scores_of_every_kind_of_answer_are_read_row_by_row():
    import tensorflow as tf
    from tensorflow_serving.apis import classification_pb2, predict_pb2, regression_pb2

    predicted = predict_pb2.PredictResponse()
    for scores, rows in (
        ([0.25, 0.75], ((0.25,), (0.75,))),
        ([[0.25], [0.75]], ((0.25,), (0.75,))),
        ([[0.5, 0.25, 0.25]], ((0.5, 0.25, 0.25),)),
        (np.zeros((0, 3)), ()),
    ):
        predicted.outputs["scores"].CopyFrom(tf.make_tensor_proto(scores, tf.float32))
        assert _scores(predicted) == rows
    predicted.outputs["scores"].CopyFrom(tf.make_tensor_proto([[b"yes"]]))
    assert _scores(predicted) is None

    classified = classification_pb2.ClassificationResponse()
    row = classified.result.classifications.add()
    for label, score in (("a", 0.5), ("b", 0.25), ("c", 0.25)):
        row.classes.add(label=label, score=score)
    assert _scores(classified) == ((0.5, 0.25, 0.25),)
    regressed = regression_pb2.RegressionResponse()
    regressed.result.regressions.add(value=39.5)
    assert _scores(regressed) == ((39.5,),)
