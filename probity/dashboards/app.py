"""The entry point of the dashboards, run by path: ``streamlit run`` does so, and ``probity dashboard``.

Its folder is put first on the path of imports by Streamlit, so no file in it may be called like a module of the
standard library. Arguments: the workspace, and the mode of access (:mod:`probity.access`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from probity.access import Mode
from probity.dashboards.pages import show

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Shows the page that was asked for."""
    parser = argparse.ArgumentParser(prog="app.py")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--mode", choices=["local", "public", "login"], default="local")
    given = parser.parse_args(arguments)
    mode: Mode = given.mode
    show(given.workspace, mode=mode)


if __name__ == "__main__":
    main(sys.argv[1:])
