"""Times every page of the dashboards as a reader waits for it: from the address to a page that stands still.

Command: ``make bench-dashboard``, or ``python benchmarks/dashboard.py WORKSPACE`` with a workspace that has a released
run. Its newest released run is copied until there are 500; their pages are opened in an installed Chromium, and the
script of every page is timed in this process as well, which leaves out the browser. Writes ``benchmarks/dashboard.md``.
The machine's other load is part of every number.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["STREAMLIT_SERVER_ADDRESS"] = "127.0.0.1"

from probity.access import Role
from probity.dashboards import catalogue as catalogue_module
from probity.dashboards.pages import PAGES
from probity.runs import RunFolder
from probity.workspace import Workspace

ROOT = Path(__file__).parents[1]
RUNS = 500
REPEATS = 5
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def many(source: RunFolder, root: Path) -> Workspace:
    """Returns a workspace of 500 runs, in folders of their own with linked files, without what no page reads."""
    left_out = shutil.ignore_patterns("03_examples", "examples", "saved_model", "logs", "*.parquet", "tfma", "*.svg")
    for number in range(RUNS):
        name = f"20260101T{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}Z-adult-income-{number:04x}"
        shutil.copytree(source.path, root / "runs" / name, ignore=left_out, copy_function=os.link)
    return Workspace(root)


def screen(name: str, root: str) -> None:
    """What Streamlit runs for a page."""
    from pathlib import Path

    from probity.access import Role
    from probity.dashboards.catalogue import catalogue
    from probity.dashboards.pages import PAGES, render_page
    from probity.dashboards.report import Report
    from probity.runs import RunFolder
    from probity.workspace import Workspace

    place = Workspace(Path(root))
    lines = catalogue(place, Role.INTERNAL)
    report = Report(workspace=place, role=Role.INTERNAL, lines=lines, run=RunFolder(place.root / "runs" / lines[0].run))
    render_page(next(page for page in PAGES if page.name == name), report)


def in_process(workspace: Workspace) -> dict[str, tuple[float, float]]:
    """Returns, for each page, the seconds of the first time and the median of later ones."""
    from streamlit.testing.v1 import AppTest

    found = {}
    for page in PAGES:
        times = []
        for _ in range(REPEATS):
            app = AppTest.from_function(screen, args=(page.name, str(workspace.root)), default_timeout=120)
            started = time.perf_counter()
            app.run()
            times.append(time.perf_counter() - started)
        found[page.name] = (times[0], statistics.median(times[1:]))
    return found


def in_browser(workspace: Workspace) -> dict[str, tuple[float, float]]:
    """Returns the same as a reader in a browser sees it; the server was just started for the first page."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "probity", "dashboard", "--port", str(port), "--workspace", str(workspace.root)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            tab = browser.new_page()
            return {page.name: _opened(tab, f"http://127.0.0.1:{port}", page) for page in PAGES}
    finally:
        server.terminate()
        server.wait(20)


def _opened(tab, address: str, page) -> tuple[float, float]:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        tab.goto(f"{address}/{'' if page.name == 'overview' else page.name}")
        tab.get_by_role("heading", name=page.title, level=1).wait_for(timeout=120_000)
        tab.wait_for_function("document.querySelector('[data-test-script-state=\"notRunning\"]')", timeout=120_000)
        times.append(time.perf_counter() - started)
    return times[0], statistics.median(times[1:])


def main() -> None:
    """Measures and writes the table."""
    given = Workspace(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "examples/adult_income/.probity").resolve())
    source = next(folder for folder in given.runs() if folder.status() == "released")
    with tempfile.TemporaryDirectory() as folder:
        workspace = many(source, Path(folder))
        started = time.perf_counter()
        catalogue_module.catalogue(workspace, Role.INTERNAL)
        listed = time.perf_counter() - started
        scripts = in_process(workspace)
        pages = in_browser(workspace) if CHROMIUM else {}
    load = os.getloadavg()[0]
    lines = [
        "# Dashboards with 500 runs",
        "",
        f"Adult example, {RUNS} runs in folders of their own, {os.cpu_count()} cores, load {load:.0f} by other work.",
        "Command: `make bench-dashboard`. Seconds: the first time, and the median of the later ones. *Script* is what",
        "Streamlit runs, without a browser; *browser* is from the address to a page that stands still.",
        "",
        f"Listing all runs from nothing: {listed:.2f} s.",
        "",
        "| page | script, first | script, later | browser, first | browser, later |",
        "|---|---|---|---|---|",
    ]
    for page in PAGES:
        cells = [*scripts[page.name], *pages.get(page.name, ())]
        lines.append(f"| {page.title} | {' | '.join(f'{seconds:.2f}' for seconds in cells)} |")
    (ROOT / "benchmarks/dashboard.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
