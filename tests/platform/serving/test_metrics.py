"""The page that Prometheus reads: TensorFlow Serving's names, whole microseconds, and whose memory it is."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from probity.platform.serving.catalogue import Catalogue
from probity.platform.serving.metrics import Metrics, _Processes


@pytest.fixture
def metrics(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return Metrics(lambda: {"m": 2})


def numbers(metrics: Metrics) -> dict[str, float]:
    """The page, by series."""
    lines = [line for line in metrics.page().decode().splitlines() if not line.startswith("#")]
    return {name: float(number) for name, _, number in (line.rpartition(" ") for line in lines)}


def test_graph_runs_and_their_time_are_counted_by_every_thread(metrics):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(metrics.ran, [0.25e-3] * 40))
    found = numbers(metrics)
    assert found[":tensorflow:core:graph_runs"] == 40
    assert found[":tensorflow:core:graph_run_time_usecs"] == pytest.approx(40 * 250)


def test_loads_are_told_by_version_and_outcome(metrics):
    metrics.loaded("m", 7, seconds=0.5)
    metrics.loaded("m", 7, seconds=0.25)
    metrics.load_failed("m", 8)
    found = numbers(metrics)
    attempts = ":tensorflow:cc:saved_model:load_attempt_count"
    assert found[f'{attempts}{{model_path="m/7",status="success"}}'] == 2
    assert found[f'{attempts}{{model_path="m/8",status="fail"}}'] == 1
    assert found[':tensorflow:cc:saved_model:load_latency{model_path="m/7"}'] == pytest.approx(750_000)
    assert not any("m/8" in name and "latency" in name for name in found)


def test_no_series_of_tensorflow_servings_has_the_client_librarys_ending(metrics):
    metrics.answered("m", status="OK", api="Predict", entrypoint="REST", seconds=0.001)
    metrics.ran(0.001)
    metrics.loaded("m", 1, seconds=0.1)
    text = metrics.page().decode()
    assert not [line for line in text.splitlines() if ":tensorflow:" in line and "_total" in line]
    assert "# TYPE :tensorflow:core:graph_run_time_usecs counter" in text


def test_versions_in_memory_are_those_of_the_moment(tmp_path):
    catalogue = Catalogue(lambda path, name, version: object())
    metrics = Metrics(lambda: catalogue.sizes)
    catalogue.load("m", 1, tmp_path)
    catalogue.load("m", 2, tmp_path)
    assert numbers(metrics)['probity_loaded_versions{model_name="m"}'] == 2
    catalogue.unload("m", 1)
    assert numbers(metrics)['probity_loaded_versions{model_name="m"}'] == 1


def test_one_process_tells_of_itself(metrics):
    kilobytes = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    found = numbers(metrics)
    assert found["process_resident_memory_bytes"] == pytest.approx(int(kilobytes.split()[1]) * 1024, rel=0.1)
    assert found["process_cpu_seconds_total"] == pytest.approx(sum(os.times()[:2]), abs=1.0)


def test_several_processes_are_added_up_and_strangers_are_not(tmp_path, monkeypatch):
    code = "import sys; held = bytearray(60 << 20); print(flush=True); sys.stdin.read()"
    workers = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for worker in workers:
            worker.stdout.readline()
        names = [*(worker.pid for worker in workers), os.getpid(), 1 << 30]  # no sibling of theirs, and no process
        for name in names:
            (tmp_path / f"counter_{name}.db").touch()
        monkeypatch.setattr(os, "getppid", os.getpid)  # as a worker that answers: these are its siblings
        found = {family.name: family.samples[0].value for family in _Processes(tmp_path).collect()}
        resident = [int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) for worker in workers]
        expected = sum(resident) * os.sysconf("SC_PAGE_SIZE")
        assert expected > 2 * (60 << 20)
        assert found["process_resident_memory_bytes"] == pytest.approx(expected, rel=0.05)
    finally:
        for worker in workers:
            worker.communicate()
