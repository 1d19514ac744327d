"""A user's module: from the config's folder only, and errors without what it said."""

import os
import py_compile
import sys

import pytest

from probity.errors import ConfigError
from probity.usercode import load_function, module_path

BODY = "def preprocessing_fn(inputs):\n    return inputs\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "project" / "sub").mkdir(parents=True)
    (tmp_path / "outside.py").write_text(BODY)
    for name in ("mine.py", "sub/deep.py", "notes.txt"):
        (tmp_path / "project" / name).write_text(BODY)
    (tmp_path / "project" / "link.py").symlink_to(tmp_path / "outside.py")
    (tmp_path / "project" / "inner.py").symlink_to(tmp_path / "project" / "mine.py")
    (tmp_path / "project" / "loop.py").symlink_to(tmp_path / "project" / "loop.py")
    (tmp_path / "project" / "away").symlink_to(tmp_path)
    return tmp_path / "project"


@pytest.mark.parametrize("module", ["mine.py", "sub/deep.py", "./mine.py", "sub/../mine.py", "inner.py"])
def test_files_below_the_folder_are_loaded(root, module):
    assert load_function(module, "preprocessing_fn", root=root, key="transform.module")(3) == 3


def test_what_runs_is_the_source_and_no_bytecode_beside_it(root, monkeypatch):
    """An edit that keeps size and time, which is what Python knows its bytecode by."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path, cached = root / "mine.py", root / "__pycache__"
    assert load_function("mine.py", "preprocessing_fn", root=root, key="k")(3) == 3
    assert not cached.exists()
    py_compile.compile(str(path))
    assert cached.exists()
    kept = path.stat()
    path.write_text(BODY.replace("return inputs", "return 777777"))
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert path.stat().st_size == kept.st_size
    assert load_function("mine.py", "preprocessing_fn", root=root, key="k")(3) == 777777


@pytest.mark.parametrize("module", ["../outside.py", "link.py", "away/outside.py", "sub/../../outside.py", "a\0.py"])
def test_a_path_that_leaves_the_folder_is_refused(root, module):
    with pytest.raises(ConfigError, match=r"transform\.module: a path outside"):
        module_path(module, root=root, key="transform.module")


def test_an_absolute_path_is_refused_even_below_the_folder(root):
    with pytest.raises(ConfigError, match="a path outside"):
        module_path(str(root / "mine.py"), root=root, key="k")


@pytest.mark.parametrize("module", ["absent.py", "notes.txt", "sub", "."])
def test_what_is_no_python_file_is_refused(root, module):
    with pytest.raises(ConfigError, match="no such Python file"):
        module_path(module, root=root, key="k")


def test_a_loop_of_links_is_refused(root):
    with pytest.raises(ConfigError):
        module_path("loop.py", root=root, key="k")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1\nraise ValueError('secret')\n", "ValueError at line 2 while importing it"),
        ("def preprocessing_fn(:\n", "SyntaxError at line 1"),
        ("preprocessing_fn = 3\n", "no function preprocessing_fn"),
        ("import absent_module_xyz\n", "ModuleNotFoundError at line 1"),
    ],
)
def test_a_broken_file_says_where_and_not_what(root, body, message):
    (root / "broken.py").write_text(body)
    with pytest.raises(ConfigError, match=message) as raised:
        load_function("broken.py", "preprocessing_fn", root=root, key="k")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is not None or "no function" in message


def test_two_files_of_one_name_do_not_meet(tmp_path):
    for folder, result in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text(f"def f():\n    return {result}\n")
    first, second = (load_function("m.py", "f", root=tmp_path / folder, key="k") for folder in ("a", "b"))
    assert (first(), second()) == (1, 2)
