"""The exception tree: exit codes as promised, messages in four parts, and errors that survive a process boundary."""

import copy
import inspect
import pickle
import subprocess
import sys

import pytest

from probity import errors
from probity.errors import ProbityError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ProbityError)]

# The promise to scripts, written out once more by hand.
EXIT_CODES = {
    "ConfigError": 2, "PluginError": 2, "UnknownPluginError": 2, "DuplicatePluginError": 2, "MissingExtraError": 2,
    "DataError": 2, "SchemaViolationError": 2, "DigestMismatchError": 2, "BudgetError": 4, "BudgetExceededError": 4,
    "WorkerNotReadyError": 5, "ReleaseHeldError": 3, "DataHeldError": 3, "ReleaseError": 2, "SignatureError": 2,
    "ProbityError": 1,
    "TrainingError": 1, "TrackingError": 2, "AuditError": 1, "WorkerError": 1, "WorkerCrashError": 1,
    "WorkerTimeoutError": 1, "WorkerContractError": 1, "WorkerReportedError": 1,
}  # fmt: skip


def make(kind):
    return kind("data.source", seen="a folder", allowed="a file", remedy="name one file")


@pytest.mark.parametrize("kind", KINDS)
def test_exit_codes(kind):
    assert kind.exit_code == EXIT_CODES[kind.__name__]


def test_every_error_is_exported_and_has_an_exit_code():
    assert {kind.__name__ for kind in KINDS} == set(errors.__all__) == set(EXIT_CODES)


def test_the_tree_in_the_docstring_names_every_error():
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_has_four_parts(kind):
    assert str(make(kind)) == "data.source: a folder. Allowed: a file. To do: name one file."


def test_a_question_has_no_full_stop_after_it():
    found = ProbityError("trainerr", seen="unknown key - did you mean 'trainer'?", allowed="a key", remedy="correct it")
    assert str(found) == "trainerr: unknown key - did you mean 'trainer'? Allowed: a key. To do: correct it."


@pytest.mark.parametrize("part", ["seen", "allowed", "remedy"])
def test_no_part_may_be_left_out(part):
    parts = {"seen": "a", "allowed": "b", "remedy": "c"}
    del parts[part]
    with pytest.raises(TypeError, match=part):
        ProbityError("x", **parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_errors_survive_pickling_and_copying(kind, protocol):
    error = make(kind)
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert (twin.argument, twin.seen, twin.allowed, twin.remedy) == (
            "data.source",
            "a folder",
            "a file",
            "name one file",
        )


def test_errors_can_be_caught_as_what_they_also_are():
    assert isinstance(make(errors.ConfigError), ValueError)
    assert isinstance(make(errors.MissingExtraError), ImportError)
    assert not issubclass(errors.DataError, ValueError)


def test_a_pickled_error_is_read_by_another_process():
    text = pickle.dumps(make(errors.SchemaViolationError)).hex()
    code = f"import pickle; print(pickle.loads(bytes.fromhex({text!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str(make(errors.SchemaViolationError))
