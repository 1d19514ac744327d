"""A user's Python file named in the config: found below the config's folder, and loaded as one named function.

The file runs with the rights of whoever runs the pipeline, so it may come from the project's own folder only: a path
that leaves it, by ``..``, by being absolute or through a symbolic link, is refused before anything is imported.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from probity.digest import digest_file
from probity.errors import ConfigError

__all__ = ["load_function", "module_path", "user_error"]


def module_path(module: str, *, root: Path, key: str) -> Path:
    """Returns the resolved path of a user's module file.

    Guarantees: the path, with every symbolic link followed, is a ``.py`` file below ``root``.

    Args:
        module: The path as the config gives it, relative to ``root``.
        root: The config file's folder.
        key: The config key, for the message.

    Raises:
        ConfigError: If the path leaves ``root`` or is no Python file.
    """
    try:
        path = (root / module).resolve()
        inside = path.is_relative_to(root.resolve()) and not Path(module).is_absolute()
    except (OSError, ValueError, RuntimeError):  # a loop of links, or a NUL in the name
        inside = False
    if not inside:
        raise ConfigError(
            key,
            seen="a path outside the config's folder",
            allowed="a relative path to a Python file below that folder",
            remedy="copy the file beside the config",
        )
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(
            key,
            seen="no such Python file",
            allowed="an existing file whose name ends in .py",
            remedy="check the path, which starts at the config's folder",
        )
    return path


def load_function(module: str, name: str, *, root: Path, key: str) -> Callable[..., Any]:
    """Imports a user's file and returns one of its functions.

    The file is imported under a name made from its content, so that two projects in one process do not meet. What runs
    is that content: bytecode that lies beside the file is neither read nor written.

    Raises:
        ConfigError: If the path is refused, the import fails, or the file has no function of this name.
    """
    path = module_path(module, root=root, key=key)
    unique = f"probity_user_{path.stem}_{digest_file(path)[7:23]}"
    spec = importlib.util.spec_from_file_location(unique, path, loader=_SourceLoader(unique, str(path)))
    if spec is None or spec.loader is None:  # pragma: no cover - a .py file always has a loader
        raise ImportError(path.name)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[unique] = loaded  # so that the function can be pickled by name, which Beam does
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        del sys.modules[unique]
        raise user_error(error, path, key=key, doing="importing it") from error
    function = getattr(loaded, name, None)
    if not callable(function):
        raise ConfigError(
            key,
            seen=f"{path.name} has no function {name}",
            allowed=f"a file that defines {name}",
            remedy=f"define {name} in it; the name is fixed",
        )
    return function  # type: ignore[no-any-return]


class _SourceLoader(SourceFileLoader):
    """Compiles the file as it is now.

    Python takes bytecode that it kept for a file of equal size and time: after two edits within one second that of the
    first, and at any time what somebody else put there. A run records the digest of the source.
    """

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def user_error(
    error: BaseException, path: Path, *, key: str, doing: str, allowed: str = "a file that runs without an error"
) -> ConfigError:
    """Returns the error to raise when a user's code failed: where it was, and never what it said.

    The text of the original error may quote data; it stays reachable as the cause.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == path.name]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        where = f" at line {error.lineno}"
    else:
        where = f" at line {frames[-1].lineno}" if frames else ""
    return ConfigError(
        key,
        seen=f"{path.name} failed with {type(error).__name__}{where} while {doing}",
        allowed=allowed,
        remedy="mend it there; --debug shows the whole error",
    )
