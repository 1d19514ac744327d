"""Which pages there are, who may see them, which run they show, and what surrounds them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from probity.access import Mode, Role, require_safe, role_rules
from probity.dashboards.catalogue import ON_A_PAGE, Line, catalogue, held_first, measures
from probity.dashboards.report import Report
from probity.dashboards.words import STATUSES, plain
from probity.errors import ConfigError
from probity.runs import RunFolder
from probity.workspace import Workspace

__all__ = ["PAGES", "Page", "prepare", "render_page", "show"]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page.

    Attributes:
        name: Of its module in ``views``, and in its address.
        title: What the reader sees.
        icon: A Material symbol.
        least: The least role that may see it.
        of_a_run: Whether it shows one run.
    """

    name: str
    title: str
    icon: str
    least: Role = Role.PUBLIC
    of_a_run: bool = True


PAGES = (
    Page(name="overview", title="Overview", icon=":material/list:", of_a_run=False),
    Page(name="run", title="Run", icon=":material/account_tree:", least=Role.VIEWER),
    Page(name="performance", title="Performance", icon=":material/monitoring:"),
    Page(name="fairness", title="Fairness", icon=":material/balance:"),
    Page(name="privacy", title="Privacy", icon=":material/shield:"),
    Page(name="explanations", title="Explanations", icon=":material/help:"),
    Page(name="compare", title="Compare", icon=":material/compare_arrows:", least=Role.VIEWER, of_a_run=False),
    Page(name="gate", title="Gate and approval", icon=":material/gavel:"),
    Page(name="card", title="Card", icon=":material/description:"),
    Page(name="live", title="Live", icon=":material/rocket_launch:", of_a_run=False),
)

# Drawn here: Streamlit would load an icon of its own from another machine.
_ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'><circle cx='12' cy='12' r='11' fill='#0072B2'/>"
    "<path d='M7 12l4 4 7-8' fill='none' stroke='#fff' stroke-width='2.5'/></svg>"
)

# Constant style: it hides on paper what only a screen needs, and keeps wide tables inside the page.
_STYLE = """<style>
@media print {
  [data-testid="stSidebar"], [data-testid="stHeader"], [data-testid="stToolbar"],
  [data-testid="stDownloadButton"], [data-testid="stStatusWidget"] { display: none !important; }
  [data-testid="stMain"], [data-testid="stAppViewContainer"], .stApp { overflow: visible !important; position: static !important; }
  [data-testid="stImage"], [data-testid="stTable"] { break-inside: avoid; }
}
[data-testid="stTable"] { overflow-x: auto; }
[data-testid="stTable"] td, [data-testid="stTable"] td * {
  overflow-wrap: anywhere; max-width: none !important; white-space: normal; }
[data-testid="stTable"] td:last-child, [data-testid="stTable"] td:last-child * { overflow-wrap: anywhere !important; }
[data-testid="stTable"] td, [data-testid="stTable"] th { font-variant-numeric: tabular-nums; }
:focus-visible { outline: 3px solid #0072B2 !important; outline-offset: 2px; }
</style>"""  # noqa: E501


def prepare(workspace: Path) -> None:
    """Imports and reads what the first reader would wait for; meant for a thread beside the server."""
    for name in ("pandas", *(f"probity.dashboards.views.{page.name}" for page in PAGES)):
        importlib.import_module(name)
    place = Workspace(workspace.resolve())
    for line in held_first(catalogue(place, Role.INTERNAL))[:ON_A_PAGE]:
        measures(RunFolder(place.root / "runs" / line.run))
    dialects = importlib.import_module("probity.model_cards.dialects").DIALECTS
    for name in ("huggingface", "cyclonedx"):  # loads the schemas of these forms, which takes seconds
        dialects[name].problems("{}")


def show(workspace: Path, *, mode: Mode) -> None:
    """Builds the whole screen for one reader: login, navigation, the choice of a run, and the page."""
    import streamlit as st

    st.set_page_config(page_title="probity", page_icon=_ICON, layout="wide")
    st.html(_STYLE)
    role = _role(mode) if _safe(mode) else None
    if role is None:
        return
    place = Workspace(workspace.resolve())
    found = catalogue(place, role)
    allowed = [page for page in PAGES if role >= page.least]
    screens = {
        page.name: st.Page(
            partial(_screen, page, place, role, found),
            title=page.title,
            icon=page.icon,
            url_path=page.name,
            default=page.name == "overview",
        )
        for page in allowed
    }
    current = st.navigation(list(screens.values()), expanded=True)
    asked = st.query_params.get("page")
    if asked in screens and current.url_path == "":
        st.switch_page(screens[asked], query_params={"run": st.query_params.get("run", "")})
    _choose(found)
    current.run()


def render_page(page: Page, report: Report) -> None:
    """Renders one page for a run, or says that there is no run to show."""
    import streamlit as st

    st.title(page.title)
    if page.of_a_run and report.run is None:
        st.info("There is no run to show yet. Start one with: probity run CONFIG")
        return
    if page.of_a_run:
        line = report.line
        status = STATUSES.get(line.status, line.status) if line else ""
        st.caption(plain(f"{report.folder.id} \N{MIDDLE DOT} {status}"))
    module = importlib.import_module(f"probity.dashboards.views.{page.name}")
    module.render(report)


def _screen(page: Page, place: Workspace, role: Role, found: tuple[Line, ...]) -> None:
    import streamlit as st

    chosen = st.session_state["run"] if found else None
    with st.sidebar:
        printing = st.toggle("For paper", key="printing", help="Opens every table, so that printing shows them all.")
        st.caption(f"You read as: {role.name.lower()}. Numbers are read from finished runs; nothing here changes one.")
    report = Report(
        workspace=place,
        role=role,
        lines=found,
        run=None if chosen is None else RunFolder(place.root / "runs" / chosen),
        dark=st.context.theme.type == "dark",
        printing=printing,
    )
    render_page(page, report)


def _choose(found: Sequence[Line]) -> None:
    """Asks for a run in the sidebar, starting with the one in the address, and keeps the address in step.

    Stands outside of the pages: Streamlit takes a page's own widget for a new one on the next page, and forgets its
    value.
    """
    import streamlit as st

    ids = [line.run for line in held_first(found)]
    if not ids:
        return
    asked = st.query_params.get("run")
    if "run" not in st.session_state:  # a new reader
        fitting = [run for run in ids if asked and run.startswith(asked)]
        newest = next((line.run for line in found if line.verdict), found[0].run)
        st.session_state["run"] = fitting[0] if len(fitting) == 1 else newest
        if asked and asked != "latest" and len(fitting) != 1:
            st.sidebar.warning("The run in the address is not in this workspace, or not for you.")
    if st.session_state["run"] not in ids:
        st.session_state["run"] = ids[0]
    marks = {line.run: STATUSES.get(line.status, line.status).split(" ", 1)[0] for line in found}
    st.query_params["run"] = st.sidebar.selectbox("Run", ids, format_func=lambda run: f"{marks[run]} {run}", key="run")


def _safe(mode: Mode) -> bool:
    """Whether this server may show anything in this mode: also when somebody started it without our command."""
    import streamlit as st

    try:
        require_safe(address=st.get_option("server.address") or "every address", mode=mode)
    except ConfigError as error:
        st.error(plain(str(error)))
        return False
    return True


def _role(mode: Mode) -> Role | None:
    """Returns the reader's role; shows the login, or that there is nothing for this person, and returns ``None``."""
    import streamlit as st

    if mode != "login":
        return Role.PUBLIC if mode == "public" else Role.INTERNAL
    try:
        rules = role_rules(dict(st.secrets.get("probity", {})))
    except (ConfigError, FileNotFoundError) as error:
        st.error("The section probity of secrets.toml cannot be used; the log of the server says why.")
        st.caption(type(error).__name__)
        return None
    if not st.user.get("is_logged_in", False):
        st.title("probity")
        st.button("Log in", on_click=st.login, type="primary")
        return None
    role = rules.role_of(st.user.to_dict())
    st.sidebar.button("Log out", on_click=st.logout)
    if role is None:
        st.error("You are logged in, and nobody gave you a role here. Ask the owner of these dashboards.")
    return role
