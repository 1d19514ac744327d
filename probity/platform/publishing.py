"""A finished run -> its card in every form, in a folder or on the Hugging Face Hub.

Only the card's public form leaves the run folder: no report, no decision with exact numbers, no model. Each form is
checked against its own published rules before anything is written anywhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from probity.card import ModelCard
from probity.digest import digest_bytes
from probity.errors import ConfigError, DataError, ReleaseError, ReleaseHeldError
from probity.model_cards.dialects import dialects_for
from probity.model_cards.publication import Publication
from probity.storage import write_atomically

__all__ = ["SUMS", "PublishedForm", "forms_of", "publish_to_folder", "publish_to_hub"]

SUMS = "SHA256SUMS"
"""Lists the files of a published folder; ``sha256sum --check`` reads it."""
_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, kw_only=True)
class PublishedForm:
    """One form of a card, ready to leave.

    Attributes:
        dialect: Name of the form.
        file: Its file.
        text: Its content.
        incomplete: What its registry asks for and nobody said; such a form is a draft.
    """

    dialect: str
    file: str
    text: str
    incomplete: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the UTF-8 text."""
        return digest_bytes(self.text.encode())


def forms_of(publication: Publication) -> tuple[PublishedForm, ...]:
    """Returns every form that the card can be written in, each checked by its own rules.

    Raises:
        DataError: If a form breaks the rules of its format.
    """
    forms = []
    for dialect in dialects_for(publication.card):
        text = dialect.write(publication)
        problems = tuple(dialect.problems(text))
        if problems and not dialect.may_be_incomplete:
            raise DataError(
                f"the card as {dialect.name}",
                seen=problems[0],
                allowed=f"what the rules of {dialect.name} allow",
                remedy="leave this form out and report it as a fault of probity",
            )
        forms.append(PublishedForm(dialect=dialect.name, file=dialect.file, text=text, incomplete=problems))
    return tuple(forms)


def publish_to_folder(forms: tuple[PublishedForm, ...], target: Path) -> None:
    """Writes all forms and the list of their digests into a folder that is new, empty or an earlier publication.

    Raises:
        ConfigError: If the folder holds anything else, or cannot be written.
    """
    if target.exists() and not (target / SUMS).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"--to {target}",
            seen="a folder with other files, or a file",
            allowed="a new or empty folder, or one that holds an earlier publication",
            remedy="choose another folder",
        )
    try:
        for form in forms:
            write_atomically(target / form.file, form.text.encode())
        sums = "".join(f"{form.digest.removeprefix('sha256:')}  {form.file}\n" for form in forms)
        write_atomically(target / SUMS, sums.encode())
    except OSError as error:
        raise ConfigError(
            f"--to {target}",
            seen=f"it cannot be written ({error.strerror})",
            allowed="a writable folder",
            remedy="choose another",
        ) from error


def publish_to_hub(
    publication: Publication, forms: tuple[PublishedForm, ...], *, repository: str, private: bool
) -> str:  # fmt: skip
    """Puts all forms into a model repository of the Hugging Face Hub, in one commit, and returns its address.

    The Hub checks the metadata of the README before it takes the commit. The model's files are not among them.

    Args:
        publication: What the forms were made from.
        forms: What is put there.
        repository: ``owner/name``; made if it is not there.
        private: Whether a new repository is private.

    Raises:
        ReleaseHeldError: If the gate did not say release.
        ConfigError: If no token is in the environment.
        ReleaseError: If the Hub could not be reached or refused.
    """
    require_released(publication.card, verdict=publication.decision.verdict if publication.decision else None)
    token = os.environ.get(_TOKEN)
    if not token:
        raise ConfigError(
            "--to huggingface",
            seen=f"no {_TOKEN} in the environment",
            allowed="a token with write access; it is never read from a config or an option",
            remedy=f"export {_TOKEN}=... in this shell only",
        )
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    operations = [CommitOperationAdd(path_in_repo=form.file, path_or_fileobj=form.text.encode()) for form in forms]
    api = HfApi(token=token, endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        message = f"Model card of run {publication.card.run}"
        commit = api.create_commit(repository, operations, commit_message=message)
    except (HfHubHTTPError, ValueError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise ReleaseError(
            f"--to huggingface --repo {repository}",
            seen=f"HTTP {status}" if status is not None else type(error).__name__,
            allowed="a repository that the token may write, and metadata that the Hub accepts",
            remedy="check the token's rights and the name, and try again; nothing is half published",
        ) from error
    return str(commit.commit_url)


def require_released(card: ModelCard, *, verdict: str | None) -> None:
    """Refuses to offer the card of a model that the gate holds to the public.

    Raises:
        ReleaseHeldError: If the verdict is not release.
    """
    if verdict != "release":
        raise ReleaseHeldError(
            f"run {card.run}",
            seen=f"the gate says {verdict or 'nothing yet'}",
            allowed="a run whose verdict is release",
            remedy="publish it to a folder for those who decide, or see every check with: probity gate",
        )
