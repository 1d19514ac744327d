"""Random bytes: the cipher's own definition, and every way in which two streams could be one."""

import subprocess
import sys

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from probity.trainers.dp_sgd.keystream import KeyStream


@given(step=st.integers(0, 2**64 - 1), counts=st.lists(st.integers(1, 70), min_size=1, max_size=4))
def test_bytes_are_encrypted_counters(step, counts):
    """Block j of step s is AES(key, s || j), here by the block cipher itself (SP 800-38A, section 6.5)."""
    stream = KeyStream("test", fixed_seed=1)
    drawn = stream.at(step)
    taken = b"".join(drawn.take(count).tobytes() for count in counts)
    blocks = b"".join(step.to_bytes(8, "big") + j.to_bytes(8, "big") for j in range(len(taken) // 16 + 1))
    encryptor = Cipher(algorithms.AES(stream._key), modes.ECB()).encryptor()  # noqa: S305 - the definition of CTR
    assert taken == encryptor.update(blocks)[: len(taken)]
    assert len(stream._key) == 32


def first(stream, step=0):
    return stream.at(step).take(32).tobytes()


def test_streams_keyed_by_the_system_differ():
    assert len({first(KeyStream("noise")) for _ in range(20)}) == 20


def test_fixed_seeds_repeat_and_purposes_do_not():
    assert first(KeyStream("noise", fixed_seed=1)) == first(KeyStream("noise", fixed_seed=1))
    others = {first(KeyStream(purpose, fixed_seed=seed)) for purpose in ("noise", "batches") for seed in (0, 1, 11)}
    assert len(others) == 6


def test_steps_differ_and_none_is_used_twice():
    stream = KeyStream("noise")
    assert first(stream, 3) != first(stream, 4)
    for step in (4, 0):
        with pytest.raises(RuntimeError, match=f"step {step}"):
            stream.at(step)


def test_taken_bytes_belong_to_the_caller_until_the_next_question():
    stream = KeyStream("noise", fixed_seed=1)
    taken = stream.at(0).take(64)
    taken[:] = 0
    assert np.any(KeyStream("noise", fixed_seed=1).at(0).take(64))
    assert first(stream, 1) == first(KeyStream("noise", fixed_seed=1), 1)


@pytest.mark.parametrize("seed", [None, 5])
def test_a_forked_process_does_not_repeat_the_stream(seed):
    """Unless the stream is meant to be repeatable."""
    code = f"""
import os
from probity.trainers.dp_sgd.keystream import KeyStream
stream = KeyStream("noise", fixed_seed={seed})
stream.at(0)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, stream.at(1).take(32).tobytes())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reading, 32) == stream.at(1).take(32).tobytes())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(seed is not None)
