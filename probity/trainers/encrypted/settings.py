"""Settings of the trainer ``encrypted``, and the mechanism that they mean."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from probity.errors import ConfigError
from probity.model import Encrypted, Party, Revealed
from probity.record import Record
from probity.trainers.base import TrainerSettings

__all__ = [
    "MODEL_OWNER",
    "SERVERS",
    "DataOwners",
    "EncryptedSettings",
    "RevealSettings",
    "mechanism_of",
    "require_own",
    "wrong_groups",
]

SERVERS = ("server0", "server1", "server2")
MODEL_OWNER = "model_owner"
_RESERVED = {*SERVERS, MODEL_OWNER}


class DataOwners(Record):
    """Who has which part of the training split, and shares it without showing it."""

    by: Literal["rows", "columns"] = "rows"
    """``rows``: each owner has rows of its own, with labels. ``columns``: each has columns of the same rows, in the
    same order."""
    count: int = Field(default=2, ge=1, le=64)
    """``rows``: number of owners, called ``owner0``, ``owner1``, …"""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """``columns``: the feature columns of each owner, by its name; every feature has one owner."""
    label_owner: str | None = None
    """``columns``: who knows the label; the first of ``groups`` where nobody is named."""
    files: Literal["dealt", "own"] = "dealt"
    """``dealt``: this run writes each owner's part of its training split, a simulation of owners. ``own``: each owner
    has ``rows.parquet`` in its own folder (transformed features and ``label``), which this run never reads; it has to
    have the columns, and as many rows, as this run's training split would give."""

    @model_validator(mode="after")
    def _parts_belong_to_columns(self) -> DataOwners:
        if (self.by == "columns") != bool(self.groups):
            raise ValueError("groups names the owners of columns, and is given with by: columns only")
        if self.label_owner is not None and self.label_owner not in self.groups:
            raise ValueError("label_owner is one of groups")
        clashes = sorted(_RESERVED & set(self.groups))
        if clashes:
            raise ValueError(f"{', '.join(clashes)} is the name of another party")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order in which their parts are joined."""
        return tuple(self.groups) if self.by == "columns" else tuple(f"owner{i}" for i in range(self.count))

    @property
    def labelled(self) -> tuple[str, ...]:
        """Those who know labels."""
        return (self.label_owner or self.names[0],) if self.by == "columns" else self.names


class RevealSettings(Record):
    """What leaves the shares beside the weights, which the model owner always gets."""

    loss: bool = False
    """Whether the model owner gets the mean squared error of each epoch: one number that says something of the rows."""


class EncryptedSettings(TrainerSettings):
    """Settings of the trainer ``encrypted``."""

    engine: Literal["tf_encrypted", "spu"] = "tf_encrypted"
    """What computes on shares. ``tf_encrypted``: everything on this page. ``spu``: SecretFlow's SPU, an environment of
    its own, in which every server and data owner runs a program of its own instead of what the model owner sends; with
    ``protocol: aby3`` and ``parties: processes`` only, and without a revealed loss."""
    protocol: Literal["aby3", "pond", "securenn"] = "aby3"
    """How the servers compute: ``aby3`` (all models), ``securenn`` (its sigmoid is good between -5 and 5 only),
    ``pond`` (the same, and no hidden layers: it compares no shares)."""
    parties: str = "local"
    """``local``: one process simulates all parties. ``processes``: the worker starts a process for each of them on this
    machine. Otherwise the path of a parties file: they run already, by ``probity workers serve encrypted``."""
    precision: Literal[64, 128] = 64
    """Bits of a share; 128 with ``aby3`` only, at two to three times the cost."""
    data_owners: DataOwners = DataOwners()
    """Who has which part of the training split."""
    epochs: int = Field(default=3, ge=1, le=1000)
    """Passes over the training split."""
    batch_size: int = Field(default=256, ge=1)
    """Rows per step, of all owners together; a multiple of their number where they own rows."""
    learning_rate: float = Field(default=0.5, gt=0.0, le=100.0)
    """Step size of gradient descent; public, like everything here."""
    reveal: RevealSettings = RevealSettings()
    """What leaves the shares beside the weights."""
    compare: bool = True
    """Whether the same training in the clear is done beside it, so that slowdown and difference can be reported; only
    where ``data_owners.files`` is ``dealt``."""
    start_seconds: float = Field(default=180.0, gt=0.0)
    """How long a party may take until it answers."""
    deadline_seconds: float = Field(default=3600.0, gt=0.0)
    """After this time the worker is ended."""
    privacy: Literal["none"] = "none"
    """Noise inside the shares is not available; see :class:`probity.model.Encrypted`."""

    @field_validator("privacy", mode="before")
    @classmethod
    def _no_noise_inside_shares(cls, given: Any) -> Any:
        if given != "none":
            raise ValueError(
                "differential privacy inside the shares is refused: clipping each row's gradient needs the inverse "
                "square root of its norm, which fixed-point shares give with an error that no proof of sensitivity "
                "covers, and TF Encrypted has no protocol by which the servers draw Gaussian noise that none of them "
                "knows; train with dp_sgd and release the model for encrypted predictions instead"
            )
        return given

    @model_validator(mode="after")
    def _possible(self) -> EncryptedSettings:
        if self.precision == 128 and self.protocol != "aby3":
            raise ValueError("precision 128 needs protocol aby3; the others have no 128-bit shares")
        owners = self.data_owners
        if owners.by == "rows" and self.batch_size % owners.count:
            raise ValueError("batch_size is a multiple of data_owners.count, as every owner gives equally many rows")
        if owners.files == "own" and self.mode != "remote":
            raise ValueError("data_owners.files: own needs a parties file, which says where each owner has its rows")
        asked = (self.protocol, self.parties, self.reveal.loss)
        if self.engine == "spu" and asked != ("aby3", "processes", False):
            raise ValueError("engine spu needs protocol: aby3, parties: processes and reveal: {loss: false}")
        return self

    @property
    def execution(self) -> Literal["simulated", "processes"]:
        """Whether parties are processes."""
        return "simulated" if self.parties == "local" else "processes"

    @property
    def mode(self) -> Literal["local", "processes", "remote"]:
        """What the worker is told about the parties."""
        return "local" if self.parties == "local" else "processes" if self.parties == "processes" else "remote"


def mechanism_of(settings: EncryptedSettings) -> Encrypted:
    """Returns what a training with these settings executes: it depends on nothing else."""
    owners = settings.data_owners
    revealed = [Revealed(what="the trained weights", to=MODEL_OWNER)]
    if settings.reveal.loss:
        revealed.append(Revealed(what="the mean squared error of each epoch", to=MODEL_OWNER))
    if settings.protocol == "aby3" and settings.engine == "tf_encrypted":
        revealed.append(Revealed(what="whether the numbers inside the model are in range, each epoch", to=MODEL_OWNER))
    revealed += [
        Revealed(what=f"whether {name} has the planned rows and columns, and whether they are in range", to=MODEL_OWNER)
        for name in owners.names
    ]
    return Encrypted(
        protocol=settings.protocol,
        precision=settings.precision,
        parties=(
            *(Party(name=name, role="server") for name in SERVERS),
            *(Party(name=name, role="data_owner") for name in owners.names),
            Party(name=MODEL_OWNER, role="model_owner"),
        ),
        execution=settings.execution,
        same_operator=settings.mode != "remote" or owners.files == "dealt",
        data_split=owners.by,
        threat_model=_SPU_THREAT if settings.engine == "spu" else _THREATS[settings.protocol],
        revealed=tuple(revealed),
    )


_DRIVER = (
    "the model owner builds one computation for all parties and is trusted to build the one that is described here; "
    "connections between parties are neither encrypted nor authenticated by themselves and stay on one machine or in "
    "mutually authenticated tunnels"
)
_THREATS = {
    "aby3": f"three servers of which at most one is corrupt and all follow the protocol (semi-honest); {_DRIVER}",
    "securenn": f"three servers of which at most one is corrupt and all follow the protocol (semi-honest); {_DRIVER}",
    "pond": "two servers that do not collude and a third that deals random triples and colludes with neither, all "
    f"following the protocol (semi-honest); {_DRIVER}",
}

_SPU_THREAT = (
    "three servers of which at most one is corrupt and all follow the protocol (semi-honest); every server and data "
    "owner runs a program of its own, which executes the public step that the model owner compiled and nothing else "
    "that it is sent; connections between servers are neither encrypted nor authenticated and stay on one machine"
)


def require_own(settings: TrainerSettings) -> EncryptedSettings:
    """Returns the settings as this trainer's own."""
    if not isinstance(settings, EncryptedSettings):
        raise TypeError(f"the trainer encrypted takes EncryptedSettings, not {type(settings).__name__}")
    return settings


def wrong_groups(seen: str) -> ConfigError:
    """Returns the error about columns without an owner, or with two, or that are no features."""
    return ConfigError(
        "trainer.data_owners.groups",
        seen=seen,
        allowed="every feature column in the group of exactly one owner, and no other column",
        remedy="mend the groups; a sensitive column is not shared unless it is a feature",
    )
