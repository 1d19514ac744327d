"""What TF Encrypted leaves open: masks that repeat between executions of a step, and operations that did not load."""

import json
import subprocess

import pytest

from probity.trainers.worker_environments import environment_of

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(
        environment_of("encrypted").why_not_ready() is not None, reason="run: probity workers sync encrypted"
    ),
]

PROGRAM = """
import json
from contextlib import nullcontext
import tensorflow as tf
from probity_encrypted_worker.cast import Cast, join
from probity_encrypted_worker.native import loaded_operations, require_operations
from probity_encrypted_worker.refusal import Refusal
from probity_encrypted_worker.sharing import choose, tracing

config = join(Cast())
protocol = choose("aby3", precision=64)
found = {"loaded": loaded_operations()}
for name, inside in (("library", nullcontext), ("worker", lambda: tracing(protocol))):
    def masks():
        with inside():
            return [mask.value for mask in protocol._gen_zero_sharing([4])]
    step = tf.function(masks, autograph=False)
    first, second = ([part.numpy().tolist() for part in step()] for _ in range(2))
    found[name] = {"repeats": first == second, "sum": [sum(column) % 2**64 for column in zip(*second)]}
refused = []
for missing in found["loaded"]:
    try:
        require_operations({**found["loaded"], missing: False})
    except Refusal as refusal:
        refused.append((refusal.code, missing in refusal.seen))
found["refused"] = refused
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    python = environment_of("encrypted").python
    ran = subprocess.run([str(python), "-I", "-c", PROGRAM], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def test_masks_of_a_compiled_step_repeat_in_the_library_alone(found):
    """The reason for drawing keys inside the step; when this fails, the library has mended it."""
    assert found["library"]["repeats"]


def test_masks_are_fresh_in_every_execution_and_still_sum_to_zero(found):
    assert not found["worker"]["repeats"]
    assert found["worker"]["sum"] == [0, 0, 0, 0]


def test_all_compiled_operations_loaded_and_each_is_required(found):
    assert found["loaded"] == {"secure randomness": True, "int128": True, "aux": True}
    assert found["refused"] == [["native_operations", True]] * 3
