"""Nobody starts a process but the worker client, the launcher of the model server, and a comparison of runs."""

import ast
from pathlib import Path

import probity

PACKAGE = Path(probity.__file__).parent

MAY_START_PROCESSES = {
    "trainers/worker.py",
    "platform/serving/launcher.py",
    "platform/compare/processes.py",  # cells of a comparison: the seconds and the memory of each are its own
}

MODULES = {"subprocess", "multiprocessing", "pty", "pexpect"}
FUNCTIONS = ("system", "popen", "fork", "forkpty", "spawn", "exec", "posix_spawn")
CLASSES = {"ProcessPoolExecutor", "create_subprocess_exec", "create_subprocess_shell"}


def starts_processes(tree):
    """What in a module could start a process, as source text."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            origin = (node.module or "").partition(".")[0]
            names = [alias.name for alias in node.names]
            if origin in MODULES:
                found.append(node.module)
            found += [name for name in names if name in CLASSES or (origin == "os" and name.startswith(FUNCTIONS))]
        elif isinstance(node, ast.Attribute):
            of_os = isinstance(node.value, ast.Name) and node.value.id == "os"
            if node.attr in CLASSES or (of_os and node.attr.startswith(FUNCTIONS)):
                found.append(ast.unparse(node))
    return found


def test_only_the_named_modules_start_processes():
    offenders = {
        path.relative_to(PACKAGE).as_posix(): found
        for path in PACKAGE.rglob("*.py")
        if (found := starts_processes(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert {name: found for name, found in offenders.items() if name not in MAY_START_PROCESSES} == {}


def test_the_check_sees_what_it_looks_for():
    planted = """
import subprocess
import multiprocessing.pool
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from os import fork, path
import os, asyncio
os.system("x"); os.execv("x", []); os.path.join("a"); asyncio.create_subprocess_exec("x")
"""
    assert sorted(starts_processes(ast.parse(planted))) == [
        "ProcessPoolExecutor",
        "asyncio.create_subprocess_exec",
        "fork",
        "multiprocessing.pool",
        "os.execv",
        "os.system",
        "subprocess",
    ]
