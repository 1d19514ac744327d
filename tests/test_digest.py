"""Digests against hashlib itself, and what must and must not change them."""

import hashlib
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probity.digest import canonical_json, digest_bytes, digest_file, digest_json, digest_tree, require_digest
from probity.errors import DigestMismatchError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_empty_bytes_have_the_published_sha256():
    # FIPS 180-4 test vectors for the empty message and "abc".
    assert digest_bytes(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_bytes(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_file_digest_is_that_of_its_bytes_across_the_chunk_limit(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert digest_file(tmp_path / "file") == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_canonical_json_is_written_as_documented():
    assert canonical_json({"b": [1, 2.5, None, True], "a": "é"}) == '{"a":"é","b":[1,2.5,null,true]}'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [math.nan], {"a": math.inf}])
def test_a_number_that_json_does_not_have_is_refused(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_json(value)


@given(value=JSON)
def test_layout_and_key_order_do_not_change_a_digest(value):
    other = json.loads(json.dumps(value, indent=3))
    if isinstance(other, dict):
        other = dict(reversed(list(other.items())))
    assert digest_json(other) == digest_json(value)


def test_different_values_have_different_digests():
    values = [None, 0, "0", [], {}, [0], [[0]], {"0": 0}, "", False]
    # 0 == False in Python, but not in JSON.
    assert len({digest_json(value) for value in values}) == len(values)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_bytes(b"1")
    (root / "sub" / "b").write_bytes(b"2")
    return root


def test_a_tree_digest_is_the_digest_of_names_and_file_digests(tree):
    listing = [["a", digest_bytes(b"1")], ["sub/b", digest_bytes(b"2")]]
    assert digest_tree(tree) == digest_json(listing)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "c").write_bytes(b""),
        lambda root: (root / "a").unlink(),
        lambda root: (root / "a").write_bytes(b"3"),
        lambda root: (root / "a").rename(root / "z"),
        lambda root: (root / "sub" / "b").rename(root / "b"),
    ],
    ids=["added", "removed", "changed", "renamed", "moved"],
)
def test_any_change_of_a_file_changes_the_tree_digest(tree, change):
    before = digest_tree(tree)
    change(tree)
    assert digest_tree(tree) != before


def test_times_modes_and_empty_folders_do_not_change_the_tree_digest(tree):
    before = digest_tree(tree)
    os.utime(tree / "a", (0, 0))
    (tree / "a").chmod(0o600)
    (tree / "empty").mkdir()
    assert digest_tree(tree) == before


def test_exclude_leaves_out_exactly_what_it_names(tree):
    (tree / "sub2").mkdir()
    (tree / "sub2" / "c").write_bytes(b"3")
    without = digest_tree(tree, exclude=["sub"])
    assert without == digest_json([["a", digest_bytes(b"1")], ["sub2/c", digest_bytes(b"3")]])


def test_a_symbolic_link_is_refused_and_its_target_not_named(tree):
    (tree / "link").symlink_to("/etc/hostname")
    with pytest.raises(DigestMismatchError) as caught:
        digest_tree(tree)
    assert caught.value.argument == "link"
    assert "hostname" not in str(caught.value)


def test_an_excluded_link_is_not_refused(tree):
    (tree / "link").symlink_to("/etc/hostname")
    assert digest_tree(tree, exclude=["link"])


def test_a_missing_folder_has_no_digest_but_an_empty_one_has(tmp_path):
    (tmp_path / "empty").mkdir()
    assert digest_tree(tmp_path / "empty") == digest_json([])
    with pytest.raises(DigestMismatchError):
        digest_tree(tmp_path / "missing")


def test_require_digest_is_silent_on_equality_and_short_on_difference():
    one, other = digest_bytes(b"1"), digest_bytes(b"2")
    require_digest("x", found=one, recorded=one)
    with pytest.raises(DigestMismatchError) as caught:
        require_digest("model.json", found=one, recorded=other)
    assert caught.value.argument == "model.json"
    assert one[:19] in str(caught.value)
    assert other[:19] in str(caught.value)
