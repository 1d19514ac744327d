"""Where a ledger lies: one table that is only appended to, in SQLite or in PostgreSQL.

A transaction holds the ledger alone from reading it to adding to it, so what was checked is still true when it is
written down: SQLite by ``BEGIN IMMEDIATE``, PostgreSQL by an advisory lock that ends with the transaction. A process
that is killed within one leaves the ledger as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from probity.errors import BudgetError
from probity.platform.budget.entries import GENESIS, Entry, chained, is_chained

__all__ = ["Pages", "Store", "sqlite_url"]

_TABLE = "probity_budget"
_LOCK = 7_366_421_984_211_713  # any number, as long as it is this one wherever the table is used
_PATIENCE_SECONDS = 120
"""How long a process waits for others: composing what many runs spent can take seconds, and they queue."""


def sqlite_url(path: Path) -> str:
    """Returns the URL of a SQLite file."""
    return f"sqlite:///{path.resolve()}"


class Pages:
    """The ledger within one transaction.

    Attributes:
        entries: All entries, oldest first, checked.
    """

    def __init__(self, connection: Any, table: Any, entries: list[Entry]) -> None:
        self._connection = connection
        self._table = table
        self.entries = entries

    def add(self, entry: Entry) -> Entry:
        """Appends an entry; its number, chain and digest are filled in.

        Returns:
            The entry as it was written.
        """
        last = self.entries[-1] if self.entries else None
        placed = entry.model_copy(
            update={
                "number": 1 if last is None else last.number + 1,
                "previous": GENESIS if last is None else last.digest,
            }
        )
        placed = chained(placed)
        self._connection.execute(
            self._table.insert().values(number=placed.number, entry=json.dumps(placed.to_json(), allow_nan=False))
        )
        self.entries.append(placed)
        return placed


class Store:
    """A ledger's table.

    Args:
        url: SQLAlchemy URL.
    """

    def __init__(self, url: str) -> None:
        import sqlalchemy as sa

        self._shown = _shown(url)
        self._sqlite = url.startswith("sqlite")
        if self._sqlite:
            Path(urlsplit(url).path[1:]).parent.mkdir(parents=True, exist_ok=True)
        self._metadata = sa.MetaData()
        self._table = sa.Table(
            _TABLE,
            self._metadata,
            sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("entry", sa.Text, nullable=False),
        )
        with self._failures():
            self._engine = sa.create_engine(
                url, **({"connect_args": {"timeout": _PATIENCE_SECONDS}} if self._sqlite else {})
            )

    @contextmanager
    def transaction(self) -> Iterator[Pages]:
        """Holds the ledger alone, and writes what was added if nothing is raised.

        Raises:
            BudgetError: If the database cannot be used, or an entry was changed, removed or put in another place.
        """
        import sqlalchemy as sa

        with self._failures(), self._engine.connect() as connection:
            if self._sqlite:
                # The driver would begin only at the first write, when what was read may be old already.
                connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            try:
                self._metadata.create_all(connection)
                rows = connection.execute(sa.select(self._table).order_by(self._table.c.number)).all()
                yield Pages(connection, self._table, _checked(rows))
            except BaseException:
                self._end(connection, "ROLLBACK")
                raise
            self._end(connection, "COMMIT")

    def _end(self, connection: Any, word: str) -> None:
        if self._sqlite:
            connection.exec_driver_sql(word)
        elif word == "COMMIT":
            connection.commit()
        else:
            connection.rollback()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        import sqlalchemy as sa

        try:
            yield
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise BudgetError(
                f"budget ledger {self._shown}",
                seen=f"it cannot be used ({type(error).__name__})",
                allowed="a writable SQLite file, or a reachable PostgreSQL database (with the extra postgres)",
                remedy="check budget.url, the file's permissions or the server; nothing was spent",
            ) from error


def _checked(rows: Any) -> list[Entry]:
    entries: list[Entry] = []
    for row in rows:
        try:
            entry = Entry.from_json(json.loads(row.entry))
        except (ValueError, TypeError) as error:
            raise _tampered(row.number) from error
        if entry.number != row.number or not is_chained(entry, after=entries[-1] if entries else None):
            raise _tampered(row.number)
        entries.append(entry)
    return entries


def _tampered(number: int) -> BudgetError:
    return BudgetError(
        f"budget ledger, entry {number}",
        seen="it, or the one before it, was changed or removed after it was written",
        allowed="entries as they were written, in their order",
        remedy="restore the ledger from a copy; until then nothing can be spent",
    )


def _shown(url: str) -> str:
    """Returns what may be printed of a URL: no user, no password, no query."""
    parts = urlsplit(url)
    if parts.scheme.startswith("sqlite"):
        return Path(parts.path).name
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
