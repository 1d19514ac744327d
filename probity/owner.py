"""What only the owner of a model can say: statements on its use, contacts, answers on risk, registry facts.

They stand under ``card`` in the config, or in a file of their own that the config names there. Nobody measures them;
what is not said is printed as "not assessed".
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from probity.record import Record

__all__ = ["CardConfig", "Contact", "RegistryFacts", "RiskAnswers"]


class Contact(Record):
    """Whom to turn to, for what."""

    role: str = Field(min_length=1)
    """What they answer for, for example ``privacy`` or ``complaints``."""
    name: str | None = None
    """A person or an office; absent: the role alone."""
    reach: str = Field(min_length=1)
    """How to reach them: an address, a telephone number, a form."""


class RiskAnswers(Record):
    """Answers to the questions on risk that are asked before a model goes live, each in the owner's own words."""

    worst_behaviour: str | None = None
    """What is the worst behaviour of this model that can be imagined, and who would suffer from it?"""
    extraction_of_training_data: str | None = None
    """What follows if somebody extracts training data from the model?"""
    extraction_of_logic: str | None = None
    """What follows if somebody extracts the model's internal logic, or copies the model?"""
    financial: str | None = None
    """What can the model cost, and whom?"""
    business: str | None = None
    """What depends on the model, and what happens when it is wrong or absent?"""
    legal: str | None = None
    """Which laws and contracts apply to its use, and what would break them?"""
    safety: str | None = None
    """Can anybody come to bodily harm through a prediction?"""
    reputational: str | None = None
    """What would the model do to the trust in whoever runs it?"""


class RegistryFacts(Record):
    """What a registry of differentially private deployments asks of the curator of the data."""

    curator_type: Literal["Government", "Industry", "Nonprofit"] | None = None
    """What kind of body publishes the model."""
    region: str | None = None
    """The region that the data describes, or whose laws apply."""
    sector: Literal["Technology", "Healthcare", "Education", "Government", "Energy", "Finance"] | None = None
    """The domain that the data describes."""


class CardConfig(Record):
    """What only the owner of the model can say. What is not said is printed as "not assessed"."""

    owner: str | None = None
    """Who answers for the model."""
    contact: str | None = None
    """How to reach them."""
    intended_use: str | None = None
    """What the model is for, and for whom."""
    out_of_scope: str | None = None
    """What it must not be used for."""
    limitations: tuple[str, ...] = ()
    """Known limitations beside those that the audits found."""
    trade_offs: tuple[str, ...] = ()
    """What was given up for what."""
    ethical_considerations: tuple[str, ...] = ()
    """Who may be harmed, and how."""
    harm_reports: tuple[str, ...] = ()
    """Where people who are affected can say that a prediction is unjust to them, in their own words, who reads it, and
    what happens then. Groups on a form do not cover everybody."""
    fairness_definition: str | None = None
    """Why these fairness metrics and these tolerances were chosen."""
    licence: str | None = None
    """Licence of the model."""
    contacts: tuple[Contact, ...] = ()
    """Whom to turn to for what, beside ``contact``."""
    risks: RiskAnswers = RiskAnswers()
    """Answers to the questions on risk."""
    registry: RegistryFacts = RegistryFacts()
    """What a registry of differentially private deployments asks."""
