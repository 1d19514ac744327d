"""Where a ledger lies: one table that is only appended to, in SQLite or in PostgreSQL.

A transaction holds the ledger alone from reading it to adding to it, so what was checked is still true when it is
written down: SQLite by ``BEGIN IMMEDIATE``, PostgreSQL by an advisory lock that ends with the transaction. A process
that is killed within one leaves the ledger as it was. SQLite keeps its rollback journal and waits for the disk at every
commit: entries are few, and each must survive a power cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from probity.errors import BudgetError, ConfigError
from probity.platform.budget import head
from probity.platform.budget.entries import Entry, chained, is_chained

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
        """Appends an entry.

        Returns:
            The entry as it was written: with its number, the digest of the one before it, and its own.
        """
        placed = chained(entry, after=self.entries[-1] if self.entries else None)
        self._connection.execute(
            self._table.insert().values(number=placed.number, entry=json.dumps(placed.to_json(), allow_nan=False))
        )
        self.entries.append(placed)
        return placed


class Store:
    """A ledger's table.

    Args:
        url: SQLAlchemy URL of a SQLite file or a PostgreSQL database.
        workspace: Folder that keeps the last entry written from it; ``None``: nothing shows a ledger that was cut.

    Raises:
        ConfigError: If it is the URL of another kind of database, or of one that forgets.
        BudgetError: If the database's driver is not there.
    """

    def __init__(self, url: str, *, workspace: Path | None = None) -> None:
        import sqlalchemy as sa

        self._shown = _shown(url)
        with self._failures():
            parsed = sa.make_url(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        _require_lasting(parsed, self._shown)
        self._file = Path(str(parsed.database)) if self._sqlite else None
        self._head = None if workspace is None else head.head_path(workspace, _address(parsed, workspace))
        self._metadata = sa.MetaData()
        self._table = sa.Table(
            _TABLE,
            self._metadata,
            sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("entry", sa.Text, nullable=False),
        )
        settings: dict[str, Any] = (
            {"connect_args": {"timeout": _PATIENCE_SECONDS}}
            if self._sqlite
            # A stricter level would take its snapshot before the lock is there, and read what is old by then.
            else {"isolation_level": "READ COMMITTED"}
        )
        with self._failures():
            self._engine = sa.create_engine(parsed, poolclass=sa.NullPool, **settings)

    @contextmanager
    def transaction(self) -> Iterator[Pages]:
        """Holds the ledger alone, and writes what was added if nothing is raised.

        Raises:
            BudgetError: If the database cannot be used, or entries were changed, removed or put in another place.
        """
        import sqlalchemy as sa

        with self._failures():
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._engine.connect() as connection:
                if self._sqlite:
                    # The driver would begin only at the first write, when what was read may be old already.
                    connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                try:
                    noted = self._noted()
                    self._metadata.create_all(connection)
                    pages = Pages(connection, self._table, _checked(self._rows(connection), noted=noted))
                    yield pages
                except BaseException:
                    self._end(connection, "ROLLBACK")
                    raise
                self._end(connection, "COMMIT")
        if self._head is not None and pages.entries:
            head.note(self._head, pages.entries[-1])

    def entries(self) -> list[Entry]:
        """Returns all entries, oldest first. Creates nothing, and waits for nobody who is composing.

        Raises:
            BudgetError: As :meth:`transaction`.
        """
        import sqlalchemy as sa

        # Before the entries: what others add and note in between is not in what is read here.
        noted = self._noted()
        if self._file is not None and not self._file.exists():
            return _checked([], noted=noted)
        with self._failures(), self._engine.connect() as connection:
            exists = sa.inspect(connection).has_table(_TABLE)
            return _checked(self._rows(connection) if exists else [], noted=noted)

    def _rows(self, connection: Any) -> Any:
        import sqlalchemy as sa

        return connection.execute(sa.select(self._table).order_by(self._table.c.number)).all()

    def _noted(self) -> head.Head | None:
        return None if self._head is None else head.seen(self._head)

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
        except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
            raise BudgetError(
                f"budget ledger {self._shown}",
                seen=f"it cannot be used ({type(error).__name__})",
                allowed="a writable SQLite file, or a reachable PostgreSQL database (with the extra postgres)",
                remedy="check budget.url, the file's permissions or the server; nothing was spent",
            ) from error


def _require_lasting(url: Any, shown: str) -> None:
    memory = url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
    if memory or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(
            "budget.url",
            seen="a SQLite database in memory, which ends with the process" if memory else f"{shown}",
            allowed="sqlite:///FILE or postgresql+psycopg://HOST/DATABASE",
            remedy="leave it out to use a file in the workspace",
        )


def _address(url: Any, workspace: Path) -> str:
    """Returns what tells one ledger from another, without credentials; a moved workspace keeps that of its own."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database).resolve()
        return str(path.relative_to(workspace)) if path.is_relative_to(workspace) else str(path)
    return f"{url.host or url.query.get('host', '')}:{url.port or ''}/{url.database}"


def _checked(rows: Any, *, noted: head.Head | None) -> list[Entry]:
    entries: list[Entry] = []
    for row in rows:
        try:
            value = json.loads(row.entry)
            if value["number"] != row.number or not is_chained(value, after=entries[-1] if entries else None):
                raise _tampered(row.number)
            entries.append(Entry.from_json(value))
        except (ValueError, TypeError, LookupError) as error:
            raise _tampered(row.number) from error
    if noted is not None:
        head.require_held(noted, entries)
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
