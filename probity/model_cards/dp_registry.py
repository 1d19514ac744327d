"""The card of a private model as an entry of the registry of differentially private deployments, in YAML.

The entry repeats what the privacy statement says and adds nothing to it. What only the curator can say and did not is
listed in the comment at the top, so that the file shows what keeps it from being submitted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import yaml

from probity.card import CumulativeSpending, ModelCard, NotAssessed, Numbers, Statement
from probity.errors import DataError
from probity.findings import PrivacyStatement
from probity.model_cards.federation import federation_words
from probity.model_cards.publication import Publication
from probity.model_cards.registry_entry import (
    Administrative,
    Basic,
    Curator,
    Deployment,
    DeploymentModel,
    DpVariant,
    Implementation,
    PrivacyLoss,
    PrivacyParameters,
    RegistryEntry,
)
from probity.model_cards.wording import interval_text, metric_title, value_text

__all__ = ["dp_registry_problems", "entry_of", "is_private", "to_dp_registry"]

_REQUIRED = {
    "data_curators[0].data_curator_name": "card.owner",
    "data_curators[0].data_curator_type": "card.registry.curator_type",
    "intended_use": "card.intended_use",
    "data_product_region": "card.registry.region",
}
"""Fields below ``deployment.basic`` that the registry requires and only the curator knows, and where they say it."""


def is_private(card: ModelCard) -> bool:
    """Whether the card states a finite epsilon."""
    statement = card.privacy.statement
    return isinstance(statement, PrivacyStatement) and math.isfinite(statement.epsilon)


def to_dp_registry(publication: Publication) -> str:
    """Returns the entry as YAML, with what is missing in a comment at the top.

    Raises:
        DataError: If no finite epsilon is stated.
    """
    value = _filled(entry_of(publication).to_json())
    missing = [
        f"#   deployment.basic.{field}: say it under {key}"
        for field, key in _REQUIRED.items()
        if not _has(value["deployment"]["basic"], field)
    ]
    head = ["# An entry of the registry of differentially private deployments, written from a model card."]
    if missing:
        head += ["# The registry requires what is not stated here yet:", *missing]
    return "\n".join(head) + "\n" + yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def dp_registry_problems(text: str) -> list[str]:
    """Returns what the registry would refuse: a field that it requires and that is missing."""
    value = yaml.safe_load(text)
    basic = value["deployment"]["basic"]
    return [f"deployment.basic.{field}: not stated" for field in _REQUIRED if not _has(basic, field)]


def entry_of(publication: Publication) -> RegistryEntry:
    """Returns the entry.

    Raises:
        DataError: If no finite epsilon is stated.
    """
    card = publication.card
    statement = card.privacy.statement
    if not isinstance(statement, PrivacyStatement) or not math.isfinite(statement.epsilon):
        raise DataError(
            f"the card of run {card.run}",
            seen="no finite epsilon",
            allowed="a model that was trained with differential privacy",
            remedy="take another format, or train with a private trainer such as dp_sgd",
        )
    return RegistryEntry(
        url_slug=f"{card.name}-{publication.version}".lower(),
        deployment=Deployment(
            basic=_basic(publication),
            dp_variant=DpVariant(
                variant_name="Approximate DP" if statement.delta > 0 else "Pure DP",
                data_domain=f"rows with the columns {', '.join((*card.data.features, card.data.label))}",
                unprotected_quantities=_listed(_unprotected(statement)),
            ),
            privacy_loss=_privacy_loss(card, statement),
            deployment_model=_deployment_model(card, statement),
            implementation=_implementation(card, statement),
            administrative=Administrative(registry_authors=(_words(card.details.owner) or "not stated",)),
        ),
    )


def _basic(publication: Publication) -> Basic:
    card, release = publication.card, publication.release
    return Basic(
        name=card.name,
        data_curators=(
            Curator(data_curator_name=_words(card.details.owner), data_curator_type=card.registry.curator_type),
        ),
        description=f"A model that predicts {card.data.label} from {len(card.data.features)} columns.",
        intended_use=_words(card.intended_use),
        data_product_region=card.registry.region,
        data_product_sector=card.registry.sector,
        publication_date=(release.released_at if release is not None else card.created_at)[:10],
    )


def _privacy_loss(card: ModelCard, statement: PrivacyStatement) -> PrivacyLoss:
    return PrivacyLoss(
        privacy_unit=statement.unit,
        privacy_unit_details=f"{statement.neighbouring_relation}; {'; '.join(statement.assumptions)}",
        # Rows that were planted for the attacks took part in training, and are counted.
        number_of_privacy_units=card.details.num_train_examples if statement.unit == "row" else None,
        privacy_parameters=PrivacyParameters(epsilon=statement.epsilon, delta=statement.delta),
        privacy_parameters_details=_listed(
            [f"accountant: {statement.accountant}", f"sampling: {statement.sampling}", *_second_opinion(statement)]
        ),
    )


def _deployment_model(card: ModelCard, statement: PrivacyStatement) -> DeploymentModel:
    rows = [f"{row.party}: {row.sees}" for row in card.privacy.trust]
    seeing = [row.party for row in card.privacy.trust if row.sees_raw_rows]
    return DeploymentModel(
        model_name="Federated" if card.federation is not None else "Central",
        trust_assumptions=f"Trusted with rows in the clear: {', '.join(seeing) or 'nobody'}.",
        actors=_listed(rows),
        release_type="One release",
        release_type_details="This entry is about one model. " + _together(card.privacy.cumulative),
        data_source_type="Static",
        access_type="Non-interactive",
    )


def _implementation(card: ModelCard, statement: PrivacyStatement) -> Implementation:
    mechanism = card.details.mechanism.to_json()
    settings = ", ".join(f"{name} {value}" for name, value in mechanism.items() if name != "kind" and value is not None)
    constants = {constant.source for constant in card.data.constants}
    preprocessing = f"constants of the transform come from: {', '.join(sorted(constants))}" if constants else "none"
    return Implementation(
        preprocessing_and_hyperparameter_tuning=f"{preprocessing}; {'; '.join(statement.not_covered)}",
        mechanisms=f"{mechanism['kind']}: {settings}",
        composition=_listed(statement.composed) if statement.composed else statement.accountant,
        post_processing="whatever is computed from the released weights",
        justification=_words(card.trade_offs),
        utility=_listed(list(_utility(card))) or None,
        additional_information=_additional(card),
    )


def _additional(card: ModelCard) -> str:
    trained = "" if card.federation is None else f"{federation_words(card.federation)} "
    return f"{trained}Run {card.run}, model {card.details.digests.get('model', 'not known')}."


def _unprotected(statement: PrivacyStatement) -> list[str]:
    return [*statement.not_covered, *statement.uncovered_preprocessing, *statement.uncovered_training]


def _second_opinion(statement: PrivacyStatement) -> Iterator[str]:
    if statement.second_accountant is not None and statement.second_epsilon is not None:
        yield f"second accountant: {statement.second_accountant}, epsilon {value_text(statement.second_epsilon)}"


def _together(spent: CumulativeSpending | NotAssessed) -> str:
    if isinstance(spent, NotAssessed):
        return f"All models of the same data together: not assessed: {spent.reason}"
    return (
        f"All models of the same data together: epsilon {value_text(spent.epsilon)} at delta {spent.delta:g}, over "
        f"{spent.mechanisms} private mechanisms; {spent.non_private} trainings without differential privacy are not in "
        "it."
    )


def _utility(card: ModelCard) -> Iterator[str]:
    numbers = card.overall.numbers if isinstance(card.overall, Numbers) else ()
    for number in numbers:
        if number.threshold in (None, card.metrics.decision_threshold) and number.label_class is None:
            yield (
                f"{metric_title(number.metric)} {value_text(number.value, number.metric)} ({interval_text(number)}), "
                f"{number.finding}"
            )


def _words(part: Statement | NotAssessed) -> str | None:
    return " ".join(part.text) if isinstance(part, Statement) else None


def _listed(lines: list[str] | tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _filled(value: Any) -> Any:
    """Returns a value without what is missing."""
    if isinstance(value, dict):
        return {key: _filled(entry) for key, entry in value.items() if entry is not None}
    return [_filled(entry) for entry in value] if isinstance(value, list) else value


def _has(basic: dict[str, Any], field: str) -> bool:
    name = field.removeprefix("data_curators[0].")
    return name in (basic if name == field else basic["data_curators"][0])
