"""A router that speaks TLS on both of its sides and both wires, in front of a real server that verifies its clients."""

from __future__ import annotations

import os
import signal
import threading

import grpc
import pytest

from probity.errors import ConfigError
from probity.platform.rollout.control import Rollout
from probity.platform.rollout.grpc_router import GrpcRouter
from probity.platform.rollout.router import Router
from probity.platform.rollout.routing import route
from probity.platform.serving import Client
from probity.platform.serving.client import ClientTls
from probity.platform.serving.options import All, ModelSource, ServerOptions, Tls
from probity.platform.serving.server import EmbeddedServer
from probity.platform.serving.status import Code, ServingError
from probity.rollout import RolloutPlan
from tests.platform.certificates import Authority
from tests.platform.serving.toy_models import half_plus

PLAN = RolloutPlan(model_name="half", incumbent=1, candidate=2, decision_threshold=3.0)
INSIDE, OUTSIDE = Authority("between router and servers"), Authority("between clients and router")


def of_server(authority: Authority, **changes) -> Tls:
    key, cert = authority.issue("server")
    return Tls(server_key=key, server_cert=cert, **changes)


def of_client(authority: Authority) -> ClientTls:
    key, cert = authority.issue("router")
    return ClientTls(ca=INSIDE.cert, key=key, cert=cert)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Version 1 adds one, version 2 two; let in is who shows a certificate of the inside."""
    folder = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        half_plus(folder / "half" / str(version), plus=float(version))
    options = ServerOptions(
        models=(ModelSource(name="half", base_path=folder / "half", policy=All()),),
        port=0,
        rest_api_port=0,
        require_verified=False,
        tls=of_server(INSIDE, custom_ca=INSIDE.cert, client_verify=True),
    )
    with EmbeddedServer(options) as running:
        yield running


def through(path, server, ask, *, to_server, listening=None, step=0):
    """Returns what a client gets that asks a router by its two ports, and what the rollout counted."""
    rollout = Rollout(PLAN, path=path / "half.rollout.json", tell=lambda *_: None)
    rollout.state = rollout.state.model_copy(update={"step": step})
    rest, wire = f"https://127.0.0.1:{server.rest_api_port}", f"https://127.0.0.1:{server.port}"
    router = Router(rollout, incumbent=rest, candidate=rest, tls=to_server, tick_seconds=60)
    other = GrpcRouter(router.division, incumbent=wire, candidate=wire, tls=to_server)
    found = []

    def asking(where):
        try:
            found.append(ask(where.port, where.grpc_port))
        except BaseException as error:
            found.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    def report(state, where):
        assert where.encrypted == (listening is not None)
        threading.Thread(target=asking, args=(where,)).start()

    route(
        router,
        rollout,
        host="127.0.0.1",
        port=0,
        until_decided=False,
        report=report,
        grpc=(other, 0),
        tls=listening,
    )
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0], rollout.state.evidence[-1].comparisons


def predict(tls, **port):
    with Client("127.0.0.1", **port, tls=tls) as client:
        return client.predict("half", {"x": [1.0]}, tracking_id="p1").output.tolist()


def test_both_wires_are_divided_through_tls_on_both_sides(tmp_path, server):
    ours = ClientTls(ca=OUTSIDE.cert)

    def ask(port, grpc_port):
        answers = [predict(ours, rest_api_port=port), predict(ours, port=grpc_port)]
        refused = []
        for which, tls in ((port, None), (port, ClientTls(ca=INSIDE.cert)), (grpc_port, None)):
            wire = {"rest_api_port": which} if which == port else {"port": which}
            with pytest.raises(ServingError) as caught:
                predict(tls, **wire)
            refused.append(caught.value.code)
        return answers, refused

    (answers, refused), comparisons = through(
        tmp_path, server, ask, to_server=of_client(INSIDE), listening=of_server(OUTSIDE), step=4
    )
    assert answers == [[2.5], [2.5]]  # at 100 % the candidate, which adds two, answers on both wires
    assert refused == [Code.UNAVAILABLE] * 3
    assert (comparisons[0].candidate_requests, comparisons[0].incumbent_requests) == (2, 2)


@pytest.mark.parametrize("to_server", [of_client(OUTSIDE), ClientTls(ca=INSIDE.cert), ClientTls(ca=OUTSIDE.cert), None])
def test_a_router_that_the_server_does_not_know_or_that_does_not_know_the_server_gets_no_answer(
    tmp_path, server, to_server
):
    def ask(port, grpc_port):
        codes = []
        for wire in ({"rest_api_port": port}, {"port": grpc_port}):
            with pytest.raises(ServingError) as caught:
                predict(None, **wire)
            codes.append(caught.value.code)
        return codes

    codes, comparisons = through(tmp_path, server, ask, to_server=to_server)
    assert codes == [Code.UNKNOWN, Code.UNAVAILABLE]  # 502, which no canonical code has
    assert {entry.metric for entry in comparisons if entry.running.mean not in (None, 0.0)} <= {"slow_rate"}


def test_multi_inference_is_divided_where_every_task_leaves_the_version_open(tmp_path, server):
    from tensorflow_serving.apis import inference_pb2, prediction_service_pb2_grpc

    signatures = (("classify_x_to_y", "classify"), ("tensorflow/serving/regress", "regress"))

    def ask(port, grpc_port):
        found = []
        for named in (None, 1):
            request = inference_pb2.MultiInferenceRequest()
            for x in (1.0, 3.0):
                row = request.input.example_list.examples.add()
                row.features.feature["x"].float_list.value.append(x)
            for signature, method in signatures:
                task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
                task.model_spec.name, task.model_spec.signature_name = "half", signature
            if named is not None:
                request.tasks[1].model_spec.version.value = named
            with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                answer, call = stub.MultiInference.with_call(request, 10.0)
            classified, regressed = answer.results
            versions = {entry.model_spec.version.value for entry in answer.results}
            values = [entry.value for entry in regressed.regression_result.regressions]
            assert len(classified.classification_result.classifications) == 2
            found.append((versions, values, dict(call.trailing_metadata()).get("x-model-version")))
        return found

    (open_, named), comparisons = through(tmp_path, server, ask, to_server=of_client(INSIDE), step=0)
    assert open_ == ({1}, [1.5, 2.5], "1")
    assert named[2] is None  # passed on as it is: the incumbent's server answers it as it likes
    outcomes = next(entry for entry in comparisons if entry.metric == "selection_rate")
    assert (outcomes.candidate_requests, outcomes.incumbent_requests) == (1, 1)
    assert outcomes.running.mean == 0.5  # above 3: one row of two of the candidate, none of the incumbent's


def test_certificates_for_a_server_in_clear_are_refused(tmp_path):
    rollout = Rollout(PLAN, path=tmp_path / "half.rollout.json", tell=lambda *_: None)
    try:
        clear, ours = "http://host:1", ClientTls(ca=INSIDE.cert)
        with pytest.raises(ConfigError, match="--candidate-server"):
            Router(rollout, incumbent="https://127.0.0.1:1", candidate=clear, tls=ours)
        division = Router(rollout, incumbent=clear, candidate=clear).division
        with pytest.raises(ConfigError, match="--grpc-server"):
            GrpcRouter(division, incumbent="host:1", candidate="https://127.0.0.1:1", tls=ours)
    finally:
        rollout.close()
