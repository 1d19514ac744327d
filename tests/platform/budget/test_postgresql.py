"""The same ledger on a real PostgreSQL server, where one is installed."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from probity.errors import BudgetExceededError
from probity.platform.budget.ledger import Ledger
from probity.platform.budget.store import Store
from tests.platform.budget.test_ledger import ACCOUNT, DATA, RUN, costs, plain_sum

BINARIES = sorted(glob.glob("/usr/lib/postgresql/*/bin"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BINARIES, reason="no PostgreSQL server is installed (/usr/lib/postgresql/*/bin)"),
]


def unprivileged():
    """PostgreSQL refuses to run as root."""
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)


@pytest.fixture(scope="module")
def url():
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    data = folder / "data"
    run = {"preexec_fn": unprivileged, "check": True, "capture_output": True, "cwd": folder}
    subprocess.run([f"{BINARIES[-1]}/initdb", "-D", data, "-U", "ledger", "--auth=trust"], **run)
    start = ["-o", f"-k {folder} -c listen_addresses=", "-w", "-l", folder / "log"]
    subprocess.run([f"{BINARIES[-1]}/pg_ctl", "-D", data, *start, "start"], **{**run, "capture_output": False})
    try:
        yield f"postgresql+psycopg://ledger@/postgres?host={folder}"
    finally:
        subprocess.run([f"{BINARIES[-1]}/pg_ctl", "-D", data, "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder, ignore_errors=True)


def test_twenty_processes_at_once_never_pass_the_cap(url):
    ledger = Ledger(Store(url), accountant=plain_sum)
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    children = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            code = 2
            try:
                Ledger(Store(url), accountant=plain_sum).reserve(ACCOUNT, costs(0.2), **RUN)
                code = 0
            except BudgetExceededError:
                code = 1
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0] * 5 + [1] * 15
    assert ledger.balance(DATA).left == pytest.approx(0.0, abs=1e-9)


def test_a_transaction_that_fails_leaves_nothing(url):
    ledger = Ledger(Store(url), accountant=plain_sum)
    before = ledger.history()
    with pytest.raises(BudgetExceededError):
        ledger.reserve(ACCOUNT, costs(5.0), **RUN)
    assert ledger.history() == before
