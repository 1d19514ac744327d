"""An index of the card by two frameworks: where it answers what they ask, and what nobody said or measured.

Points of Annex IV of Regulation (EU) 2024/1689 (the AI Act; technical documentation) and subcategories of the NIST AI
Risk Management Framework 1.0 (NIST AI 100-1, 2023, tables 1 to 4), in short words of our own. An index is no statement
of conformity: whether a framework applies, and whether what is known suffices, is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from probity.card import NotAssessed
from probity.model_cards.blocks import Block, Cell, Items, Row, Table
from probity.model_cards.publication import Publication
from probity.model_cards.wording import ABSENT
from probity.owner import RiskAnswers

__all__ = ["AI_ACT", "AI_RMF", "Point", "appendix", "known_and_missing"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a framework.

    Attributes:
        name: Its number there.
        asked: What it asks for, in short.
        answers: Names of the facts of a card that answer it.
        beyond: What it asks for that no card holds.
    """

    name: str
    asked: str
    answers: tuple[str, ...] = ()
    beyond: str = ""


def _point(name: str, asked: str, answers: str = "", *, beyond: str = "") -> Point:
    return Point(name=name, asked=asked, answers=tuple(answers.split()), beyond=beyond)


AI_ACT = (
    _point("1(a)", "purpose, provider, version, relation to earlier ones", "intended_use owner version baseline"),
    _point("1(b)", "interaction with hardware and software outside the system", beyond="the system around the model"),
    _point("1(c)", "versions of software and firmware", "environment"),
    _point("1(d)", "forms in which it is put into service", "release"),
    _point("1(e)", "hardware it is meant to run on", beyond="the intended hardware"),
    _point("1(f)", "illustrations, where it is part of a product", beyond="the product"),
    _point("1(g)", "user interface of the deployer", beyond="the deployer's interface"),
    _point("1(h)", "instructions for use", "intended_use out_of_scope", beyond="the deployer's instructions"),
    _point("2(a)", "methods and steps of development, third-party tools", "training environment"),
    _point(
        "2(b)",
        "design: logic, choices and their reasons, what is optimised, trade-offs",
        "architecture decision_rule fairness_definition trade_offs mitigation",
    ),
    _point("2(c)", "architecture of the system, computing resources", "architecture", beyond="computing resources"),
    _point(
        "2(d)",
        "data: provenance, scope, characteristics, selection, labelling, cleaning",
        "data data_licence data_caveats composition departures",
        beyond="how the data was labelled",
    ),
    _point("2(e)", "human oversight and means to interpret outputs", "explanations", beyond="the oversight measures"),
    _point("2(f)", "pre-determined changes", beyond="planned changes"),
    _point(
        "2(g)",
        "validation and testing: data, metrics, discriminatory impacts, signed reports",
        "data definitions overall by_group disparities reports",
        beyond="signatures, which stand beside a release and not on the card",
    ),
    _point("2(h)", "cybersecurity", "attacks", beyond="measures of the system around the model"),
    _point(
        "3",
        "capabilities and limits, accuracy for groups, unintended outcomes, oversight, input data",
        "overall by_group limitations ethical_considerations worst_behaviour safety data",
        beyond="the oversight measures",
    ),
    _point("4", "appropriateness of the metrics", "definitions fairness_definition tolerances"),
    _point(
        "5",
        "risk management",
        "worst_behaviour financial business legal safety reputational decision",
        beyond="the owner's process of managing risk",
    ),
    _point("6", "changes through the life cycle", "baseline", beyond="the history of releases"),
    _point("7", "harmonised standards applied", beyond="standards"),
    _point("8", "EU declaration of conformity", beyond="the declaration"),
    _point("9", "post-market monitoring", "harm_reports", beyond="the monitoring plan"),
)
"""Annex IV, in its own order."""

AI_RMF = (
    _point("GOVERN 1.1", "legal requirements are understood", "legal regulatory"),
    _point("GOVERN 1.3", "risk tolerance decides how much is managed", "tolerances"),
    _point("GOVERN 2.1", "roles and responsibilities", "owner contact contacts"),
    _point("GOVERN 5.1", "feedback from outside", "harm_reports"),
    _point("GOVERN 6.1", "third-party rights and risks", "data_licence licence"),
    _point("MAP 1.1", "purpose, context, users, impacts", "intended_use out_of_scope ethical_considerations"),
    _point("MAP 1.5", "organisational risk tolerances", "tolerances"),
    _point("MAP 2.1", "tasks and methods", "training architecture decision_rule"),
    _point("MAP 2.2", "limits of knowledge and oversight", "limitations explanations", beyond="the oversight"),
    _point("MAP 2.3", "scientific integrity of testing", "definitions data proxies"),
    _point("MAP 3.1", "benefits", "intended_use"),
    _point("MAP 3.2", "costs of errors", "financial business"),
    _point("MAP 5.1", "likelihood and magnitude of impacts", "worst_behaviour", beyond="the likelihoods"),
    _point("MEASURE 1.1", "metrics for the most significant risks", "definitions fairness_definition"),
    _point("MEASURE 2.1", "test sets, metrics and tools", "data definitions environment"),
    _point("MEASURE 2.2", "representative of the population", "composition"),
    _point("MEASURE 2.3", "performance in conditions like deployment", "overall", beyond="the deployment's conditions"),
    _point("MEASURE 2.5", "valid and reliable, limits of generalisation", "overall limitations"),
    _point("MEASURE 2.6", "safety", "safety"),
    _point("MEASURE 2.7", "security and resilience", "attacks extraction_of_logic"),
    _point("MEASURE 2.8", "transparency and accountability", "owner reports decision"),
    _point("MEASURE 2.9", "explained and interpreted", "explanations individuals"),
    _point("MEASURE 2.10", "privacy", "privacy_statement cumulative attacks extraction_of_training_data trust"),
    _point("MEASURE 2.11", "fairness and bias", "by_group disparities fairness_definition mitigation regulatory"),
    _point("MEASURE 2.12", "environmental impact", beyond="energy and emissions"),
    _point("MEASURE 3.3", "people can report problems and appeal", "harm_reports contacts"),
    _point("MANAGE 1.1", "does it achieve its purpose, should it proceed", "decision"),
    _point("MANAGE 1.3", "responses to the risks of highest priority", "mitigation"),
    _point("MANAGE 1.4", "residual risks are documented", "limitations reputational"),
    _point("MANAGE 2.4", "mechanisms to supersede or deactivate", beyond="rolling back, which is the operator's"),
    _point("MANAGE 4.1", "monitoring after deployment", beyond="monitoring"),
)
"""Subcategories that a card can speak to; the others are about an organisation."""


def appendix(publication: Publication) -> Iterator[Block]:
    """Yields one table per framework."""
    yield Items(
        texts=(
            "Where this card answers what two frameworks ask, and what it does not hold. This is an index, not a "
            "statement of conformity: whether a framework applies, and whether what is known suffices, is not decided "
            "here.",
        )
    )
    for caption, points in (
        ("Technical documentation, Regulation (EU) 2024/1689, Annex IV", AI_ACT),
        ("NIST AI Risk Management Framework 1.0, subcategories that a card can speak to", AI_RMF),
    ):
        yield Table(
            caption=caption,
            heads=("Point", "Asks for", "Known here", "Missing"),
            rows=tuple(_row(point, publication) for point in points),
            numeric=False,
        )


def known_and_missing(point: Point, publication: Publication) -> tuple[list[str], list[str]]:
    """Returns what of a point a card knows, with the section that says it, and what is missing, with the reason."""
    facts = _facts(publication)
    known, missing = [], []
    for name in point.answers:
        title, gap = facts[name]
        if gap is None:
            known.append(title)
        else:
            missing.append(f"{title}: {gap}")
    return known, [*missing, *((point.beyond,) if point.beyond else ())]


def _row(point: Point, publication: Publication) -> Row:
    known, missing = known_and_missing(point, publication)
    cells = (point.asked, "; ".join(known) or ABSENT, "; ".join(missing) or ABSENT)
    return Row(header=point.name, cells=tuple(Cell(text=text) for text in cells))


def _facts(publication: Publication) -> dict[str, tuple[str, str | None]]:
    """Returns every fact that a point can ask for: where it stands, and why it is missing if it is."""
    parts = {name: (title, attrgetter(path)(publication)) for name, (title, path) in _PLACES.items()}
    answers = {entry.topic: entry.answer for entry in publication.card.risks}
    unasked = NotAssessed(reason="this card was written before questions on risk were asked")
    for topic in RiskAnswers.model_fields:
        parts[topic] = (f"Risk, {topic.replace('_', ' ')}", answers.get(topic, unasked))
    return {name: (title, _gap(part)) for name, (title, part) in parts.items()}


def _gap(part: object) -> str | None:
    if isinstance(part, NotAssessed):
        return part.reason
    return "nothing is stated" if part is None or part in ((), {}) else None


_PLACES = {
    "intended_use": ("Use, intended use", "card.intended_use"),
    "out_of_scope": ("Use, out of scope", "card.out_of_scope"),
    "owner": ("Model details, owner", "card.details.owner"),
    "contact": ("Model details, contact", "card.details.contact"),
    "contacts": ("Model details, contacts", "card.contacts"),
    "licence": ("Model details, licence", "card.details.licence"),
    "version": ("Model details", "version"),
    "release": ("Gate decision, release", "release"),
    "environment": ("Model details, environment", "card.details.environment"),
    "training": ("Model details", "card.details.trainer"),
    "architecture": ("Model details, architecture", "card.details.architecture"),
    "decision_rule": ("Metrics", "card.metrics.decision_threshold"),
    "definitions": ("Metrics, definitions", "card.metrics.definitions"),
    "fairness_definition": ("Metrics, fairness definition", "card.metrics.fairness_definition"),
    "tolerances": ("Metrics, conditions for a release", "card.metrics.tolerances"),
    "data": ("Data", "card.data.source"),
    "data_licence": ("Data, licence", "card.data.licence"),
    "data_caveats": ("Data, caveats", "card.data.caveats"),
    "composition": ("Data, composition", "card.data.findings"),
    "departures": ("Data, departures from the schema", "card.data.schema_curated"),
    "proxies": ("Factors, proxies", "card.factors.proxies"),
    "overall": ("Analyses, overall", "card.overall"),
    "by_group": ("Analyses, by group", "card.by_group"),
    "disparities": ("Analyses, differences between groups", "card.disparities"),
    "baseline": ("Analyses, change from the released model", "card.baseline"),
    "mitigation": ("Analyses, change by the mitigation", "card.mitigation"),
    "privacy_statement": ("Privacy, statement", "card.privacy.statement"),
    "cumulative": ("Privacy, all models together", "card.privacy.cumulative"),
    "attacks": ("Privacy, attacks", "card.privacy.attacks"),
    "trust": ("Privacy, who sees what", "card.privacy.trust"),
    "explanations": ("Explanations", "card.explanations"),
    "individuals": ("Single decisions", "card.individuals"),
    "regulatory": ("Regulatory tables", "card.regulatory"),
    "limitations": ("Limitations", "card.limitations"),
    "trade_offs": ("Trade-offs", "card.trade_offs"),
    "ethical_considerations": ("Ethical considerations", "card.ethical_considerations"),
    "harm_reports": ("Saying that a prediction is unjust", "card.harm_reports"),
    "reports": ("Evidence, reports", "card.reports"),
    "decision": ("Gate decision", "decision"),
}
"""Facts of a publication: the heading under which each is printed, and where it lies."""
