"""``approve``, ``reject``, ``waive``, ``rollback``, ``releases`` and ``verify``: who moved what, and on whose word."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, quiet, workspace_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probity.history import HistoryEntry
    from probity.keys import SigningKey, TrustedKeys
    from probity.platform.release.project import Project
    from probity.platform.release.verification import Verification
    from probity.runs import RunFolder

__all__ = ["approve", "reject", "releases", "rollback", "verify", "waive"]

KeyOption = Annotated[
    str,
    typer.Option("--key", metavar="KEY", help="Your private key: a file, or the pkcs11: URI of a key in a token."),
]
DataOption = Annotated[
    bool, typer.Option("--data", help="The word is about the run's data: statistics, schema, anomalies.")
]
ConfigOption = Annotated[
    Path, typer.Option("--config", metavar="CONFIG", help="The config that names the model's serving folder.")
]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name in the serving folder.")]


def approve(
    run: RunArgument,
    key: KeyOption,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why; kept in the history.")] = "",
    data: DataOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a run that waits for approval: sign, with your own key, exactly the evidence that lies there now.

    With --data: approve the data of a run, their statistics and anomalies, so that they may be trained on.

    Example: probity approve latest --key ~/.keys/kim.pem --comment "looked at the slices of sex x race"
    """
    _review(run, "approve", data=data, key=key, comment=comment, workspace=workspace, as_json=as_json)


def reject(
    run: RunArgument,
    key: KeyOption,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why; kept in the history.")],
    data: DataOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reject a run: it cannot be released any more, and no rollback leads to it.

    With --data: reject its data, so that nothing is trained on them and no model of theirs is released.

    Example: probity reject latest --key ~/.keys/kim.pem --comment "the proxy for race is too strong"
    """
    _review(run, "reject", data=data, key=key, comment=comment, workspace=workspace, as_json=as_json)


def waive(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config that has the rule.")],
    rule: Annotated[str, typer.Option("--rule", metavar="NAME", help="Name of the rule.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; printed on the card.")],
    until: Annotated[str, typer.Option("--until", metavar="DATE", help="When the rule counts again, ISO 8601.")],
    key: KeyOption,
) -> None:
    """Answer, by name and until a day, for a rule that the model does not keep. The next run takes it into account.

    Example: probity waive probity.yaml --rule "four fifths" --reason "pilot with manual review" --until 2027-03-01
    --key ~/.keys/kim.pem
    """
    from probity.config_file import load_config
    from probity.platform.release.project import Project
    from probity.platform.release.waiving import waive as sign

    project = Project(config=load_config(config), root=config.resolve().parent)
    waiver = sign(project, rule=rule, reason=reason, until=until, signer=_signer(key))
    typer.echo(f"{waiver.owner} waives the rule {waiver.rule} of {waiver.model_name} until {waiver.until}")


def rollback(
    model: ModelArgument,
    to: Annotated[int | None, typer.Option("--to", metavar="VERSION", help="Default: what was live before.")] = None,
    why: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why; kept in the history.")] = "",
    config: ConfigOption = Path("probity.yaml"),
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the bytes of an earlier version as the newest one, which is what a server loads. Nothing is deleted.

    Example: probity rollback adult_income --comment "complaints about the new version"
    """
    quiet()
    from probity.errors import TrackingError
    from probity.platform.release.registry import mirror
    from probity.platform.release.rollback import roll_back

    project = _project(config, model)
    released = roll_back(project, to=to, why=why)
    try:
        mirror(project, workspace=workspace_at(workspace, beside=config.resolve().parent).root)
    except TrackingError as error:
        typer.echo(f"not mirrored in MLflow's registry - {error}", err=True)
    if as_json:
        typer.echo(json.dumps(released.to_json(), indent=1))
    else:
        typer.echo(f"rolled back {model} to version {released.restores}, which is live as version {released.version}")


def releases(
    model: ModelArgument,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Only what was live then, ISO 8601; UTC if not said.")
    ] = None,
    config: ConfigOption = Path("probity.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Show who moved which version of a model, when and why; or what was live at a moment, and on whose word.

    Where a rollout was under way at that moment, both of its versions are shown, with their roles and the stage. Exit
    code 2 if the history was changed.

    Example: probity releases adult_income --at 2026-11-21T12:00
    """
    from probity.errors import SignatureError

    project = _project(config, model)
    entries, problems = project.history()
    rows = [_row(project, entry) for entry in entries] if at is None else _answering(project, entries, _moment(at))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    elif not rows:
        typer.echo("nothing was live then" if at is not None else "nothing has happened yet")
    else:
        _print_rows(rows)
    if problems:
        raise SignatureError(
            "history",
            seen=problems[0],
            allowed="a history as it was signed, by keys that the config and reviewers.yaml name",
            remedy="restore it from a copy; what is printed above is what stands before that line",
        )


def verify(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="<model_name>/<version>, or the folder of a released run.")
    ],
    key: Annotated[
        list[Path] | None,
        typer.Option(
            "--key", metavar="FILE", help="A public key to believe, or a folder of them. Default: keys/ here."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a release offline: every byte, every signature, and the chain from the data to the pushed model.

    Exit code 0: it verifies. 2: it does not, and every problem is named.

    Example: probity verify serving/adult_income/1795268859 --key release.pub
    """
    quiet()
    from probity.platform.release.keys import KEYS_FOLDER, keys_in

    found = _verification(path.resolve(), keys_in(key or [Path(KEYS_FOLDER)]))
    if as_json:
        problems = [{"where": entry.where, "what": entry.what, "expired": entry.expired} for entry in found.problems]
        stated = None if found.release is None else found.release.to_json()
        typer.echo(json.dumps({"ok": found.ok, "problems": problems, "release": stated}, indent=1))
    else:
        for problem in found.problems:
            typer.echo(f"FAIL  {problem}")
        if found.ok and found.release is not None:
            name, release = f"{found.release.model_name} version {found.release.version}", found.release.number
            typer.echo(f"ok    {name} (release {release}), run {found.release.run}")
            typer.echo(f"      {len(found.claims)} statements by trusted keys, every file as it was signed")
    if not found.ok:
        raise typer.Exit(2)


# --- behind them ----------------------------------------------------------------------------------------------------


def _review(
    run: str,
    outcome: Literal["approve", "reject"],
    *,
    data: bool,
    key: str,
    comment: str,
    workspace: Path | None,
    as_json: bool,
) -> None:
    from probity.platform.release.approval import approval_terms, review, reviews_of
    from probity.platform.release.data_review import data_words, review_data
    from probity.platform.release.project import Project
    from probity.review import quorum_problem

    folder = workspace_at(workspace).find(run)
    project, signer = Project.of_run(folder), _signer(key)
    if data:
        entry = review_data(folder, project, outcome=outcome, signer=signer, comment=comment)
        stated, said = _row(project, entry), f"{entry.event.by} {outcome}s the data of run {folder.id}"
        then = "now start the run again: probity run CONFIG"
    else:
        word = review(folder, project, outcome=outcome, signer=signer, comment=comment).review
        stated, said = word.to_json(), f"{word.reviewer} {outcome}s run {folder.id}, evidence {word.evidence[:19]}…"
        then = f"now: probity release {folder.id}"
    _keep_words(folder, project)
    if as_json:
        typer.echo(json.dumps(stated, indent=1))
        return
    typer.echo(said)
    if outcome == "approve":
        terms = approval_terms(folder, project)
        approved = (
            [name for name, approves in data_words(folder, project, project.history()[0]).said.items() if approves]
            if data
            else [entry.review.reviewer for entry in reviews_of(folder, project) if entry.review.outcome == "approve"]
        )
        problem = quorum_problem(approved, quorum=terms.quorum, started_by=terms.started_by)
        typer.echo(f"not enough yet: {problem}" if problem else then)


def _signer(key: str) -> SigningKey:
    """Returns a person's key; where a person sits at a terminal, the token's PIN is asked for."""
    from probity.keys import load_key
    from probity.pkcs11 import PIN_VARIABLE, is_token_uri

    told = "pin-source=" in key or PIN_VARIABLE in os.environ
    asks = is_token_uri(key) and not told and _at_a_terminal()
    return load_key(key, pin=typer.prompt("PIN of the token", hide_input=True, err=True) if asks else None)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _keep_words(folder: RunFolder, project: Project) -> None:
    """Takes a word over into the lineage; it counts whether or not that works."""
    from probity.errors import TrackingError
    from probity.platform.lineage_words import keep_words

    try:
        keep_words(folder, project)
    except TrackingError as error:
        typer.echo(f"not in the lineage yet - {error}", err=True)


def _project(config: Path, model: str) -> Project:
    from probity.config_file import load_config
    from probity.errors import ConfigError
    from probity.platform.release.project import Project

    project = Project(config=load_config(config), root=config.resolve().parent)
    if project.model_name != model:
        raise ConfigError(
            f"MODEL {model}",
            seen=f"{config.name} is about model {project.model_name}",
            allowed="the model of the config",
            remedy="name the config of this model with --config",
        )
    return project


def _moment(text: str) -> datetime:
    from probity.errors import ConfigError
    from probity.history import parse_time

    try:
        return parse_time(text)
    except ValueError as error:
        raise ConfigError(
            "--at", seen="no time", allowed="ISO 8601, such as 2026-11-21T12:00", remedy="write it like this"
        ) from error


def _verification(path: Path, keys: TrustedKeys) -> Verification:
    from probity.platform.release.run_verification import verify_run
    from probity.platform.release.verification import verify as verify_version
    from probity.runs import CONFIG, RunFolder

    if (path / CONFIG).is_file():
        return verify_run(RunFolder(path), trusted_keys=keys)
    return verify_version(path, trusted_keys=keys)


def _row(project: Project, entry: Any) -> dict[str, Any]:
    reviewer = project.reviewers().by_key(entry.keyid)
    return {
        "line": entry.number,
        **entry.event.to_json(),
        "model": entry.model,
        "signed_by": "release key" if reviewer is None else reviewer.name,
    }


def _answering(project: Project, entries: Sequence[HistoryEntry], moment: datetime) -> list[dict[str, Any]]:
    """Returns the rows of what answered at a moment; while a rollout was under way, with their roles in it."""
    from probity.history import answering_at, stage_at

    rows = [_row(project, entry) for entry in answering_at(entries, moment)]
    stage = stage_at(entries, moment)
    if stage is not None:
        rollout = {
            "stage": stage.stage,
            "since": stage.at,
            "incumbent": stage.incumbent,
            "candidate": stage.version,
        }
        roles = {stage.incumbent: "incumbent", stage.version: "candidate"}
        rows = [{**row, "role": roles.get(row["version"]), "rollout": rollout} for row in rows]
    return rows


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Prints an entry a paragraph: numbers of versions are long, and have to be copied whole."""
    for row in rows:
        parts = [str(row["kind"]).replace("_", " ")]
        parts += [
            f"{name} {row[name]}" for name in ("version", "restores", "stage", "incumbent", "rule") if row.get(name)
        ]
        parts += [f"release {row['number']}"] if row.get("number") else []
        parts += [f"run {row['run']}"] if row.get("run") else []
        typer.echo(f"{row['at'][:19]}  {', '.join(parts)}")
        typer.echo(f"{'':21}by {row['by']}, signed by {row['signed_by']}{': ' if row['why'] else ''}{row['why']}")
        if "rollout" in row:
            stage = row["rollout"]
            versions = f"incumbent {stage['incumbent']}, candidate {stage['candidate']}"
            role = row["role"] or "no part"
            typer.echo(
                f"{'':21}{role} of the rollout at stage {stage['stage']} since {stage['since'][:19]}: {versions}"
            )
