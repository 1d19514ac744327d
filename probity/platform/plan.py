"""What a config becomes before anything runs: plug-ins found, settings parsed, files there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from probity.audits import registry as audits
from probity.config import RunConfig
from probity.digest import digest_file
from probity.errors import ConfigError
from probity.platform import ingest
from probity.platform.edge_cases import require_edge_cases
from probity.suggestion import did_you_mean
from probity.task import Task
from probity.trainers import registry as trainers
from probity.trainers.base import Trainer, TrainerSettings
from probity.usercode import module_path

__all__ = ["EDGE_CASES", "Plan", "make_plan"]

EDGE_CASES = "edge_cases"
"""The audit that only a run that asks for it has."""


_REPORTS = ("baseline", "serving")
"""Reports that the pipeline makes itself, beside those of the audits."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A config that can be run: plug-ins found, settings parsed, files there."""

    config: RunConfig
    root: Path
    """The config file's folder; relative paths start here."""
    trainer: Trainer
    settings: TrainerSettings
    audits: tuple[str, ...]

    @property
    def edge_cases(self) -> Path | None:
        """The file of edge cases that the config names, if it does."""
        named = self.config.audits.edge_cases
        return None if named is None else self.root / named

    @property
    def plants_gradients(self) -> bool:
        """Whether the trainer can plant gradient canaries; one that does not say so cannot."""
        return bool(getattr(self.trainer, "plants_gradients", False))

    @property
    def base_path(self) -> Path:
        """Where releases go."""
        return (self.root / self.config.serving.base_path).resolve()

    @property
    def curated_schema(self) -> Path | None:
        """The schema that the config names, if it does."""
        return None if self.config.schema_file is None else self.root / self.config.schema_file

    def require_ready(self) -> None:
        """Raises :class:`~probity.errors.WorkerNotReadyError` if the trainer's worker, if it has one, cannot run."""
        if (require := getattr(self.trainer, "require_ready", None)) is not None:
            require()

    def module_digest(self, module: str | None) -> str | None:
        """Returns the digest of a module of the user's, or ``None`` where there is none."""
        return None if module is None else digest_file(self.root / module)


def make_plan(config: RunConfig, *, root: Path) -> Plan:
    """Resolves what the config names, before anything runs.

    Raises:
        ConfigError: If a setting of the trainer is wrong, it cannot train for the task, or a named file is not there.
        PluginError: If the trainer cannot be loaded, or what its settings need is not installed.
    """
    trainer = trainers.load(config.trainer.name)
    settings = trainers.parse_settings(trainer, config.trainer.settings)
    _require_task(trainer, config.data.task)
    _require_declared(settings, config)
    settings.require_packages()
    for key, module in (("transform.module", config.transform.module), ("model.module", config.model.module)):
        if module is not None:
            module_path(module, root=root, key=key)
    if config.schema_file is not None and not (root / config.schema_file).is_file():
        raise ConfigError(
            "schema", seen="no such file", allowed="a TFDV schema in text format", remedy="check the path in the config"
        )
    ingest.source_files(config.data, root=root)
    if config.audits.edge_cases is not None:
        require_edge_cases(root / config.audits.edge_cases)
    _require_reports(config)
    return Plan(config=config, root=root.resolve(), trainer=trainer, settings=settings, audits=_audits(config))


def _audits(config: RunConfig) -> tuple[str, ...]:
    """Returns every installed audit; that of edge cases only where somebody named some."""
    return tuple(name for name in audits.names() if name != EDGE_CASES or config.audits.edge_cases is not None)


def _require_reports(config: RunConfig) -> None:
    """Raises if evidence is to expire that nobody makes: by a slip of the pen it would count for ever."""
    known = sorted({*audits.names(), *_REPORTS})
    for name in config.gate.expires_after_days:
        if name not in known:
            raise ConfigError(
                f"gate.expires_after_days.{name}",
                seen=f"no audit of this name{did_you_mean(name, known)}",
                allowed=", ".join(known),
                remedy="correct the name",
            )


def _require_task(trainer: Trainer, task: Task) -> None:
    """Refuses a trainer that cannot train for the task, or does not say that it can."""
    tasks: frozenset[Task] = getattr(trainer, "tasks", frozenset({"binary"}))
    if task not in tasks:
        raise ConfigError(
            f"trainer {trainer.name}",
            seen=f"data.task is {task}",
            allowed=f"task {' or '.join(sorted(tasks))}, for this trainer",
            remedy="choose a trainer that supports the task, for example plain, or another task",
        )


def _require_declared(settings: TrainerSettings, config: RunConfig) -> None:
    """Raises if a trainer is to read groups that nobody declared, or to even out decisions where there are none."""
    declared = [entry.attribute for entry in config.data.sensitive]
    unknown = [name for name in settings.across if name not in declared]
    if unknown:
        raise ConfigError(
            "trainer: mitigation.across",
            seen=f"{', '.join(unknown)}, which data.sensitive does not declare{did_you_mean(unknown[0], declared)}",
            allowed=", ".join(declared) or "an attribute that data.sensitive declares",
            remedy="name declared attributes, or declare this one",
        )
    if settings.across and config.data.task != "binary":
        raise ConfigError(
            "trainer: mitigation",
            seen=f"data.task is {config.data.task}",
            allowed="a mitigation of binary decisions",
            remedy="remove it, or predict a binary label",
        )
