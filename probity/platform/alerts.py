"""Tells a person that a run ended badly, where the config names a webhook for it (``alerts``).

Messages name the model, the run, rules, stages and kinds of errors: no text of an error, no group, no data value, for
they leave the machine. A webhook that does not answer costs ten seconds and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from probity.config import RunConfig
from probity.errors import DataHeldError
from probity.platform.release.webhook import announce
from probity.platform.stages import Observer, Stopped
from probity.runs import DECISION, RunFolder

__all__ = ["alerted"]


@contextmanager
def alerted(config: RunConfig, folder: RunFolder, observer: Observer) -> Iterator[None]:
    """Tells of a run that fails inside, or that has a decision to hold when it leaves.

    Guarantees: raises what was raised inside, and nothing of its own; a run that was stopped on purpose is no failure.

    Args:
        config: Names the webhook, if there is one.
        folder: The run.
        observer: Told if the message did not arrive.
    """

    def say(words: str) -> None:
        problem = announce(
            config.alerts.webhook_variable, f"Model {config.serving.model_name}: run {folder.id} {words}"
        )
        if problem is not None:
            observer.note(f"nobody was alerted - {problem}")

    try:
        yield
    except Stopped:
        raise
    except DataHeldError:
        say("is held before training: its data wait for a review, or were rejected.")
        raise
    except Exception as error:
        recorded = folder.error
        stage = recorded.stage if recorded is not None and recorded.stage is not None else "the beginning"
        say(f"failed at {stage} ({type(error).__name__}). See: probity show {folder.id}")
        raise
    if (folder.path / DECISION).is_file() and (decision := folder.decision()).verdict == "hold":
        rules = [check.rule for check in decision.blocking]
        say(f"is held by {len(rules)} rule(s): {', '.join(rules)}. See: probity gate {folder.id}")
