"""Append-only files of sealed lines: what is changed, dropped, added or moved is noticed, whoever dies in between."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import warnings

import pytest

from probity.digest import digest_bytes
from probity.errors import ReleaseError, SignatureError
from probity.keys import create_key, load_key, trusted
from probity.signed_log import GENESIS, SignedLog, next_line, read_lines

MODEL = digest_bytes(b"model")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    create_key(path, kind="ed25519")
    return load_key(path)


@pytest.fixture
def log(tmp_path, key):
    made = SignedLog(tmp_path / "log.jsonl")
    for number in range(4):
        made.append(f"kind{number}", {"n": number}, subject=MODEL, name="m", keys=trusted(key.public), signer=key)
    return made


def test_lines_come_back_in_their_order(log, key):
    lines = log.read(trusted(key.public))
    assert [(line.number, line.kind, line.facts) for line in lines] == [
        (number + 1, f"kind{number}", {"n": number}) for number in range(4)
    ]
    assert [line.previous for line in lines] == [GENESIS, *(line.digest for line in lines[:-1])]
    assert {(line.subject, line.name, line.keyid) for line in lines} == {(MODEL, "m", key.keyid)}


def test_each_line_is_an_in_toto_statement_in_the_eyes_of_its_makers_library(log):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from google.protobuf import json_format
        from in_toto_attestation.v1 import statement_pb2
        from in_toto_attestation.v1.statement import Statement

        for raw in log.path.read_bytes().splitlines():
            payload = base64.b64decode(json.loads(raw)["payload"])
            statement = Statement.copy_from_pb(json_format.Parse(payload, statement_pb2.Statement()))
            statement.validate()
            assert statement.pb.subject[0].digest["sha256"] == MODEL.removeprefix("sha256:")


def test_an_absent_and_an_empty_log_have_no_lines(tmp_path, key):
    assert SignedLog(tmp_path / "absent.jsonl").read(trusted(key.public)) == ()
    assert read_lines(b"", trusted(key.public), name="log") == ((), ())


def rearranged(lines):
    yield "first dropped", lines[1:]
    yield "second dropped", [lines[0], *lines[2:]]
    yield "swapped", [lines[1], lines[0], *lines[2:]]
    yield "repeated", [*lines, lines[-1]]
    yield "repeated inside", [lines[0], lines[0], *lines[1:]]
    yield "reversed", lines[::-1]
    yield "empty line", [lines[0], b"", *lines[1:]]


def test_lines_that_are_not_where_they_were_written_are_noticed(log, key):
    lines = log.path.read_bytes().splitlines()
    for what, other in rearranged(lines):
        read, problems = read_lines(b"\n".join(other) + b"\n", trusted(key.public), name="log")
        assert problems, what
        assert len(read) < len(other), what
        assert problems[0].startswith("log, line "), what


def test_a_line_of_another_log_is_noticed(log, tmp_path, key):
    other = SignedLog(tmp_path / "other.jsonl")
    for number in range(3):
        other.append("theirs", {"n": number}, subject=MODEL, name="m", keys=trusted(key.public), signer=key)
    lines = log.path.read_bytes().splitlines()
    lines[1] = other.path.read_bytes().splitlines()[1]
    _, problems = read_lines(b"\n".join(lines) + b"\n", trusted(key.public), name="log")
    assert problems == ("log, line 2: not the line that was written here; one was dropped, added or moved",)


def test_a_changed_log_takes_no_further_line(log, key):
    content = log.path.read_bytes()
    log.path.write_bytes(content.replace(b"payloadType", b"payloadtype", 1))
    with pytest.raises(SignatureError, match="line 1"):
        log.append("more", {}, subject=MODEL, name="m", keys=trusted(key.public), signer=key)
    assert log.path.read_bytes().count(b"\n") == 4


@pytest.mark.parametrize("tail", [b"{", b'{"payload":"e30=', b"\x00\xff"])
def test_half_a_line_of_a_killed_process_is_not_part_of_the_log(log, key, tail):
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + tail)
    assert len(log.read(trusted(key.public))) == 4
    log.append("next", {}, subject=MODEL, name="m", keys=trusted(key.public), signer=key)
    assert log.path.read_bytes().startswith(whole)
    assert [line.number for line in log.read(trusted(key.public))] == [1, 2, 3, 4, 5]


def test_facts_may_depend_on_what_is_there_and_may_be_none(log, key):
    keys = trusted(key.public)
    assert log.append("more", lambda lines: None, subject=MODEL, name="m", keys=keys, signer=key) is None
    line = log.append("more", lambda lines: {"n": len(lines)}, subject=MODEL, name="m", keys=keys, signer=key)
    assert line.facts == {"n": 4}
    assert log.read(keys)[-1] == line


def test_a_log_that_cannot_be_written_is_one_message(tmp_path, key):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(ReleaseError, match="cannot be written"):
        SignedLog(tmp_path / "log.jsonl").append("a", {}, subject=MODEL, name="m", keys=trusted(key.public), signer=key)


def test_what_next_line_returns_is_what_is_read(key):
    raw, line = next_line("a", {"x": [1]}, subject=MODEL, name="m", after=None, signer=key)
    assert read_lines(raw, trusted(key.public), name="log") == ((line,), ())


CHILD = """
import sys
from pathlib import Path
from probity.signed_log import SignedLog
from probity.keys import load_key, trusted
key = load_key(Path(sys.argv[2]))
log = SignedLog(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    log.append("a", {"pad": "x" * 4000}, subject="sha256:" + "0" * 64, name="m", keys=trusted(key.public), signer=key)
"""


def append_in_child(log, key, number):
    arguments = [sys.executable, "-c", CHILD, str(log.path), str(key.path), str(number)]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert child.stdout.readline().strip() == "ready"
    return child


def test_processes_that_append_at_once_leave_one_chain(tmp_path, key):
    log = SignedLog(tmp_path / "log.jsonl")
    children = [append_in_child(log, key, 8) for _ in range(2)]
    for child in children:
        child.communicate(timeout=400)
        assert child.returncode == 0
    assert [line.number for line in log.read(trusted(key.public))] == list(range(1, 17))


def test_a_process_that_is_killed_at_any_moment_leaves_a_log_that_can_be_read_and_continued(tmp_path, key):
    log = SignedLog(tmp_path / "log.jsonl")
    for delay in (0.005, 0.02, 0.04):
        child = append_in_child(log, key, 10_000)
        time.sleep(delay)
        child.kill()
        child.communicate()
        there = len(log.read(trusted(key.public)))
        log.append("mine", {}, subject=MODEL, name="m", keys=trusted(key.public), signer=key)
        assert len(log.read(trusted(key.public))) == there + 1
