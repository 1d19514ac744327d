"""GateDecision -> Release: the audited bytes, copied into TensorFlow Serving's layout, or nothing at all (Pusher).

::

    <base_path>/
    ├── .<model_name>.lock                 one push of a model at a time, across processes
    ├── .incoming-<model_name>.<random>/   a version that is still being written; a server never looks here
    └── <model_name>/
        └── <version>/                     appears by rename, complete, and is never touched again
            ├── saved_model.pb, variables/, …
            └── assets.extra/probity/      RELEASE.json, 10_decision.json, card.json, card.md, card.html,
                                           claims.jsonl, model.sig

TensorFlow Serving scans ``<base_path>/<model_name>`` for folders with numeric names. The copy is made outside of it, on
the same file system, so a reader sees a version either not at all or whole. Before it appears, the copy has to verify
as it would on another machine: what cannot be verified there is never served here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from probity.decision import GateDecision, Release
from probity.digest import digest_file, digest_tree, require_digest
from probity.errors import DigestMismatchError, ReleaseError, ReleaseHeldError
from probity.history import Moved, read_history
from probity.keys import TrustedKeys
from probity.platform.release.evidence import Evidence
from probity.platform.release.history import facts_of, mend_history, utc_now
from probity.platform.release.keys import ReleaseKeys
from probity.platform.release.model_signature import MODEL_SIGNATURE, sign_model
from probity.platform.release.numbering import next_number
from probity.platform.release.verification import EXTRA, verify
from probity.platform.release.version_folder import (
    RELEASE_FILE,
    copy_tree,
    locked,
    next_version,
    publish,
    seal_version,
    sweep,
    versions_in,
    write_json,
)
from probity.release_policy import SigningConfig
from probity.run_reviews import CARD_FILES

__all__ = ["EXTRA", "latest", "push", "releases", "verify_release"]

_DECISION = "10_decision.json"


def push(
    saved_model: Path,
    *,
    card_folder: Path,
    decision: GateDecision,
    run: str,
    model_name: str,
    base_path: Path,
    base_label: str,
    dataset: str,
    evidence: Evidence,
    keys: ReleaseKeys,
    writers: TrustedKeys | None = None,
    why: str = "",
    now: Callable[[], datetime] = utc_now,
    recheck: Callable[[], object] = lambda: None,
) -> Release:
    """Pushes a model whose verdict is release, with what is attested about it.

    Guarantees: the pushed bytes are the audited bytes (digested before and after the copy, both equal to the decision's
    model); the version appears by one rename, after everything was flushed to disk; a version that is there already is
    never changed; its number is above every other one, so that it is what a server loads. A model that is already the
    latest release, intact, is not pushed again: that release is returned, with the run and the evidence that led to it.
    Its release number was never given before, be it to a version that was rolled back or removed.
    The version verifies (:func:`probity.platform.release.verification.verify`) before it appears, and the history has
    an entry for every version that verifies, be it one whose process died before it could write it.

    Args:
        saved_model: The exported model, exactly as it was audited.
        card_folder: Holds ``card.json``, ``card.md`` and ``card.html``.
        decision: The gate's decision about this model and this card.
        run: Id of the run.
        model_name: Name under which a server finds it.
        base_path: Folder of TensorFlow Serving's layout; created if absent.
        base_label: How the config names ``base_path``; the release records this instead of an absolute path.
        dataset: Content digest of the data.
        evidence: What is attested beside the release itself.
        keys: Who signs, and whose earlier releases are believed.
        writers: Keys of others who write into the model's history: its reviewers.
        why: Why it is released, for the history.
        now: The clock.
        recheck: Raises if the model may no longer be released; called when nobody else can push, because what is the
            latest release may have changed since the decision.

    Raises:
        ReleaseHeldError: If the verdict is hold.
        DigestMismatchError: If model or card are not what was decided on.
        SignatureError: If the history was changed, or the version would not verify.
        ReleaseError: If the folder cannot be written, or another push holds it for too long.
    """
    _require_release(decision, run)
    _require_safe(model_name, base_path, base_label)
    _require_audited(saved_model, card_folder, decision)
    with locked(base_path, model_name, base_label):
        sweep(base_path, model_name)
        known = {**(writers or {}), **keys.trusted}
        mend_history(base_path, model_name, keys=keys, writers=known)
        found = latest(base_path, model_name, trusted_keys=keys.trusted, signing=keys.signing)
        if found is not None and _is_live(found, decision, base_path / model_name):
            return found[0]
        recheck()
        moment = now().astimezone(UTC)
        version = next_version(base_path / model_name, moment, shown=f"{base_label}/{model_name}")
        release = Release(
            run=run,
            model_name=model_name,
            version=version,
            path=f"{base_label}/{model_name}/{version}",
            model=str(decision.model),
            card=str(decision.card),
            decision=decision.record_digest(),
            dataset=dataset,
            released_at=moment.isoformat(),
            number=_number(evidence, found, base_path=base_path, model_name=model_name, writers=known),
            recipe=evidence.recipe,
        )

        def write(incoming: Path) -> None:
            copy_tree(saved_model, incoming)
            require_digest("SavedModel", found=digest_tree(incoming), recorded=release.model)
            extra = incoming / EXTRA
            extra.mkdir(parents=True)
            for name in CARD_FILES:
                shutil.copyfile(card_folder / name, extra / name)
            require_digest(CARD_FILES[0], found=digest_file(extra / CARD_FILES[0]), recorded=release.card)
            write_json(extra / _DECISION, decision.to_json())
            sign_model(incoming, extra / MODEL_SIGNATURE, keys=keys, ignoring=extra)
            stated = [(claim.kind, facts_of(claim)) for claim in evidence.claims]
            seal_version(incoming, release, (b"", stated), keys=keys, why=why, expires_at=evidence.expires_at)

        publish(release, write, base_path=base_path, keys=keys)
        mend_history(base_path, model_name, keys=keys, writers=known)
    return release


def releases(
    base_path: Path, model_name: str, *, trusted_keys: TrustedKeys | None = None, signing: SigningConfig | None = None
) -> tuple[tuple[Release, Path], ...]:
    """Returns the released versions of a model with their folders, newest first.

    Args:
        base_path: Folder of TensorFlow Serving's layout.
        model_name: The model.
        trusted_keys: If given, only versions that are as these keys signed them, be they expired. Without, whatever has
            a readable ``RELEASE.json`` of this model and version, which anybody can write.
        signing: Who signs SavedModels where it is not one of the keys.
    """
    return tuple(_released(base_path, model_name, trusted_keys, signing))


def latest(
    base_path: Path, model_name: str, *, trusted_keys: TrustedKeys | None = None, signing: SigningConfig | None = None
) -> tuple[Release, Path] | None:
    """Returns the newest released version of a model and its folder, or ``None`` if there is none.

    Args:
        base_path: Folder of TensorFlow Serving's layout.
        model_name: The model.
        trusted_keys: As :func:`releases` has it.
        signing: Likewise.
    """
    return next(_released(base_path, model_name, trusted_keys, signing), None)


def _released(
    base_path: Path, model_name: str, keys: TrustedKeys | None, signing: SigningConfig | None
) -> Iterator[tuple[Release, Path]]:
    for path in sorted(versions_in(base_path / model_name), key=lambda path: int(path.name), reverse=True):
        if keys is None:
            release = _read_release(path)
        else:
            checked = verify(path, trusted_keys=keys, signing=signing)
            release = checked.release if checked.intact else None
        if release is not None and release.model_name == model_name and str(release.version) == path.name:
            yield release, path


def verify_release(path: Path) -> Release:
    """Checks that a version still is what was released.

    Raises:
        ReleaseError: If there is no readable release record.
        DigestMismatchError: If the SavedModel, the card or the decision in it were changed.
    """
    release = _read_release(path)
    if release is None:
        raise ReleaseError(
            path.name,
            seen="no readable release record",
            allowed=f"a version folder with {EXTRA}/{RELEASE_FILE}",
            remedy="release the model again; a version without a record was not pushed by probity",
        )
    extra = path / EXTRA
    require_digest("SavedModel", found=digest_tree(path, exclude=(EXTRA,)), recorded=release.model)
    require_digest(CARD_FILES[0], found=_digest_or_absent(extra / CARD_FILES[0]), recorded=release.card)
    decision = _read_decision(extra / _DECISION)
    require_digest(
        _DECISION, found="absent" if decision is None else decision.record_digest(), recorded=release.decision
    )
    return release


def _require_release(decision: GateDecision, run: str) -> None:
    if decision.verdict != "release":
        raise ReleaseHeldError(
            f"run {run}",
            seen=f"the gate says hold: {', '.join(check.rule for check in decision.blocking)}",
            allowed="a run whose verdict is release",
            remedy=f"see every check with: probity gate {run}",
        )


def _require_safe(model_name: str, base_path: Path, base_label: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", model_name):
        raise ReleaseError(
            "serving.model_name",
            seen="a name that is no single safe path component",
            allowed="letters, digits, _ and -, starting with a letter or digit",
            remedy="rename the model in the config",
        )
    if (base_path / model_name).is_symlink():
        raise ReleaseError(
            f"{base_label}/{model_name}",
            seen="a symbolic link",
            allowed="a folder inside the serving folder",
            remedy="make it a folder, or point serving.base_path at the link's target",
        )


def _require_audited(saved_model: Path, card_folder: Path, decision: GateDecision) -> None:
    if not saved_model.is_dir():
        raise ReleaseError(
            "SavedModel", seen="no such folder", allowed="the model that was audited", remedy="run the pipeline again"
        )
    if (saved_model / EXTRA).exists():
        raise DigestMismatchError(
            "SavedModel",
            seen=f"files in {EXTRA}",
            allowed="no files there, because that is where the release record goes",
            remedy="run the pipeline again",
        )
    require_digest("SavedModel", found=digest_tree(saved_model), recorded=str(decision.model))
    require_digest("card.json", found=_digest_or_absent(card_folder / CARD_FILES[0]), recorded=str(decision.card))
    absent = [name for name in CARD_FILES if not (card_folder / name).is_file()]
    if absent:
        raise ReleaseError(
            "model card",
            seen=f"no {' and no '.join(absent)}",
            allowed=", ".join(CARD_FILES),
            remedy="run the pipeline again; a model is released with its card only",
        )


def _number(
    evidence: Evidence, live: tuple[Release, Path] | None, *, base_path: Path, model_name: str, writers: TrustedKeys
) -> str:
    # Versions that do not verify count as well: somebody may have read their number, whatever became of them.
    earlier = [release for release, _ in releases(base_path, model_name)]
    moves = [entry.event for entry in read_history(base_path, model_name, keys=writers)[0]]
    told = [event.number for event in moves if isinstance(event, Moved) and event.number is not None]
    return next_number(evidence.recipe, live=None if live is None else live[0], earlier=earlier, told=told)


def _digest_or_absent(path: Path) -> str:
    return digest_file(path) if path.is_file() else "absent"


def _is_live(found: tuple[Release, Path], decision: GateDecision, model_folder: Path) -> bool:
    """Whether this very model is what a server loads already, as it was signed and not expired."""
    release, path = found
    highest = max((int(entry.name) for entry in versions_in(model_folder)), default=0)
    return release.model == decision.model and int(path.name) == highest


def _read_release(path: Path) -> Release | None:
    try:
        return Release.from_json(json.loads((path / EXTRA / RELEASE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None


def _read_decision(path: Path) -> GateDecision | None:
    try:
        return GateDecision.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
