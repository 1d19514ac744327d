"""``ModelCard``: what we tell the reader.

Sections follow Mitchell et al. 2019 ("Model Cards for Model Reporting"), with privacy, data and explanations beside
them. Three rules shape the type. Every measured number is a :class:`CardNumber` and names the finding it comes from.
Every gap is a :class:`NotAssessed` with its reason, and is printed. Nothing in here speaks of single rows, and groups
of fewer than ``min_group_size`` rows have no numbers at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from probity.canaries import Canaries
from probity.data import SensitiveAttribute, TransformConstant
from probity.federation import FederationFacts
from probity.findings import PrivacyStatement, Subject
from probity.metric import Direction
from probity.model import DpFedAvg, DpFtrl, DpSgd, Encrypted, Federated, Mitigation, NonPrivate, Unknown
from probity.owner import Contact, RegistryFacts, RiskAnswers
from probity.record import Digest, Number, Record
from probity.rule import Rule
from probity.task import Task

__all__ = [
    "CardNumber",
    "CumulativeSpending",
    "DataFacts",
    "Definition",
    "Factors",
    "MetricsChoice",
    "ModelCard",
    "ModelDetails",
    "NotAssessed",
    "Numbers",
    "NumbersOrGap",
    "Picture",
    "PrivacySection",
    "RiskAnswer",
    "SchemaDeparture",
    "Statement",
    "StatementOrGap",
    "TrustRow",
]


class NotAssessed(Record):
    """A gap, with its reason. Printed as "not assessed: reason"; never left out."""

    kind: Literal["not_assessed"] = "not_assessed"
    reason: str = Field(min_length=1)


class Statement(Record):
    """What the owner of the model says, in their words. Nobody measured it."""

    kind: Literal["statement"] = "statement"
    text: tuple[str, ...] = Field(min_length=1)


class CardNumber(Record):
    """One measured number, with the finding that it repeats.

    Guarantees: ``withheld`` has neither value nor interval nor ``n``; ``measured`` has a value; anything but
    ``measured`` has a reason.
    """

    finding: str
    """Id of the finding in the run's reports."""
    metric: str
    status: Literal["measured", "insufficient", "withheld"]
    """``insufficient``: the audit says that no verdict may rest on it. ``withheld``: measured or not, it speaks of too
    few rows to be published."""
    slice: dict[str, str] = Field(default={})
    across: tuple[str, ...] = ()
    comparison: Literal["gap", "ratio", "change"] | None = None
    feature: str | None = None
    attack: str | None = None
    threshold: float | None = None
    label_class: str | None = Field(default=None, exclude_if=lambda name: name is None)
    predicted_class: str | None = Field(default=None, exclude_if=lambda name: name is None)
    value: Number | None = None
    lower: Number | None = None
    upper: Number | None = None
    confidence: float | None = None
    method: str | None = None
    """How the interval was made."""
    n: int | None = None
    """Rows it rests on; ``None`` where counts are withheld."""
    decimals: int | None = None
    """Places that value and interval were rounded to for publication; ``None``: as measured."""
    direction: Direction
    neutral: Number | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _withheld_is_empty(self) -> CardNumber:
        if self.status == "withheld" and (self.value, self.lower, self.upper, self.n) != (None,) * 4:
            raise ValueError("a withheld number has no value, no interval and no n")
        if self.status == "measured" and self.value is None:
            raise ValueError("a measured number has a value")
        if self.status != "measured" and not self.reason:
            raise ValueError(f"a number that is {self.status} needs a reason")
        return self


class Numbers(Record):
    """The numbers that one part of the card takes from one report, and what that report says about them."""

    kind: Literal["numbers"] = "numbers"
    report: str
    numbers: tuple[CardNumber, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()


NumbersOrGap = Annotated[Numbers | NotAssessed, Field(discriminator="kind")]
StatementOrGap = Annotated[Statement | NotAssessed, Field(discriminator="kind")]


class ModelDetails(Record):
    """What the model is and how it was made."""

    owner: StatementOrGap
    contact: StatementOrGap
    licence: StatementOrGap
    trainer: str
    mechanism: NonPrivate | DpSgd | Federated | DpFedAvg | DpFtrl | Encrypted | Unknown = Field(discriminator="kind")
    """What training did to the data; the privacy section says what follows."""
    architecture: dict[str, str]
    """Architecture and trainer settings, as they were resolved."""
    num_parameters: int | None
    num_train_examples: int
    steps: int | None
    """``None`` here and below: the model was trained elsewhere."""
    epochs: int | None
    best_epoch: int | None
    seed: int
    digests: dict[str, Digest]
    environment: dict[str, str]
    warnings: tuple[str, ...] = ()
    mitigation: Mitigation | None = None
    """What was done about differences between groups; ``None``: nothing."""


class Factors(Record):
    """The groups by which the model was examined."""

    attributes: tuple[SensitiveAttribute, ...]
    intersections: tuple[tuple[str, ...], ...]
    proxies: NumbersOrGap
    """How well single features predict the attributes: a group can reach the model without its column."""


class Definition(Record):
    """What a metric means."""

    metric: str
    definition: str
    direction: Direction


class MetricsChoice(Record):
    """What was measured, at which thresholds, and which differences the owner accepts."""

    task: Task = "binary"
    decision_threshold: float
    """Of a binary label, as are ``thresholds``."""
    thresholds: tuple[float, ...]
    confidence: float
    favourable_outcome: Literal["positive", "negative"]
    definitions: tuple[Definition, ...]
    fairness_definition: StatementOrGap
    tolerances: tuple[Rule, ...]
    """The gate's rules; the verdict on them is in the decision, not here."""


class SchemaDeparture(Record):
    """One way in which the data departs from the schema."""

    split: str
    feature: str
    severity: Literal["error", "warning"]
    reason: str


class DataFacts(Record):
    """Where the data comes from and what was done to it before training."""

    name: str
    source: str
    source_format: str
    source_digest: Digest
    content_digest: Digest
    num_rows: int
    split_rows: dict[str, int]
    split_rule: str
    label: str
    positive: str | None
    """The positive value of a binary label."""
    classes: tuple[str, ...] = ()
    favourable: tuple[str, ...] = ()
    """Classes whose prediction benefits a person."""
    features: tuple[str, ...]
    audited_only: tuple[str, ...]
    """Sensitive columns that the model never saw."""
    excluded: tuple[str, ...]
    privacy_unit: str
    schema_curated: bool
    departures: tuple[SchemaDeparture, ...]
    constants: tuple[TransformConstant, ...]
    """What the transform graph holds; the constants themselves are not here."""
    user_transform: Digest | None
    licence: StatementOrGap
    citation: StatementOrGap
    caveats: StatementOrGap
    findings: NumbersOrGap


class TrustRow(Record):
    """One party and what it sees."""

    party: str
    sees_raw_rows: bool
    sees: str


class CumulativeSpending(Record):
    """What all trainings on the same data set reveal together, as the privacy ledger had it when the card was written.

    Guarantees: ``epsilon`` is composed from everything that was paid on the account, this model included, at the delta
    and for the unit of the privacy statement; infinite if no epsilon per unit bounds some of it.
    """

    kind: Literal["cumulative_spending"] = "cumulative_spending"
    epsilon: Number = Field(ge=0.0)
    delta: float = Field(gt=0.0, lt=1.0)
    unit: str
    mechanisms: int = Field(ge=0)
    """Number of differentially private mechanisms that were composed."""
    non_private: int = Field(ge=0)
    """Number of trainings without differential privacy, which no epsilon bounds."""
    open_reservations: int = Field(ge=0)
    """Number of mechanisms that were reserved and neither paid nor refunded; not in ``epsilon``."""
    ledger: Digest
    """Digest of the last entry of the ledger that was read: the evidence."""


class PrivacySection(Record):
    """What may be claimed about privacy, and who sees what."""

    statement: PrivacyStatement | NotAssessed
    findings: NumbersOrGap
    cumulative: Annotated[CumulativeSpending | NotAssessed, Field(discriminator="kind")]
    """What all runs on the same data have spent together."""
    attacks: NumbersOrGap
    canaries: Canaries | None = None
    """What was planted in the training for the attacks to look for; it is no part of the data."""
    trust: tuple[TrustRow, ...]


class RiskAnswer(Record):
    """One question on risk, and what the owner answered."""

    topic: str
    """The key under ``card.risks``."""
    question: str
    answer: StatementOrGap


class ModelCard(Record):
    """The public description of one model (``09_card/card.json``).

    Guarantees: holds no row and no number of a group below ``min_group_size``; ``reports`` gives the digest of every
    report it was composed from, so that any change of the evidence after the card was written can be noticed.
    """

    schema_version: Literal[1] = 1
    name: str
    run: str
    created_at: str
    """UTC, ISO 8601."""
    subject: Subject | None
    """The model and the test rows that the numbers speak of; ``None`` if there was no report to say so."""
    reports: dict[str, Digest]
    """Name of the audit to the digest of its report."""
    confidence: float
    min_group_size: int
    publication_notes: tuple[str, ...]
    """What was withheld for publication, and by which rule."""

    details: ModelDetails
    intended_use: StatementOrGap
    out_of_scope: StatementOrGap
    factors: Factors
    metrics: MetricsChoice
    data: DataFacts
    overall: NumbersOrGap
    by_group: NumbersOrGap
    disparities: NumbersOrGap
    baseline: NumbersOrGap
    mitigation: NumbersOrGap = NotAssessed(reason="this card was written before mitigation was audited")
    """What the mitigation changed, against the same training without it."""
    individuals: NumbersOrGap = NotAssessed(reason="this card was written before single decisions were audited")
    """What decisions about single people depend on; shares of rows only."""
    regulatory: NumbersOrGap = NotAssessed(reason="this card was written before regulatory tables were made")
    """Rates and ratios as particular rules define them."""
    edge_cases: NumbersOrGap = NotAssessed(reason="nobody named edge cases for this run")
    """What the model answered for cases that were chosen by hand."""
    federation: FederationFacts | None = None
    """How the model was trained over clients; ``None``: it was not."""
    clients: NumbersOrGap = NotAssessed(reason="this card was written before clients were counted on it")
    """Clients in numbers, who took part, and how the model serves those that it serves worst."""
    privacy: PrivacySection
    explanations: NumbersOrGap
    limitations: StatementOrGap
    trade_offs: StatementOrGap
    ethical_considerations: StatementOrGap
    harm_reports: StatementOrGap = NotAssessed(reason="this card was written before reports of harm were asked for")
    """How affected people can object."""
    risks: tuple[RiskAnswer, ...] = ()
    """Every question on risk with its answer or gap; none on a card that was written before they were asked."""
    contacts: tuple[Contact, ...] = ()
    """Whom to turn to for what, beside the owner."""
    registry: RegistryFacts = RegistryFacts()
    """What the owner said for a registry of differentially private deployments."""

    def open_risks(self) -> tuple[str, ...]:
        """Returns the questions on risk without an answer; all of them, on a card from before they were asked."""
        answered = {entry.topic for entry in self.risks if isinstance(entry.answer, Statement)}
        return tuple(topic for topic in RiskAnswers.model_fields if topic not in answered)

    def numbers(self) -> tuple[CardNumber, ...]:
        """Returns every measured number of the card, in the order of the sections."""
        sections = (
            self.overall,
            self.by_group,
            self.disparities,
            self.baseline,
            self.mitigation,
            self.edge_cases,
            self.clients,
            self.privacy.findings,
            self.privacy.attacks,
            self.explanations,
            self.individuals,
            self.regulatory,
            self.data.findings,
            self.factors.proxies,
        )
        return tuple(number for part in sections if isinstance(part, Numbers) for number in part.numbers)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawing that an audit made of its findings: printed with the card, and no part of it.

    Attributes:
        audit: The audit that drew it.
        title: What it shows, in words.
        svg: The drawing.
    """

    audit: str
    title: str
    svg: str
