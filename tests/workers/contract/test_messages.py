"""Both halves of the contract say the same, and the worker's half refuses what is not it."""

import ast
import json
import sys
from pathlib import Path

import jsonschema
import pytest
from probity_worker_contract import ContractError, Outcome, WorkerFailure, messages
from probity_worker_contract.harness import perform
from pydantic import TypeAdapter, ValidationError

from probity.digest import digest_bytes, digest_file
from probity.trainers import worker_messages
from probity.trainers.worker_messages import WorkerFinished, WorkerRequest, WorkerResult

CONTRACT = Path(messages.__file__).parent
EXAMPLES = sorted((CONTRACT / "examples").glob("*.json"))
RECORDS = {"request": TypeAdapter(WorkerRequest), "result": TypeAdapter(WorkerResult)}


def example(name):
    return json.loads((CONTRACT / "examples" / f"{name}.json").read_text())


def written(folder, **changes):
    """A request of one file, as the parent writes it."""
    (folder / "rows.npz").write_bytes(b"rows")
    value = {**example("request"), "files": {"rows.npz": digest_bytes(b"rows")}, **changes}
    (folder / "request.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize("name", [name for name in vars(worker_messages) if name.isupper() and name[0] != "_"])
def test_both_halves_use_the_same_version_and_file_names(name):
    assert getattr(messages, name) == getattr(worker_messages, name)


@pytest.mark.parametrize("name", RECORDS)
def test_the_schemas_are_those_of_the_records(name):
    schema = json.loads((CONTRACT / "schemas" / f"{name}.json").read_text())
    del schema["$schema"]
    assert schema == RECORDS[name].json_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_parent_and_the_schema_read_the_examples(path):
    kind, value = path.stem.partition("_")[0], json.loads(path.read_text())
    jsonschema.validate(value, json.loads((CONTRACT / "schemas" / f"{kind}.json").read_text()))
    assert RECORDS[kind].validate_python(value).to_json() == value


def test_the_worker_reads_what_the_parent_writes(tmp_path):
    task = messages.read_request(written(tmp_path), worker="federated")
    request = WorkerRequest.from_json(json.loads((tmp_path / "request.json").read_text()))
    assert (task.seed, task.deadline_seconds, dict(task.body)) == (request.seed, 3600.0, request.body)
    assert task.digest == digest_file(tmp_path / "request.json")


def test_the_parent_reads_what_the_worker_writes(tmp_path):
    task = messages.read_request(written(tmp_path), worker="federated")
    for name in (messages.WEIGHTS, messages.PROBE):
        (tmp_path / name).write_bytes(name.encode())
    messages.write_ok(task, Outcome(body={"rounds": 3}, environment={"python": "3.11"}, warnings=("one",)))
    found = WorkerFinished.from_json(json.loads((tmp_path / "result.json").read_text()))
    assert found.request == digest_file(tmp_path / "request.json")
    assert found.files == {name: digest_bytes(name.encode()) for name in (messages.WEIGHTS, messages.PROBE)}
    assert (found.body, found.environment, found.warnings) == ({"rounds": 3}, {"python": "3.11"}, ("one",))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contract_version": 2}, "another contract version"),
        ({"contract_version": True}, "another contract version"),
        ({"worker": "encrypted"}, "another worker"),
        ({"extra": 1}, "unknown keys: extra"),
        ({"seed": "7"}, "seed is of another type"),
        ({"seed": True}, "seed is of another type"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"body": []}, "body is of another type"),
        ({"files": {"rows.npz": "sha256:" + "0" * 64}}, "is not the file"),
        ({"files": {"rows.npz": "md5:0"}}, "digest"),
        ({"files": {"absent.npz": "sha256:" + "0" * 64}}, "not in the worker folder"),
        ({"files": {"../rows.npz": "sha256:" + "0" * 64}}, "outside"),
        ({"files": {"/etc/hosts": "sha256:" + "0" * 64}}, "outside"),
    ],
)
def test_a_request_that_is_not_one_is_refused_and_reported(changes, words, tmp_path):
    with pytest.raises(ContractError, match=words):
        messages.read_request(written(tmp_path, **changes), worker="federated")
    assert perform(lambda task: pytest.fail("worked"), tmp_path, worker="federated") == 1
    assert json.loads((tmp_path / "result.json").read_text())["code"] == "contract"


def test_a_worker_that_leaves_no_weights_is_an_error(tmp_path):
    assert perform(lambda task: Outcome(body={}), written(tmp_path), worker="federated") == 1
    answer = json.loads((tmp_path / "result.json").read_text())
    assert (answer["status"], answer["message"]) == ("error", "the worker left no weights.npz and no probe.npz")


def test_progress_is_appended_and_never_nan(tmp_path):
    task = messages.read_request(written(tmp_path), worker="federated")
    task.report({"round": 1})
    task.report({"round": 2})
    assert [json.loads(line)["round"] for line in (tmp_path / "progress.jsonl").read_text().splitlines()] == [1, 2]
    with pytest.raises(ValueError, match="JSON"):
        task.report({"loss": float("nan")})


def test_a_code_is_lower_case_words(tmp_path):
    assert WorkerFailure("no_clients", "x").code == "no_clients"
    assert WorkerFailure("No clients!", "x").code == "unexpected"
    with pytest.raises(ValidationError):
        RECORDS["result"].validate_python({**example("result_error"), "code": "No clients!"})


def test_the_contract_is_standard_library_only():
    for path in CONTRACT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names} - {"probity_worker_contract", "__future__"}
            assert roots <= set(sys.stdlib_module_names), path.name
