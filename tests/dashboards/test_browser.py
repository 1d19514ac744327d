"""Every page of real runs in a real browser: no error, a quiet console, nothing from elsewhere; and the pictures.

The runs are those of the Adult example: plain, with differential privacy, and held by the strict policy. They take
minutes; finished ones are used where ``PROBITY_DASHBOARD_WORKSPACE`` names their workspace. With
``PROBITY_DASHBOARD_IMAGES`` set to a folder, the pictures of the tour are written there.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probity.dashboards.pages import PAGES
from probity.runs import RunFolder
from probity.workspace import Workspace

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "adult_income"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SLOWEST_SECONDS = 120
TOUR = (EXAMPLE.parents[1] / "docs" / "tutorials" / "dashboard-tour.md").read_text(encoding="utf-8")
FURTHER_DOWN = {
    ("performance", "plain"): [("performance-threshold", "What another threshold would do")],
    ("privacy", "dp_sgd"): [("privacy-budget", "Where the budget stands")],
}
"""Pictures of what stands further down on a page: name, and the heading to start at."""


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    given = os.environ.get("PROBITY_DASHBOARD_WORKSPACE")
    if given:
        return Workspace(Path(given).resolve())
    folder = tmp_path_factory.mktemp("adult")
    for path in EXAMPLE.glob("*.*"):
        shutil.copy(path, folder)
    for config in ("probity", "dp", "strict"):
        command = [sys.executable, "-m", "probity", "run", f"{config}.yaml", "--set", "serving.base_path=serving"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        assert done.returncode in (0, 3), done.stderr[-2000:]
    return Workspace(folder / ".probity")


@pytest.fixture(scope="session")
def runs(workspace):
    """The newest released run of each trainer; of those held the first, as those of a comparison come later."""
    found: dict[str, RunFolder] = {}
    for folder in workspace.runs():
        status = folder.status()
        if status == "held":
            found["held"] = folder
        elif status == "released":
            found.setdefault(folder.model().trainer, folder)
    assert {"held", "plain", "dp_sgd"} <= set(found)
    return found


def serve(workspace, *options):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "probity", "dashboard", "--port", str(port), "--workspace", str(workspace.root)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}"
        time.sleep(0.2)
    process.kill()
    raise AssertionError("the dashboards did not come up")


@pytest.fixture(scope="session")
def site(workspace):
    process, address = serve(workspace)
    yield address
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A tab that remembers what went wrong in it, and what it asked of other machines."""
    tab = chromium.new_page(viewport={"width": 1280, "height": 900})
    tab.troubles = []
    tab.on("console", lambda said: tab.troubles.append(f"{said.text} {said.location}") if is_trouble(said) else None)
    tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
    tab.on("request", lambda asked: tab.troubles.append(asked.url) if is_elsewhere(asked.url) else None)
    yield tab
    tab.close()


def is_trouble(said):
    """Errors of the page, but for one of Streamlit's own habits.

    A page that is not the first one looks for the server below its own address before it looks at the root.
    """
    known = ("/_stcore/health", "/_stcore/host-config")
    return said.type == "error" and not said.location.get("url", "").endswith(known)


def is_elsewhere(url):
    return not url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "about:"))


def opened(tab, address, *, title):
    """Goes to an address and waits until its page stands still."""
    tab.goto(address, timeout=SLOWEST_SECONDS * 1000)
    return settled(tab, title=title)


def settled(tab, *, title):
    tab.get_by_role("heading", name=title, level=1).wait_for(timeout=SLOWEST_SECONDS * 1000)
    tab.wait_for_function(
        "!document.querySelector('[data-testid=\"stStatusWidget\"]')"
        " && document.querySelector('[data-test-script-state=\"notRunning\"]')"
        " && !document.querySelector('[data-testid=\"stSkeleton\"]')",
        timeout=SLOWEST_SECONDS * 1000,
    )
    drawn = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    tab.wait_for_function(drawn, timeout=SLOWEST_SECONDS * 1000)
    assert tab.locator("[data-testid='stException']").count() == 0, f"an error box on {title}"
    return tab


def picture(tab, name):
    folder = os.environ.get("PROBITY_DASHBOARD_IMAGES")
    if folder and f"dashboard/{name}.png" in TOUR:
        tab.wait_for_timeout(600)  # rows of a grid are painted after they are there
        tab.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.mark.parametrize("kind", ["plain", "dp_sgd", "held"])
def test_every_page_of_a_run_opens_without_an_error(page, site, runs, kind):
    for entry in PAGES:
        path = "" if entry.name == "overview" else entry.name
        opened(page, f"{site}/{path}?run={runs[kind].id}", title=entry.title)
        picture(page, f"{entry.name}-{kind}")
        for name, heading in FURTHER_DOWN.get((entry.name, kind), ()):
            page.get_by_role("heading", name=heading, exact=True).scroll_into_view_if_needed()
            page.get_by_role("heading", name=heading, exact=True).evaluate("heading => heading.scrollIntoView()")
            picture(page, name)
        assert page.troubles == []


def test_pages_are_reached_by_the_navigation_and_the_run_stays(page, site, runs):
    opened(page, f"{site}/?run={runs['held'].id}", title="Overview")
    for entry in PAGES[1:]:
        page.get_by_test_id("stSidebarNavLink").filter(has=page.get_by_text(entry.title, exact=True)).click()
        settled(page, title=entry.title)
        assert runs["held"].id in page.url
    assert page.troubles == []


def test_a_link_with_page_and_run_leads_there(page, site, runs):
    opened(page, f"{site}/?page=gate&run={runs['held'].id}", title="Gate and approval")
    assert page.get_by_text("Hold.").count() == 1
    assert page.troubles == []


def test_the_keyboard_reaches_the_navigation_and_opens_a_page(page, site):
    opened(page, site, title="Overview")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").endswith("Fairness"):  # its icon is a word as well
            break
    page.keyboard.press("Enter")
    settled(page, title="Fairness")


def test_dark_pages_have_dark_charts(chromium, site, runs):
    context = chromium.new_context(color_scheme="dark", viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    opened(tab, f"{site}/fairness?run={runs['plain'].id}", title="Fairness")
    tab.wait_for_timeout(1000)
    ground = tab.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert ground == "rgb(14, 17, 23)"
    sources = tab.evaluate("[...document.querySelectorAll('[data-testid=stImage] img')].map(image => image.src)")
    picture(tab, "fairness-dark")
    context.close()
    assert sources
    assert all(is_dark(source) for source in sources)


def is_dark(source):
    import base64

    return "#0e1117" in base64.b64decode(source.partition("base64,")[2]).decode()


def test_paper_has_every_table_and_no_sidebar(page, site, runs):
    opened(page, f"{site}/fairness?run={runs['held'].id}", title="Fairness")
    page.get_by_text("For paper").click()
    settled(page, title="Fairness")
    page.emulate_media(media="print")
    assert page.locator("[data-testid='stSidebar']").is_hidden()
    assert page.locator("[data-testid='stExpander'] details:not([open])").count() == 0
    assert len(page.pdf()) > 50_000


def test_the_card_is_shown_in_a_frame_that_cannot_reach_the_page(page, site, runs):
    opened(page, f"{site}/card?run={runs['plain'].id}", title="Card")
    page.get_by_text("Show the card").click()
    frame = page.frame_locator("iframe[src^='data:text/html']")
    frame.get_by_role("heading", level=1).first.wait_for(timeout=30_000)
    inner = next(found for found in page.frames if found.url.startswith("data:text/html"))
    assert inner.evaluate("window.origin") == "null"
    page.locator("iframe[src^='data:text/html']").scroll_into_view_if_needed()
    picture(page, "card-preview")
    assert page.troubles == []


def test_the_public_sees_released_runs_and_nothing_else(page, workspace, runs):
    process, address = serve(workspace, "--public")
    try:
        opened(page, f"{address}/?run={runs['held'].id}", title="Overview")
        assert page.get_by_test_id("stSidebarNav").get_by_role("link").count() == sum(p.least == 0 for p in PAGES)
        picture(page, "overview-public")
        opened(page, f"{address}/explanations?run={runs['plain'].id}", title="Explanations")
        assert page.get_by_role("heading", name="Single rows").count() == 0
        assert page.troubles == []
        opened(page, f"{address}/run?run={runs['plain'].id}", title="Overview")
        assert [trouble.partition(".")[0] for trouble in page.troubles] == [
            "The page that you have requested does not seem to exist"
        ]
    finally:
        process.terminate()
        process.wait(20)
