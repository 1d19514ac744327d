"""``card``: print a card in any form, and ``card publish``: put all its forms somewhere."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from probity.platform.cli.options import JsonOption, RunArgument, WorkspaceOption, workspace_at

if TYPE_CHECKING:
    from probity.platform.publishing import PublishedForm

__all__ = ["app"]

_DEFAULT = "print"
HUB = "huggingface"


class CardFormat(StrEnum):
    """The forms of a card."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"
    HUGGING_FACE = "huggingface"
    CYCLONEDX = "cyclonedx"
    MODEL_CARD_TOOLKIT = "model-card-toolkit"
    DP_REGISTRY = "dp-registry"


class PrintUnlessNamed(TyperGroup):
    """Takes what is no name of a command for the arguments of ``print``: ``probity card RUN`` needs no verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the default command in front."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_DEFAULT, *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=PrintUnlessNamed,
    no_args_is_help=True,
    help="Print the model card of a run: probity card RUN --format html|md|json|huggingface|cyclonedx|"
    "model-card-toolkit|dp-registry [--out FILE]. Publish all its forms: probity card publish RUN --to DIR.",
    epilog="Example: probity card latest --format html --out card.html",
)


@app.command(_DEFAULT)
def print_card(
    run: RunArgument,
    form: Annotated[CardFormat, typer.Option("--format", help="The form of the card.")] = CardFormat.MARKDOWN,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here instead of stdout.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Print the model card of a run, with the gate's decision; the word print may be left out.

    Example: probity card latest --format html --out card.html
    """
    from probity.model_cards.dialects import DIALECTS
    from probity.run_publication import publication_of
    from probity.storage import write_atomically

    text = DIALECTS[form.value].write(publication_of(workspace_at(workspace).find(run)))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, text.encode())


@app.command()
def publish(
    run: RunArgument,
    to: Annotated[str, typer.Option("--to", metavar="DIR|huggingface", help="A folder, or the Hugging Face Hub.")],
    repository: Annotated[
        str | None, typer.Option("--repo", metavar="OWNER/NAME", help="The Hub's repository. Needs HF_TOKEN.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="A new repository of the Hub is private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Publish; without it, only say what would be published.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the card in every form into a folder or on the Hub. A dry run unless --yes is given.

    Example: probity card publish latest --to published/ --yes
    """
    from probity.errors import ConfigError
    from probity.platform import publishing
    from probity.run_publication import publication_of

    publication = publication_of(workspace_at(workspace).find(run))
    forms = publishing.forms_of(publication)
    if to == HUB and repository is None:
        raise ConfigError(
            "--repo", seen="nothing", allowed="OWNER/NAME of the Hub", remedy="name the repository to publish to"
        )
    address = to if to != HUB else f"{HUB}:{repository}"
    if yes and to == HUB:
        address = publishing.publish_to_hub(publication, forms, repository=repository or "", private=private)
    elif yes:
        publishing.publish_to_folder(forms, Path(to))
    _report(forms, address=address, published=yes, as_json=as_json)


def _report(forms: tuple[PublishedForm, ...], *, address: str, published: bool, as_json: bool) -> None:
    if as_json:
        files = [
            {"file": form.file, "format": form.dialect, "bytes": len(form.text.encode()), "digest": form.digest,
             "incomplete": list(form.incomplete)}
            for form in forms
        ]  # fmt: skip
        typer.echo(json.dumps({"to": address, "published": published, "files": files}, indent=1))
        return
    for form in forms:
        typer.echo(f"{form.file:<20} {form.dialect:<20} {len(form.text.encode()):>9,} bytes  {form.digest}")
        for gap in form.incomplete:
            typer.echo(f"{'':<20} draft: {gap}")
    typer.echo(
        f"published to {address}" if published else f"dry run: nothing was written; --yes publishes to {address}"
    )
