"""Checkpoints outlive a failure, and two trainings never share them."""

from __future__ import annotations

import contextlib
import subprocess
import sys

from probity.platform.checkpoints import checkpoint_folder


def test_checkpoints_outlive_a_failure_and_not_a_success(tmp_path):
    folder = tmp_path / "checkpoints" / "key"
    with contextlib.suppress(ZeroDivisionError), checkpoint_folder(folder) as kept:
        (kept / "weights").write_text("step 7")
        raise ZeroDivisionError
    with checkpoint_folder(folder) as kept:
        assert (kept / "weights").read_text() == "step 7"
    assert not folder.exists()


def test_two_trainings_never_share_checkpoints_and_a_killed_one_frees_them(tmp_path):
    folder = tmp_path / "checkpoints" / "key"
    program = f"""
import time
from pathlib import Path
from probity.platform.checkpoints import checkpoint_folder
with checkpoint_folder(Path({str(folder)!r})) as kept:
    (kept / "weights").write_text("half way")
    print("held", flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with checkpoint_folder(folder) as kept:
        assert kept is None
    other.kill()
    other.wait()
    with checkpoint_folder(folder) as kept:
        assert (kept / "weights").read_text() == "half way"
