"""Somebody answers for a rule that a model does not keep: the waiver is sealed, kept beside the config, and told."""

from __future__ import annotations

import os

from filelock import FileLock

from probity.errors import ConfigError
from probity.history import Waived, parse_time
from probity.keys import Signer
from probity.platform.gate import resolved
from probity.platform.release.approval import require_reviewer
from probity.platform.release.history import add_event, utc_now
from probity.platform.release.project import Project
from probity.review import Waiver, seal_waiver, unseal_waiver
from probity.suggestion import did_you_mean

__all__ = ["waive"]


def waive(project: Project, *, rule: str, reason: str, until: str, signer: Signer) -> Waiver:
    """Seals a waiver of a rule as it is now, and writes it beside the config and into the model's history.

    Args:
        project: The config that has the rule.
        rule: Name of the rule.
        reason: Why; the card prints it.
        until: When the rule counts again, ISO 8601.
        signer: Key of somebody who may waive.

    Raises:
        ConfigError: If there is no such rule, or the day is no day to come.
        SignatureError: If the key's owner may not waive.
        ReleaseError: If the history cannot be written.
    """
    config = project.config
    rules = {
        entry.name: resolved(entry, decision_threshold=config.audits.decision_threshold, task=config.data.task)
        for entry in config.gate.rules
    }
    if rule not in rules:
        raise ConfigError(
            f"--rule {rule}",
            seen=f"no such rule{did_you_mean(rule, list(rules))}",
            allowed=", ".join(rules) or "a config with rules",
            remedy="name a rule of gate.rules",
        )
    now = utc_now()
    try:
        end = parse_time(until)
    except ValueError:
        end = now
    if end <= now or not reason.strip():
        raise ConfigError(
            "--until and --reason",
            seen="no day to come" if end <= now else "no reason",
            allowed="a day in the future, ISO 8601, and a reason that the card can print",
            remedy="waivers end by themselves; renew it when it ends",
        )
    owner = require_reviewer(project, signer, which=" with may_waive: true")
    waiver = Waiver(
        model_name=project.model_name,
        rule=rule,
        condition=rules[rule].record_digest(),
        owner=owner.name,
        reason=reason,
        until=end.isoformat(),
        at=now.isoformat(),
    )
    line = seal_waiver(waiver, signer)
    unseal_waiver(line, project.reviewers())  # refuses an owner who may not waive
    event = Waived(at=waiver.at, by=waiver.owner, why=reason, rule=rule, until=waiver.until)
    add_event(project.base_path, project.model_name, event, keys=project.writers(), signer=signer)
    path = project.waivers_path
    with FileLock(path.with_name(f".{path.name}.lock")), path.open("ab") as file:
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    return waiver
