"""The router in front of two versions: who answers, what is copied, and what never leaves it."""

import asyncio
import json

import aiohttp
import pyarrow as pa
import pytest
from aiohttp import web

from probity.platform.rollout.control import Rollout, position
from probity.platform.rollout.membership import Membership
from probity.platform.rollout.router import Router
from probity.rollout import RolloutPlan

PLAN = RolloutPlan(
    model_name="m", incumbent=1, candidate=2, requests_per_stage=50, requests_per_group=1, groups=("sex=Female",)
)
GROUPS = Membership(
    pa.table({"tracking_id": [f"p{number}" for number in range(2000)], "sex": ["Female", "Male"] * 1000})
)


class Backend:
    """Both versions behind one address; version 2 as a test wants it."""

    def __init__(self, *, candidate=lambda: web.json_response({"predictions": [[0.9]]})):
        self.requests, self._candidate = [], candidate

    async def answer(self, request):
        self.requests.append((request.path, dict(request.headers), await request.read()))
        if "/versions/2:" in request.path:
            return self._candidate()
        if ":" in request.path:
            return web.json_response({"predictions": [[0.9]]})
        return web.json_response({"model_version_status": []}, headers={"x-of-the-server": "1"})


async def _listen(app):
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"


def through(tmp_path, scenario, *, backend=None, state=None, plan=PLAN, tick_seconds=0.02):
    """Runs a scenario against a router in front of a backend. Returns what it returns."""
    backend = backend or Backend()
    path = tmp_path / "m.rollout.json"
    rollout = Rollout(plan, path=path, tell=lambda *_: None)
    if state is not None:
        rollout.state = state(rollout.state)

    async def run():
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", backend.answer)
        behind, address = await _listen(app)
        router = Router(rollout, incumbent=address, candidate=address, membership=GROUPS, tick_seconds=tick_seconds)
        front, ours = await _listen(router.app())
        try:
            async with aiohttp.ClientSession() as session:
                return await scenario(session, ours, rollout, backend)
        finally:
            await front.cleanup()
            await behind.cleanup()
            rollout.close()

    return asyncio.run(run())


async def ask(session, address, tracking_id=None, body=None):
    headers = {"x-tracking-id": tracking_id} if tracking_id else {}
    body = body or {"instances": [{"age": 30}]}
    async with session.post(f"{address}/v1/models/m:predict", json=body, headers=headers) as answer:
        return answer.status, dict(answer.headers), await answer.read()


def at_step(step):
    def change(state):
        return state.model_copy(update={"step": step})

    return change


def test_in_the_shadow_the_client_gets_the_incumbents_answer_and_the_rollout_goes_on(tmp_path):
    async def scenario(session, address, rollout, backend):
        found = [await ask(session, address, f"p{number}") for number in range(60)]
        for _ in range(200):
            if rollout.state.stage != "shadow":
                break
            await asyncio.sleep(0.02)
        return found, backend.requests, rollout.state

    found, requests, state = through(tmp_path, scenario)
    assert {(status, headers["x-model-version"]) for status, headers, _ in found} == {(200, "1")}
    assert [headers["x-tracking-id"] for _, headers, _ in found] == [f"p{number}" for number in range(60)]
    assert json.loads(found[0][2]) == {"predictions": [[0.9]]}
    asked = [path for path, _, _ in requests]
    assert asked.count("/v1/models/m/versions/1:predict") == 60
    assert 50 <= asked.count("/v1/models/m/versions/2:predict") <= 60  # no copies once the stage is over
    assert state.stage == "1%"
    errors, women = state.evidence[0].comparisons[0], state.evidence[0].comparisons[-1]
    assert 50 <= errors.candidate_requests <= 60  # it may have gone on as soon as there were 50
    assert abs(2 * women.candidate_requests - errors.candidate_requests) <= 1


def test_the_server_is_sent_the_id_that_the_client_gets_and_nothing_of_the_groups(tmp_path):
    async def scenario(session, address, rollout, backend):
        found = [await ask(session, address, f"p{number}") for number in range(20)]
        found.append(await ask(session, address))  # the router names it
        await asyncio.sleep(0.05)  # for the copies
        return found, backend.requests

    found, requests = through(tmp_path, scenario, tick_seconds=60)
    answered = {headers["x-tracking-id"] for _, headers, _ in found}
    assert len(answered) == 21
    for version in (1, 2):  # what the server logs can be joined with what the client knows
        asked = [headers for path, headers, _ in requests if f"/versions/{version}:" in path]
        assert {headers["x-tracking-id"] for headers in asked} == answered
    for _, headers, body in requests:
        assert "female" not in " ".join([*headers, *headers.values(), body.decode()]).lower()
        assert json.loads(body) == {"instances": [{"age": 30}]}


def test_a_canary_divides_by_tracking_id_and_counts_one_answer_each(tmp_path):
    ids = [f"p{number}" for number in range(200)]

    async def scenario(session, address, rollout, backend):
        found = [await ask(session, address, tracking_id) for tracking_id in ids]
        return found, backend.requests, rollout._watch.comparisons()

    found, requests, comparisons = through(tmp_path, scenario, state=at_step(2), tick_seconds=60)
    by_candidate = {tracking_id for tracking_id in ids if position(PLAN, tracking_id) < 0.1}
    assert 5 < len(by_candidate) < 40
    versions = {headers["x-tracking-id"]: headers["x-model-version"] for _, headers, _ in found}
    assert {tracking_id for tracking_id, version in versions.items() if version == "2"} == by_candidate
    assert len(requests) == 200
    assert comparisons[0].candidate_requests == len(by_candidate)
    assert comparisons[0].incumbent_requests == 200 - len(by_candidate)


@pytest.mark.parametrize("status", [500, 404, 400])  # 404: the server dropped the version
def test_what_the_candidate_cannot_answer_the_incumbent_does_and_it_counts_against_the_candidate(tmp_path, status):
    backend = Backend(candidate=lambda: web.json_response({"error": "broken"}, status=status))

    async def scenario(session, address, rollout, backend):
        found = [await ask(session, address, f"p{number}") for number in range(300)]
        for _ in range(200):
            if rollout.state.status != "running":
                break
            await asyncio.sleep(0.02)
        later = [await ask(session, address, f"p{number}") for number in range(100)]
        return found, later, rollout.state

    found, later, state = through(tmp_path, scenario, backend=backend, state=at_step(3))
    assert {status for status, _, _ in found} == {200}
    assert state.status == "rolled_back"
    assert "error_rate rose" in state.transitions[-1].reason
    assert {headers["x-model-version"] for _, headers, _ in later} == {"1"}


def test_a_server_that_is_gone_is_a_502_and_no_crash(tmp_path):
    async def scenario(session, address, rollout, backend):
        async with aiohttp.ClientSession() as other:
            router = Router(rollout, incumbent="http://127.0.0.1:1", candidate="http://127.0.0.1:1", tick_seconds=60)
            front, ours = await _listen(router.app())
            try:
                return await ask(other, ours)
            finally:
                await front.cleanup()

    status, headers, body = through(tmp_path, scenario)
    assert status == 502
    assert headers["x-tracking-id"]
    assert b"did not answer" in body


def test_everything_else_is_passed_on(tmp_path):
    async def scenario(session, address, rollout, backend):
        async with session.get(f"{address}/v1/models/m/metadata?x=1") as answer:
            return answer.status, answer.headers["x-of-the-server"], backend.requests[-1][0]

    assert through(tmp_path, scenario) == (200, "1", "/v1/models/m/metadata")


@pytest.mark.parametrize(("ids", "expected"), [("p0,p1", -1.0), ("p0", -0.5)])
def test_rows_may_be_named_one_by_one(tmp_path, ids, expected):
    """Of two rows the first is favourable in both versions; whether the second counts for women depends on its id."""
    two = lambda: web.json_response({"predictions": [[0.9], [0.1]]})  # noqa: E731
    backend = Backend(candidate=lambda: web.json_response({"predictions": [[0.1], [0.1]]}))
    plain = backend.answer

    async def incumbent_answers_two(request):
        return two() if "/versions/1:" in request.path else await plain(request)

    backend.answer = incumbent_answers_two

    async def scenario(session, address, rollout, backend):
        await ask(session, address, ids, {"instances": [{"age": 30}, {"age": 40}]})
        await asyncio.sleep(0.05)
        return rollout._watch.comparisons()

    women = next(entry for entry in through(tmp_path, scenario, backend=backend, tick_seconds=60) if entry.group)
    assert women.running.mean == pytest.approx(expected)
