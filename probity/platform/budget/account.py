"""Whose budget a word on the command line means."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from probity.config import RunConfig
from probity.config_file import load_config
from probity.errors import ConfigError, ProbityError
from probity.platform.budget.entries import Reserved
from probity.platform.budget.ledger import Ledger
from probity.runs import RunFolder
from probity.workspace import Workspace

__all__ = ["account_named", "unit_named"]

_NEW = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}|sha256:[0-9a-f]{64}")


def account_named(name: str | None, *, ledger: Ledger, workspace: Workspace, new: bool = False) -> str:
    """Returns the id of the account that a user means.

    Tried in this order: a budget id or digest as the ledger has it; a config file; the beginning of a digest, of an
    account or of rows that were charged to one; a run. A budget id is never completed: one budget must not be granted
    to another data set by a slip.

    Args:
        name: A budget id, the digest of a data set or the beginning of it, a config file, a run id or ``latest``;
            ``None``: the only account there is.
        ledger: Whose accounts count.
        workspace: Where runs are looked for.
        new: Whether a budget id or digest that the ledger does not know yet is taken as it is.

    Raises:
        ConfigError: If no account, or more than one, fits.
        DataError: If a config names data that cannot be read.
    """
    known = ledger.accounts()
    if name is None:
        if len(known) == 1:
            return known[0]
        raise _unclear("DATASET", f"none given, and the ledger has {len(known)} accounts", known)
    if name in known:
        return name
    if Path(name).is_file():
        return _of_config(Path(name), workspace)
    fitting = {account for digest, account in _digests(ledger) if digest.startswith((name, f"sha256:{name}"))}
    if len(fitting) == 1:
        return fitting.pop()
    run = None if fitting else _run(name, workspace)
    if run is not None:
        return run.config().data.budget_id or run.dataset().content_digest
    if new and not fitting and _NEW.fullmatch(name):
        return name
    raise _unclear(f"DATASET {name!r}", f"{len(fitting)} accounts fit" if fitting else "no such account", known)


def unit_named(name: str | None, *, workspace: Workspace) -> str | None:
    """Returns the unit of privacy that a config or a run declares, or ``None`` where a word means neither."""
    if name is not None and Path(name).is_file():
        unit = load_config(Path(name)).data.privacy_unit
        return unit if isinstance(unit, str) else unit.column
    run = None if name is None else _run(name, workspace)
    return None if run is None else run.dataset().privacy_unit


def _digests(ledger: Ledger) -> list[tuple[str, str]]:
    """Returns the digests that a data set may be named by, each with its account."""
    charged = [(entry.event.content, entry.account) for entry in ledger.history() if isinstance(entry.event, Reserved)]
    return charged + [(account, account) for account in ledger.accounts() if account.startswith("sha256:")]


def _run(name: str, workspace: Workspace) -> RunFolder | None:
    named = name == "latest" or any(run.id.startswith(name) for run in workspace.runs())
    return workspace.find(name) if named else None


def _of_config(path: Path, workspace: Workspace) -> str:
    """Returns the account that a run of this config would spend from."""
    config, root = load_config(path), path.resolve().parent
    if config.data.budget_id is not None:
        return config.data.budget_id
    return _known_digest(config, root, workspace) or _read_digest(config, root)


def _known_digest(config: RunConfig, root: Path, workspace: Workspace) -> str | None:
    """Returns the digest that an earlier run found in the same bytes, read in the same way; ``None``: there is none.

    How cells are read depends on a curated schema too, which may have changed since; with one the rows are read again.
    """
    from probity.platform import ingest

    if config.schema_file is not None:
        return None
    source = ingest.source_digest(config.data, root=root)
    for run in workspace.runs():
        try:
            earlier, dataset = run.config(), run.dataset()
        except (ProbityError, OSError):  # a run that ended before it had read anything
            continue
        if earlier.schema_file is None and earlier.data == config.data and dataset.source_digest == source:
            return dataset.content_digest
    return None


def _read_digest(config: RunConfig, root: Path) -> str:
    """Reads the rows, as a run would, to know their digest; costs what the first stage of a run costs."""
    from probity.platform import ingest, schema

    curated = None if config.schema_file is None else root / config.schema_file
    texts = schema.text_columns(curated) if curated else frozenset()
    with tempfile.TemporaryDirectory() as folder:
        dataset, _ = ingest.ingest(config.data, name=config.name, root=root, out=Path(folder), text_columns=texts)
    return dataset.content_digest


def _unclear(argument: str, seen: str, known: list[str]) -> ConfigError:
    return ConfigError(
        argument,
        seen=seen,
        allowed="a budget id, a data digest or its beginning, a config file, a run id, or latest",
        remedy=f"name one of: {', '.join(known)}"
        if known
        else "grant a budget first: probity budget grant CONFIG --epsilon E",
    )
