"""The public API is what ``__all__`` says, and it says everything."""

import ast
import importlib
from pathlib import Path

import pytest

import probity
from probity import errors

PACKAGE = Path(probity.__file__).parent
ROOT_MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))


def defined_names(tree):
    """Public names that a module's own statements define: classes, functions and assignments, no imports."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign):
            found += [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.append(node.target.id)
    return {name for name in found if not name.startswith("_")}


def reading_order(name):
    """Constants, then types, then functions, each in alphabetical order (the order that ruff's RUF022 asks for)."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", ROOT_MODULES)
def test_all_is_what_the_module_defines(name):
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    module = importlib.import_module(f"probity.{name}")
    assert set(module.__all__) == defined_names(tree)
    assert list(module.__all__) == sorted(module.__all__, key=reading_order)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_name_in_all_is_defined_in_its_module(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "__init__.py":
        return  # loads its names when they are used; tested below
    listed = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    everything = defined_names(tree) | {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert {name for names in listed for name in names} <= everything


def test_the_package_exports_the_errors_and_the_nouns():
    assert set(errors.__all__) <= set(probity.__all__)
    nouns = {"RunConfig", "Dataset", "Examples", "Statistics", "Schema", "Anomalies", "Transform", "TrainedModel"}
    nouns |= {"Predictor", "Mechanism", "Estimate", "Finding", "AuditReport", "PrivacyStatement", "ModelCard"}
    nouns |= {"GatePolicy", "Check", "GateDecision", "Release"}
    assert nouns <= set(probity.__all__)
    assert list(probity.__all__) == sorted(probity.__all__)


@pytest.mark.parametrize("name", probity.__all__)
def test_every_exported_name_is_there_and_is_the_one_of_its_module(name):
    exported = getattr(probity, name)
    home = getattr(exported, "__module__", None)
    if isinstance(exported, type) and home and home.startswith("probity."):
        assert getattr(importlib.import_module(home), name) is exported


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Trainer2"):
        probity.Trainer2  # noqa: B018
    assert set(probity.__all__) <= set(dir(probity))


def test_the_check_sees_what_it_looks_for():
    planted = "from x import y\nA, G = 1, 2\n_b = 2\nc: int = 3\nclass D: ...\ndef e(): ...\nif True:\n    f = 1\n"
    assert defined_names(ast.parse(planted)) == {"A", "G", "c", "D", "e"}
