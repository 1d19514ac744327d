"""Whose budget a word on the command line means."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from probity.config_file import load_config
from probity.errors import ConfigError
from probity.platform.budget.ledger import Ledger
from probity.runs import Workspace

__all__ = ["account_named"]


def account_named(name: str | None, *, ledger: Ledger, workspace: Workspace, new: bool = False) -> str:
    """Returns the id of the account that a user means.

    Args:
        name: A budget id, the digest of a data set or the beginning of it, a config file, a run id or ``latest``;
            ``None``: the only account there is.
        ledger: Whose accounts count.
        workspace: Where runs are looked for.
        new: Whether a budget id that the ledger does not know yet is taken as it is.

    Raises:
        ConfigError: If no account, or more than one, fits.
    """
    known = ledger.accounts()
    if name is None:
        if len(known) == 1:
            return known[0]
        raise _unclear("DATASET", f"none given, and the ledger has {len(known)} accounts", known)
    if Path(name).is_file():
        return _of_config(Path(name))
    fitting = [account for account in known if account == name or account.startswith((name, f"sha256:{name}"))]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and (name == "latest" or any(run.id.startswith(name) for run in workspace.runs())):
        run = workspace.find(name)
        return run.config().data.budget_id or run.dataset().content_digest
    if new and not fitting and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        return name
    raise _unclear(f"DATASET {name!r}", f"{len(fitting)} accounts fit" if fitting else "no such account", known)


def _of_config(path: Path) -> str:
    """Returns the account that a run of this config would spend from; reads the data to know its digest."""
    from probity.platform import ingest, schema

    config, root = load_config(path), path.resolve().parent
    if config.data.budget_id is not None:
        return config.data.budget_id
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
