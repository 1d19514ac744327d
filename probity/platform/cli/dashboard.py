"""``dashboard``: pages over finished runs, in the browser."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import probity
from probity.platform.cli.options import WorkspaceOption, workspace_at

if TYPE_CHECKING:
    from probity.access import Mode

__all__ = ["dashboard", "streamlit_options"]


def dashboard(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where to listen.")] = 8601,
    address: Annotated[str, typer.Option("--address", metavar="HOST", help="At which address.")] = "127.0.0.1",
    public: Annotated[bool, typer.Option("--public", help="Show published numbers of released runs only.")] = False,
    login: Annotated[
        bool, typer.Option("--login", help="Ask for a login: [auth] and [probity] in .streamlit/secrets.toml.")
    ] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show runs, audits, gate decisions and cards as pages. Reads finished runs; starts and changes nothing.

    Example: probity dashboard --workspace examples/adult_income/.probity
    """
    from probity.access import require_safe

    mode = _mode(public=public, login=login)
    require_safe(address=address, mode=mode)
    place = workspace_at(workspace)
    bootstrap, script = _streamlit(), Path(probity.__file__).parent / "dashboards" / "app.py"
    options = streamlit_options(address=address, port=port, browser=browser)
    bootstrap.load_config_options(options)
    # By name, as Streamlit runs them by path: the command line and the dashboards do not import one another.
    pages = importlib.import_module("probity.dashboards.pages")
    threading.Thread(target=pages.prepare, args=(place.root,), daemon=True, name="prepare").start()
    typer.echo(f"dashboards of {place.root} at http://{address}:{port}; end with Ctrl+C", err=True)
    bootstrap.run(str(script), False, ["--workspace", str(place.root), "--mode", mode], options)


def streamlit_options(*, address: str, port: int, browser: bool) -> dict[str, Any]:
    """Returns Streamlit's options: nothing is sent elsewhere, no file is watched, and errors show no text of data."""
    return {
        "server.address": address,
        "server.port": port,
        "server.headless": not browser,
        "server.fileWatcherType": "none",
        "server.enableXsrfProtection": True,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "global.developmentMode": False,
    }


def _mode(*, public: bool, login: bool) -> Mode:
    if public and login:
        from probity.errors import ConfigError

        raise ConfigError(
            "--public --login",
            seen="both",
            allowed="one of them",
            remedy="leave --login out: everybody sees the same published numbers, whoever they are",
        )
    return "public" if public else "login" if login else "local"


def _streamlit() -> Any:
    try:
        from streamlit.web import bootstrap
    except ImportError as error:
        from probity.errors import MissingExtraError

        raise MissingExtraError(
            "probity dashboard",
            seen="Streamlit is not installed",
            allowed="the extra dashboard",
            remedy="pip install 'probity[dashboard]'",
        ) from error
    return bootstrap
