"""The same ledger on a real PostgreSQL server, where one is installed."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from probity.digest import digest_bytes
from probity.errors import BudgetError, BudgetExceededError
from probity.platform.budget.entries import Account
from probity.platform.budget.ledger import Ledger, ledger_at
from probity.platform.budget.store import Store
from probity.workspace import Workspace
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


def spend_at_once(url, account):
    """Twenty processes reserve a fifth of a cap each."""
    ledger = Ledger(Store(url), accountant=plain_sum)
    ledger.grant(account, epsilon=1.0, delta=1e-5)
    whose = Account(id=account, content=digest_bytes(account.encode()), unit="row")
    children = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            code = 2
            try:
                Ledger(Store(url), accountant=plain_sum).reserve(whose, costs(0.2), **RUN)
                code = 0
            except BudgetExceededError:
                code = 1
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0] * 5 + [1] * 15
    assert ledger.balance(account).left == pytest.approx(0.0, abs=1e-9)


def test_twenty_processes_at_once_never_pass_the_cap(url):
    spend_at_once(url, "twenty")


def test_a_database_that_isolates_more_strictly_lets_processes_queue(url):
    """Such a database shows what was there before the lock was: an entry with a number that is taken by then."""
    import sqlalchemy as sa

    owner = sa.create_engine(url)
    with owner.begin() as connection:
        connection.execute(sa.text("alter role ledger set default_transaction_isolation = 'repeatable read'"))
    try:
        spend_at_once(url, "strict")
    finally:
        with owner.begin() as connection:
            connection.execute(sa.text("alter role ledger reset default_transaction_isolation"))
        owner.dispose()


def test_a_process_killed_between_reserving_and_paying_leaves_it_counted(url):
    ledger = Ledger(Store(url), accountant=plain_sum)
    ledger.grant("killed", epsilon=1.0, delta=1e-5)
    account = Account(id="killed", content=digest_bytes(b"killed"), unit="row")
    child = os.fork()
    if child == 0:
        with Ledger(Store(url), accountant=plain_sum).spending(account, costs(0.8), **RUN):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert ledger.balance("killed").reserved == 0.8
    with pytest.raises(BudgetExceededError, match="1 open reservations"):
        ledger.reserve(account, costs(0.3), **RUN)


def test_a_process_killed_within_a_transaction_frees_the_lock_and_leaves_nothing(url):
    ledger = Ledger(Store(url), accountant=plain_sum)
    before = ledger.history()
    child = os.fork()
    if child == 0:
        other = Ledger(Store(url), accountant=plain_sum)
        with other._store.transaction() as pages:
            other._add(pages, "killed", pages.entries[0].event)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    ledger.grant("after", epsilon=1.0, delta=1e-5)
    assert ledger.history()[:-1] == before


def test_a_server_that_lost_the_last_entries_is_noticed_by_who_wrote_them(url, tmp_path):
    import sqlalchemy as sa

    ledger = ledger_at(url, Workspace(tmp_path))
    last = ledger.grant("cut", epsilon=1.0, delta=1e-5)
    owner = sa.create_engine(url)
    with owner.begin() as connection:
        connection.execute(sa.text("delete from probity_budget where number = :n"), {"n": last.number})
    owner.dispose()
    with pytest.raises(BudgetError, match=f"entry {last.number}"):
        ledger.history()
    assert Ledger(Store(url)).history()  # the chain alone cannot show it


def test_users_who_may_only_add_rows_can_spend_and_cannot_rewrite(url):
    import sqlalchemy as sa

    Ledger(Store(url)).grant("added", epsilon=1.0, delta=1e-5)
    owner = sa.create_engine(url)
    with owner.begin() as connection:
        connection.execute(sa.text("create role trainer login"))
        connection.execute(sa.text("grant select, insert on probity_budget to trainer"))
    theirs = url.replace("ledger@", "trainer@")
    account = Account(id="added", content=digest_bytes(b"added"), unit="row")
    reservation = Ledger(Store(theirs), accountant=plain_sum).reserve(account, costs(0.5), **RUN)
    Ledger(Store(theirs), accountant=plain_sum).pay(reservation, costs(0.5))
    engine = sa.create_engine(theirs)
    for statement in (
        "delete from probity_budget",
        "update probity_budget set entry = ''",
        "drop table probity_budget",
    ):
        with pytest.raises(sa.exc.ProgrammingError), engine.begin() as connection:
            connection.execute(sa.text(statement))
    engine.dispose()
    owner.dispose()


def test_a_transaction_that_fails_leaves_nothing(url):
    ledger = Ledger(Store(url), accountant=plain_sum)
    ledger.grant(DATA, epsilon=1.0, delta=1e-5)
    before = ledger.history()
    with pytest.raises(BudgetExceededError):
        ledger.reserve(ACCOUNT, costs(5.0), **RUN)
    assert ledger.history() == before
