"""A model live: a rollout that harms one group is taken back by itself, and what was served is judged by its feedback.

Everything is real: two trained and released versions, the server's processes, the router, people's requests. The second
version learned from data in which an upstream fault had turned the label of wives; its own test rows have the same
fault, so no audit can see it, and the gate releases it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import signal
import subprocess

import aiohttp
import numpy as np
import pandas as pd
import pytest

from probity.history import EvidenceExpired, StageEntered, live_at
from probity.platform.release.project import Project as Released
from probity.platform.serving import Client
from probity.workspace import Workspace
from tests.e2e.conftest import ADULT, Project

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1500)]

NOT_SENT = ["income", "sex", "race", "fnlwgt", "education"]
MODELS = """model_config_list {{ config {{
  name: "small" base_path: "{base}" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
}} }}
"""


def rows_of_adult(first: int, last: int) -> pd.DataFrame:
    with gzip.open(ADULT, "rt") as file:
        return pd.read_csv(file).iloc[first:last]


def people() -> pd.DataFrame:
    """Rows that neither version was trained on, by tracking id."""
    rows = rows_of_adult(6000, 26000)
    return rows.set_index("person-" + rows.index.astype(str))


@pytest.fixture(scope="module")
def place(make_project, tmp_path_factory) -> Project:
    """A project with two released versions, the second one made from faulty data."""
    project = make_project(tmp_path_factory.mktemp("live"))
    first = project.probity("run", "probity.yaml")
    assert first.returncode == 0, first.stderr + first.stdout
    data = rows_of_adult(26000, 41000)
    data.loc[data["relationship"] == "Wife", "income"] = "<=50K"
    data.to_csv(project.folder / "adult.csv", index=False)
    project.edit(monitoring={"quality_drop": 0.02})
    done = project.probity("run", "probity.yaml")
    assert done.returncode == 0, done.stderr + done.stdout
    rows = people()
    named = rows.rename_axis("tracking_id").reset_index()
    named[["tracking_id", "sex"]].to_parquet(project.folder / "groups.parquet")
    truth = named[["tracking_id", "income"]].rename(columns={"income": "label"})
    truth.to_csv(project.folder / "truth.csv", index=False)
    return project


@contextlib.contextmanager
def running(project: Project, *arguments: str, stream: str):
    """Starts a command and yields its process and the first line that it says on a stream."""
    process = subprocess.Popen(
        project.command(*arguments), cwd=project.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        line = getattr(process, stream).readline()
        while "127.0.0.1:" not in line:
            assert line, process.stderr.read()
            line = getattr(process, stream).readline()
        yield process, line
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


async def ask(address: str, rows: pd.DataFrame, *, ended) -> tuple[dict[str, float], set[int]]:
    """Sends rows until the router has ended. Returns the scores that people got, and every status that they saw."""
    scores, statuses, waiting = {}, set(), list(rows.iloc[::-1].iterrows())

    async def client(session: aiohttp.ClientSession) -> None:
        while waiting and not ended():
            person, row = waiting.pop()
            instance = {name: "" if pd.isna(cell) else cell for name, cell in row.drop(NOT_SENT).items()}
            body = {"signature_name": "predict_columns", "instances": [instance]}
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.post(address, json=body, headers={"x-tracking-id": str(person)}) as answer:
                    statuses.add(answer.status)
                    scores[str(person)] = (await answer.json())["predictions"][0][0]

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(8)))
    return scores, statuses


def ports(line: str) -> tuple[int, int]:
    """Returns the ports of REST and gRPC that a command said it listens on."""
    rest, grpc = (int(part.strip().rpartition(":")[2]) for part in line.split(", gRPC"))
    return rest, grpc


def ask_by_grpc(port: int, rows: pd.DataFrame) -> dict[str, tuple[float, int]]:
    """Returns score and version by tracking id, as TensorFlow Serving's stubs get them through the router."""
    found = {}
    with Client(port=port) as client:
        for person, row in rows.iterrows():
            columns = {name: ["" if pd.isna(cell) else cell] for name, cell in row.drop(NOT_SENT).items()}
            reply = client.predict("small", columns, signature_name="predict_columns", tracking_id=str(person))
            assert reply.tracking_id == person
            found[str(person)] = (float(reply.output[0, 0]), reply.version)
    return found


@pytest.fixture(scope="module")
def rolled_out(place):
    """What came of the rollout: the router's last state, its exit code, the versions, and what people got."""
    versions = sorted(int(path.name) for path in (place.folder / "serving/small").iterdir())
    assert len(versions) == 2
    (place.folder / "models.config").write_text(MODELS.format(base=place.folder / "serving/small"))
    serve = ["serve", "--model-config-file", "models.config", "--port", "0", "--rest-api-port", "0"]
    serve += ["--prediction-log", "predictions", "--log-inputs", "all"]
    with running(place, *serve, stream="stdout") as (_, line):
        served, grpc = ports(line)
        rollout = ["rollout", "small", "--from", str(versions[0]), "--to", str(versions[1]), "--port", "0", "--json"]
        rollout += ["--groups", "groups.parquet", "--requests-per-stage", "50000", "--until-decided"]
        rollout += ["--server", f"http://127.0.0.1:{served}", "--grpc-port", "0", "--grpc-server", f"127.0.0.1:{grpc}"]
        with running(place, *rollout, stream="stderr") as (router, told):
            rest, grpc = ports(told)
            by_grpc = ask_by_grpc(grpc, people().iloc[:20])
            address = f"http://127.0.0.1:{rest}/v1/models/small:predict"
            scores, statuses = asyncio.run(ask(address, people(), ended=lambda: router.poll() is not None))
            router.wait(60)
            state = json.loads(router.stdout.read())
        for version in versions:  # for those who ask a version by name nothing has changed
            by_name = f"http://127.0.0.1:{served}/v1/models/small/versions/{version}:predict"
            asyncio.run(ask(by_name, people().iloc[-4000:], ended=lambda: False))
    return {
        "state": state, "code": router.returncode, "versions": versions, "scores": scores, "statuses": statuses,
        "by_grpc": by_grpc,
    }  # fmt: skip


def test_a_drop_for_one_group_stops_the_rollout_and_takes_it_back(place, rolled_out):
    state, (first, second) = rolled_out["state"], rolled_out["versions"]
    assert rolled_out["code"] == 3
    assert state["status"] == "rolled_back"
    reason = state["transitions"][-1]["reason"]
    assert "selection_rate of sex=Female dropped by" in reason
    assert "sex=Male" not in reason
    assert rolled_out["statuses"] == {200}
    released = Released.of_run(Workspace(place.workspace).runs()[0])
    entries, problems = released.history()
    assert problems == ()
    stages = [entry.event.stage for entry in entries if isinstance(entry.event, StageEntered)]
    assert stages == ["shadow", "rolled_back"]
    live = live_at(entries).event
    assert (live.kind, live.restores, live.replaces) == ("rolled_back", first, second)
    assert place.probity("verify", f"serving/small/{live.version}", "--key", "keys").returncode == 0


def test_by_grpc_people_get_the_answers_that_they_get_by_rest(rolled_out):
    assert len(rolled_out["by_grpc"]) == 20
    both = rolled_out["scores"].keys() & rolled_out["by_grpc"].keys()
    assert both
    for person, (score, version) in rolled_out["by_grpc"].items():
        assert version == rolled_out["versions"][0]
        if person in both:
            assert score == pytest.approx(rolled_out["scores"][person], rel=1e-6)


def log_of(place, version: int) -> pd.DataFrame:
    """Returns the predictions of one version with what is true, read without any code of the project."""
    files = (place.folder / "predictions" / "small" / str(version)).glob("*.parquet")
    found = pd.concat(pd.read_parquet(path, columns=["tracking_id", "score"]) for path in files)
    found = found.drop_duplicates("tracking_id")  # some asked by gRPC and by REST
    return found.join(people()[["sex", "income"]], on="tracking_id", how="inner")


def monitor(place, version: int) -> tuple[int, dict]:
    """Looks at a version. Returns the exit code and the report."""
    (run,) = [
        folder.id
        for folder in Workspace(place.workspace).runs()
        if folder.release() and folder.release().version == version
    ]
    looked = place.probity(
        "monitor", run, "--predictions", "predictions", "--groups", "groups.parquet", "--days", "1", "--json"
    )
    assert looked.returncode in (0, 3), looked.stderr
    return looked.returncode, json.loads(looked.stdout)


def quality(report: dict) -> dict[str, dict]:
    return {entry["of"]: entry for entry in report["measures"] if entry["kind"] == "quality"}


def test_what_was_logged_joined_with_feedback_gives_quality_by_group(place, rolled_out):
    assert place.probity("feedback", "truth.csv").returncode == 0
    first = rolled_out["versions"][0]
    _, report = monitor(place, first)
    log = log_of(place, first)
    assert len(log) == report["rows"] == report["rows_with_feedback"] > 1000
    people_got = pd.Series(rolled_out["scores"])
    both = log.set_index("tracking_id")["score"].reindex(people_got.index).dropna()
    assert len(both) > 200
    np.testing.assert_allclose(both, people_got[both.index], rtol=1e-6)
    found = quality(report)
    right = (log["score"] > 0.5) == (log["income"] == ">50K")
    for sex in ("Female", "Male"):
        of_group = log["sex"] == sex
        measured = found[f"accuracy of sex={sex}"]
        assert measured["n"] == of_group.sum()
        assert measured["observed"] + measured["reference"] == pytest.approx(right[of_group].mean())


def test_the_version_that_harms_is_found_out_by_its_feedback_too(place, rolled_out):
    place.probity("feedback", "truth.csv")
    code, report = monitor(place, rolled_out["versions"][1])
    assert code == 3
    assert report["trigger"] == "degradation"
    beyond = [entry["of"] for entry in report["measures"] if entry["status"] == "beyond"]
    assert any("sex=Female" in name for name in beyond), beyond
    (request,) = place.folder.glob("retrain-small-*.yaml")
    taken = place.probity("run", request.name, "--until", "schema")
    assert taken.returncode == 0, taken.stderr
    released = Released.of_run(Workspace(place.workspace).runs()[0])
    expired = [entry.event for entry in released.history()[0] if isinstance(entry.event, EvidenceExpired)]
    assert [event.run for event in expired] == [report["run"]]
    assert place.probity("gate", report["run"]).returncode == 3
