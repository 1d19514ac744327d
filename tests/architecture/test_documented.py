"""Every error and every setting is documented, and the reference pages say what the code says."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

import probity
from probity import config, errors
from probity.metric import METRICS

PACKAGE = Path(probity.__file__).parent
PROJECT = PACKAGE.parent
DOCS = PROJECT / "docs"

SETTINGS = [
    kind
    for kind in vars(config).values()
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__module__ == config.__name__
]


def reference(name):
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_documented(name):
    kind = getattr(errors, name)
    assert "__doc__" in vars(kind)
    assert kind.__doc__
    assert f"`{name}`" in reference("errors.md")


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_every_setting_is_documented(kind):
    assert kind.__doc__
    page = reference("config.md")
    for name, field in kind.model_fields.items():
        assert field.description, f"{kind.__name__}.{name} has no description"
        assert f"| `{field.alias or name}` |" in page


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_documented(name):
    assert f"| `{name}` |" in reference("metrics.md")


def test_the_generated_pages_are_what_the_code_says():
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate_reference.py"), "--check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_between_pages_lead_somewhere():
    pages = [*DOCS.rglob("*.md"), *PROJECT.glob("*.md")]
    dead = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                dead.append(f"{page.relative_to(PROJECT)} -> {target}")
    assert dead == []


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    missing = [
        path.relative_to(DOCS).as_posix()
        for path in DOCS.rglob("*.md")
        if path != DOCS / "README.md" and path.relative_to(DOCS).as_posix() not in index
    ]
    assert missing == []


def public_definitions(tree):
    """Functions and classes that a reader may use, and the public methods of those classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_module_and_public_definition_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    assert [node.name for node in public_definitions(tree) if not ast.get_docstring(node)] == []


def test_the_words_we_do_not_use():
    # They promise more than any metric, mechanism or signature can: say which metric, which threat, which unit.
    # ("Unbiased" is a term of statistics too, so only what it is said of here counts.)
    claims = r"\b(fair model|unbiased (model|data|classifier|predict\w+|decisions?)|fully anonymous|bias[- ]free)\b"
    banned = re.compile(claims, re.IGNORECASE)
    found = []
    for page in [*DOCS.rglob("*.md"), *PROJECT.glob("*.md"), *PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2")]:
        for line in page.read_text(encoding="utf-8").splitlines():
            if banned.search(line):
                found.append(f"{page.relative_to(PROJECT)}: {line.strip()}")
    assert found == []


def test_the_error_tree_is_drawn_where_it_is_defined():
    drawn = inspect.getdoc(errors) or ""
    assert [name for name in errors.__all__ if name not in drawn] == []
