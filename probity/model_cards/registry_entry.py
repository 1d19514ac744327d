"""``RegistryEntry``: one entry of a registry of differentially private deployments, field by field.

The fields are those of ``schemas/deployments-schema.yaml`` of the registry's data (GitHub repository
opendp/deployments-registry-data, commit 057e5d8), which NIST proposes to host; the schema follows Ghazi, Nanayakkara
and Vadhan ("Practitioners' Perspectives on a Differential Privacy Deployment Registry", arXiv:2509.13509). A field that
the schema requires may be missing here, because nobody but the curator can fill it;
:func:`probity.model_cards.dp_registry.to_dp_registry` says so.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from probity.record import Record

__all__ = [
    "Administrative",
    "Basic",
    "Curator",
    "Deployment",
    "DeploymentModel",
    "DpVariant",
    "Implementation",
    "PrivacyLoss",
    "PrivacyParameters",
    "RegistryEntry",
]


class Curator(Record):
    """Who publishes the model."""

    data_curator_name: str | None
    data_curator_type: str | None


class Basic(Record):
    """Tier 1: what it is."""

    name: str
    data_curators: tuple[Curator, ...] = Field(min_length=1)
    description: str
    intended_use: str | None
    data_product_type: Literal["Machine learning model"] = "Machine learning model"
    data_product_region: str | None
    data_product_sector: str | None
    publication_date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")


class DpVariant(Record):
    """Which definition of differential privacy holds, and for what."""

    variant_name: Literal["Pure DP", "Approximate DP"]
    data_domain: str
    unprotected_quantities: str


class PrivacyParameters(Record):
    """How strong it is."""

    epsilon: float = Field(ge=0.0)
    delta: float = Field(ge=0.0, lt=1.0)


class PrivacyLoss(Record):
    """What is protected, and how strongly."""

    privacy_unit: str
    privacy_unit_details: str
    number_of_privacy_units: int | None
    privacy_parameters: PrivacyParameters
    privacy_parameters_details: str


class DeploymentModel(Record):
    """Who sees what, and how often something is released."""

    model_name: Literal["Local", "Central", "Shuffle", "Federated", "Varies"]
    trust_assumptions: str
    actors: str
    release_type: Literal["One release", "Many releases"]
    release_type_details: str
    data_source_type: Literal["Static", "Dynamic"]
    access_type: Literal["Interactive", "Non-interactive"]


class Implementation(Record):
    """Tier 3: how it was done."""

    preprocessing_and_hyperparameter_tuning: str
    mechanisms: str
    composition: str
    post_processing: str
    justification: str | None
    utility: str | None
    additional_information: str


class Administrative(Record):
    """The state of the entry."""

    status: Literal["Draft"] = "Draft"
    registry_authors: tuple[str, ...] = Field(min_length=1)
    tier: Literal[1, 2, 3] = 3


class Deployment(Record):
    """One deployment: a model that was trained with differential privacy."""

    basic: Basic
    dp_variant: DpVariant
    privacy_loss: PrivacyLoss
    deployment_model: DeploymentModel
    implementation: Implementation
    administrative: Administrative


class RegistryEntry(Record):
    """The whole entry."""

    url_slug: str
    deployment: Deployment
