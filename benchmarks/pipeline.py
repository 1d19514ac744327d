"""Times the main job as a user meets it: whole processes, wall seconds and peak memory.

Command: ``make bench`` or ``python benchmarks/pipeline.py``. Writes ``benchmarks/pipeline.md``. The machine's other
load is part of every number, so each figure is the median of several runs where that is affordable, and the plain
``python -c pass`` of the same machine stands beside the short ones.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROBITY = str(Path(sys.executable).with_name("probity"))
CONFIG = ROOT / "examples/adult_income/probity.yaml"


def measure(*command: str) -> tuple[float, float, bytes]:
    """Runs a command once: wall seconds, peak resident MiB of the process, stdout."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        out.seek(0)
        return seconds, usage.ru_maxrss / 1024, out.read()


def median(runs: int, *command: str) -> tuple[float, float]:
    """Returns median wall seconds and median peak MiB over several runs, after one that is not counted."""
    measure(*command)
    measured = [measure(*command)[:2] for _ in range(runs)]
    return statistics.median(seconds for seconds, _ in measured), statistics.median(mib for _, mib in measured)


def main() -> None:
    """Measures and writes the table."""
    rows = [
        ("python -c pass", 7, *median(7, sys.executable, "-c", "pass")),
        ("import probity", 7, *median(7, sys.executable, "-c", "import probity")),
        ("probity --help", 7, *median(7, PROBITY, "--help")),
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = (
            PROBITY,
            "run",
            str(CONFIG),
            "--workspace",
            folder,
            "--set",
            f"serving.base_path={folder}/serving",
            "--json",
        )
        seconds, mib, out = measure(*run)
        first = json.loads(out)
        rows.append(("first probity run, Adult, 48,842 rows", 1, seconds, mib))
        again = [measure(*run)[:2] for _ in range(3)]
        rows.append(("unchanged second run", 3, *map(statistics.median, zip(*again, strict=True))))
    auc = next(check["observed"] for check in first["decision"]["checks"] if check["rule"] == "quality floor")
    lines = [
        "# The main job, whole processes",
        "",
        f"`make bench` on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}.",
        "",
        "| command | runs | wall seconds (median) | peak memory, MiB |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {runs} | {wall:.2f} | {mib:.0f} |" for name, runs, wall, mib in rows),
        "",
        f"Test AUC of the released model: {auc:.4f}.",
        "",
        "Stages of the first run:",
        "",
        "| stage | seconds |",
        "|---|---:|",
        *(f"| {stage['stage']} | {stage['seconds']:.1f} |" for stage in first["stages"]),
    ]
    (ROOT / "benchmarks/pipeline.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
