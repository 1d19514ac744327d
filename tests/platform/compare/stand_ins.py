"""What processes do in place of runs; a module of its own, since each of them imports it."""

import os
import signal
import time
from pathlib import Path

from probity.config_file import parse_config
from probity.platform.compare.grid import Cell
from probity.platform.compare.processes import CellResult, Job


def config(**changes):
    value = {
        "name": "a",
        "seed": 7,
        "data": {"source": "a.csv", "label": {"column": "y"}},
        "model": {"kind": "logistic"},
        "trainer": {"name": "dp_sgd", "noise_multiplier": 1.0, "epochs": 3},
        "serving": {"model_name": "a"},
    }
    return parse_config({**value, **changes})


def fake(job):
    """Stands in for a run; what it does depends on the seed."""
    if job.cell.seed == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    (Path(job.workspace) / f"{job.cell.name}-{os.getpid()}").touch()
    return CellResult(
        cell=job.cell, status="complete", run="20260101T000000Z-a-0000", seconds=0.1, peak_memory_bytes=os.getpid()
    )


def sleeping(job):
    """A run that takes long."""
    (Path(job.workspace) / f"pid-{os.getpid()}").touch()
    time.sleep(60)


def make_jobs(folder, seeds):
    return [
        Job(cell=Cell(trainer="plain", target_epsilon=None, seed=seed), config=config(), root=folder, workspace=folder)
        for seed in seeds
    ]
