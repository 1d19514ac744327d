"""One direction of imports, and nothing heavy for those who only ask for help."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import probity

PACKAGE = Path(probity.__file__).parent
PROJECT = PACKAGE.parent

HEAVY = frozenset(
    [
        "tensorflow",
        "keras",
        "tf_keras",
        "tensorflow_data_validation",
        "tensorflow_transform",
        "tensorflow_model_analysis",
        "tfx_bsl",
        "tensorflow_metadata",
        "fairness_indicators",
        "apache_beam",
        "ml_metadata",
        "mlflow",
        "shap",
        "streamlit",
        "matplotlib",
        "pandas",
        "sklearn",
    ]
)

# What a reader of finished runs, and the gate, must not depend on.
FRAMEWORK_FREE = ("model_cards", "dashboards", "runs.py", "platform/gate.py")

HELP = """
import runpy, sys
sys.argv = ["probity", *{arguments!r}]
try:
    runpy.run_module("probity", run_name="__main__")
except SystemExit:
    pass
"""


def modules_after(code):
    """Names of the top-level packages that a fresh interpreter has loaded after running the code."""
    dump = "\nimport json, sys\nprint('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", code + dump], capture_output=True, text=True, env=environment, check=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1])), done.stdout


def test_importing_the_package_loads_no_framework():
    loaded, _ = modules_after("import probity")
    assert "probity" in loaded
    assert not loaded & HEAVY
    assert not loaded & {"numpy", "pyarrow", "pydantic"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["show", "--help"]])
def test_help_loads_no_framework(arguments):
    loaded, output = modules_after(HELP.format(arguments=arguments))
    assert "Usage" in output
    assert not loaded & HEAVY


def test_the_nouns_load_no_framework():
    nouns = ["config", "data", "model", "findings", "card", "decision", "runs"]
    loaded, _ = modules_after("\n".join(f"import probity.{name}" for name in nouns))
    assert not loaded & HEAVY


def test_the_import_contracts_hold():
    # In a process of its own: the linter reads modules in several processes, which ends pytest's capture of output.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def imported(nodes):
    """Top-level packages that import statements name."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def at_import_time(tree):
    """Statements that run when the module is imported, the bodies of classes and plain blocks included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from at_import_time(node)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_heavy_packages_are_imported_inside_the_function_that_needs_them(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not imported(at_import_time(tree)) & HEAVY


@pytest.mark.parametrize("name", FRAMEWORK_FREE)
def test_readers_of_finished_runs_need_no_framework_at_all(name):
    place = PACKAGE / name
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.exists() else []:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not imported(ast.walk(tree)) & {"tensorflow", "mlflow"}, path


def test_the_check_sees_what_it_looks_for():
    planted = (
        "import numpy\nif TYPE_CHECKING:\n    import shap\ntry:\n    import mlflow\nexcept ImportError:\n    pass\n"
    )
    planted += "def f():\n    import pandas\nclass C:\n    from tensorflow import keras\n"
    assert imported(at_import_time(ast.parse(planted))) & HEAVY == {"mlflow", "tensorflow"}
    assert "pandas" in imported(ast.walk(ast.parse(planted)))


def test_the_actor_package_named_platform_does_not_shadow_the_standard_library():
    code = "import platform, probity.platform; print(platform.python_version())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.split()[-1].startswith("3.")
