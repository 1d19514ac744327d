"""What training did: the mechanism that was executed, and the model that came out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from probity.record import Digest, Number, Record

__all__ = [
    "CLIENT",
    "PLAINTEXT",
    "UNMITIGATED",
    "AdaptiveClipping",
    "Clipping",
    "DpFedAvg",
    "DpFtrl",
    "DpSgd",
    "Encrypted",
    "EncryptionCost",
    "Federated",
    "FixedClipping",
    "Mechanism",
    "Mitigation",
    "NoiseSource",
    "NonPrivate",
    "Party",
    "Revealed",
    "SecureAggregation",
    "TrainedModel",
    "Unknown",
    "adds_noise",
]

CLIENT = "client"
"""The unit of federated mechanisms whose clients are not the values of the privacy-unit column."""

SecureAggregation = Literal["none", "simulated"]
"""Who could see single updates. ``none``: the server. ``simulated``: the arithmetic of a secure sum was executed -
quantisation, clipping to a range, modular sums - but in the clear, in one process: it hides nothing from anybody."""

NoiseSource = Literal["os_entropy", "fixed_seed"]
"""Where noise and sampling came from. ``os_entropy``: a cryptographic generator of, or keyed by, the operating system.
``fixed_seed``: they can be repeated, so they hide nothing; for tests only."""

UNMITIGATED = "unmitigated"
"""Folder beside the model that holds the same training without mitigation, in the same layout."""

PLAINTEXT = "plaintext"
"""Folder beside a model that was trained on shares; holds the same training in the clear, in the same layout."""


class NonPrivate(Record):
    """Training read the examples without clipping or noise. Epsilon is infinite."""

    kind: Literal["non_private"] = "non_private"


class DpSgd(Record):
    """Clipped, noisy gradient steps as they were executed (Abadi et al. 2016, algorithm 1).

    Every step adds Gaussian noise of standard deviation ``noise_multiplier * l2_clip_norm`` to a sum in which each
    protected unit weighs at most ``l2_clip_norm``. No field is an epsilon, and none has a default that would make a
    claim on the trainer's behalf: :mod:`probity.audits.privacy` computes epsilon, so a trainer cannot state one.
    """

    kind: Literal["dp_sgd"] = "dp_sgd"
    noise_multiplier: float = Field(ge=0.0, allow_inf_nan=False)
    """Standard deviation of the noise over ``l2_clip_norm``."""
    noise_source: Literal["os_entropy", "fixed_seed"]
    """``os_entropy``: noise and batches came from a cryptographic generator keyed by the operating system.
    ``fixed_seed``: they can be repeated, so they hide nothing; for tests only."""
    sampling: Literal["poisson", "shuffled"]
    """How batches were drawn, as it was done. ``poisson``: each unit independently at every step. ``shuffled``: each
    unit exactly once per pass, in an order drawn anew."""
    sampling_prob: float = Field(gt=0.0, le=1.0)
    """``poisson``: the probability of each unit at each step. ``shuffled``: batch size over number of units."""
    max_participations: int | None = Field(default=None, ge=0)
    """``shuffled``: the largest number of steps that any one unit took part in. ``None`` under ``poisson``."""
    steps: int = Field(ge=0)
    """Steps that were executed, each counted once, over all interruptions. Where looking at outcomes decided when to
    stop, all the steps that might have been executed: for fewer no epsilon is proven then (Whitehouse et al. 2023)."""
    l2_clip_norm: Number = Field(gt=0.0)
    """Bound on one unit's contribution to the sum of a step; infinite: no clipping."""
    expected_batch_size: float = Field(gt=0.0, allow_inf_nan=False)
    """Expected number of units per step."""
    normalization: Literal["expected_batch_size", "actual_batch_size"]
    """What the noisy sum was divided by. Dividing by the number of units that happened to be drawn would release that
    number, and change the ratio of noise to signal from step to step."""
    unit: str
    """The protected unit: ``row``, or the name of the privacy-unit column."""
    rows_per_unit: int = Field(default=1, ge=1)
    """Largest number of rows that one unit gave to one step; each was clipped to ``l2_clip_norm / rows_per_unit``."""
    engine: str
    """What computed the clipped sums."""

    @model_validator(mode="after")
    def _participations_belong_to_shuffling(self) -> DpSgd:
        if (self.max_participations is None) != (self.sampling == "poisson"):
            raise ValueError("max_participations is given for shuffled batches, and for these only")
        return self


class Federated(Record):
    """Rows stayed with their clients and updates were averaged, without noise. Epsilon is infinite.

    That rows do not move bounds nothing that updates or the model reveal about them (Zhu et al. 2019).
    """

    kind: Literal["federated"] = "federated"
    num_clients: int = Field(ge=1)
    clients_per_round: int = Field(ge=1)
    """Clients that were asked in each round; those that were absent did not answer."""
    sampling: Literal["uniform_without_replacement"] = "uniform_without_replacement"
    rounds: int = Field(ge=0)
    """Rounds that were executed, each counted once, over all interruptions."""
    secure_aggregation: SecureAggregation


class FixedClipping(Record):
    """Each client's update is scaled down to this norm."""

    kind: Literal["fixed"] = "fixed"
    l2_clip_norm: float = Field(gt=0.0)
    """Largest L2 norm with which a client's update enters the sum of a round."""


class AdaptiveClipping(Record):
    """The norm follows a quantile of the updates' norms, estimated with noise of its own (Andrew et al. 2021)."""

    kind: Literal["adaptive"] = "adaptive"
    initial_l2_clip_norm: float = Field(gt=0.0)
    """The norm in the first round."""
    target_unclipped_quantile: float = Field(gt=0.0, lt=1.0)
    """Share of updates that the norm is steered to leave as they are."""
    learning_rate: float = Field(gt=0.0)
    """Step size of the geometric update of the norm."""
    clipped_count_stddev: float = Field(gt=0.0)
    """Standard deviation of the noise on the number of updates that were not clipped, in clients."""


Clipping = Annotated[FixedClipping | AdaptiveClipping, Field(discriminator="kind")]
"""How the norm of a client's update is bounded."""


class DpFedAvg(Record):
    """Federated averaging with clipped client updates and noise on their sum, as executed (McMahan et al. 2018).

    In every round the sum of the sampled clients' unweighted updates gets Gaussian noise and is divided by a constant.
    """

    kind: Literal["dp_fedavg"] = "dp_fedavg"
    noise_multiplier: float = Field(ge=0.0)
    """Noise of a round over its sensitivity, for all that a round releases together: with adaptive clipping, of the sum
    and of the count as one Gaussian mechanism (Andrew et al. 2021, theorem 1)."""
    noise_source: NoiseSource
    sampling: Literal["poisson"]
    """Each client takes part in each round independently of all others."""
    sampling_prob: float = Field(gt=0.0, le=1.0)
    """Its probability of doing so, absences included."""
    rounds: int = Field(ge=0)
    """Rounds that were executed, each counted once, over all interruptions."""
    clipping: Clipping
    expected_clients_per_round: float = Field(gt=0.0)
    """What the noisy sum was divided by."""
    unit: str
    """``client``, or the name of the privacy-unit column whose values are the clients."""
    secure_aggregation: SecureAggregation
    engine: str

    @model_validator(mode="after")
    def _the_count_costs_less_than_all(self) -> DpFedAvg:
        if (
            isinstance(self.clipping, AdaptiveClipping)
            and 2 * self.clipping.clipped_count_stddev <= self.noise_multiplier
        ):
            raise ValueError(
                "clipped_count_stddev is above half of noise_multiplier, or nothing is left for the updates"
            )
        return self


class DpFtrl(Record):
    """Differentially private follow-the-regularised-leader by tree aggregation (Kairouz et al. 2021, algorithm 1).

    Sums of clipped client updates are released through binary trees of noisy partial sums; a client takes part in at
    most one round of each tree.
    """

    kind: Literal["dp_ftrl"] = "dp_ftrl"
    noise_multiplier: float = Field(ge=0.0)
    """Standard deviation of the noise of each node of a tree over ``l2_clip_norm``."""
    noise_source: NoiseSource
    sampling: Literal["shuffled"]
    """Each client takes part once per pass over all clients; no amplification is counted on."""
    rounds: int = Field(ge=0)
    """Rounds that were executed, each counted once, over all interruptions."""
    rounds_per_tree: int = Field(ge=1)
    """Rounds after which a new tree begins: those of one pass over the clients."""
    l2_clip_norm: float = Field(gt=0.0)
    """Largest L2 norm with which a client's update enters the sum of a round."""
    expected_clients_per_round: float = Field(gt=0.0)
    """What sums were divided by."""
    unit: str
    """``client``, or the name of the privacy-unit column whose values are the clients."""
    secure_aggregation: SecureAggregation
    engine: str


class Party(Record):
    """Who took part in a computation on shares."""

    name: str
    role: Literal["server", "data_owner", "model_owner"]


class Revealed(Record):
    """What left the shares."""

    what: str
    """In words, for example ``the weights``."""
    to: str
    """Name of the party that it was revealed to."""


class Encrypted(Record):
    """Training on secret shares, without noise: the rows stay hidden from the servers, not from the model.

    Encryption hides data while a model is trained and does not stop the model from memorising it, so that epsilon is
    infinite. No field is an epsilon, and none says ``secure``: whom the shares hide from is in ``threat_model``.
    """

    kind: Literal["encrypted"] = "encrypted"
    protocol: Literal["aby3", "pond", "securenn"]
    precision: Literal[64, 128]
    """Bits of a share."""
    parties: tuple[Party, ...] = Field(min_length=1)
    """Three servers, the data owners, and the model owner."""
    execution: Literal["simulated", "processes"]
    """``simulated``: one process held all shares, so that nothing was hidden from whoever ran it. ``processes``: each
    server and data owner was a process of its own."""
    same_operator: bool
    """Whether one operator started all parties, and could have put their shares together."""
    data_split: Literal["rows", "columns"]
    """Whether the data owners had different rows, or different columns of the same rows."""
    threat_model: str
    """Against whom, and on which assumptions, the shares hide the rows; in words."""
    revealed: tuple[Revealed, ...] = Field(min_length=1)
    """All that left the shares, and to whom."""


Mechanism = Annotated[NonPrivate | DpSgd | Federated | DpFedAvg | DpFtrl | Encrypted, Field(discriminator="kind")]
"""What happened to the data during training: a closed union, so that an unknown mechanism cannot be read at all."""


def adds_noise(mechanism: Mechanism) -> bool:
    """Whether a mechanism bounds, by noise, what the model says about one unit."""
    return not isinstance(mechanism, NonPrivate | Federated | Encrypted)


class Unknown(Record):
    """The model was trained elsewhere, and nobody here saw how. No epsilon can be stated, not even an infinite one."""

    kind: Literal["unknown"] = "unknown"


class Mitigation(Record):
    """What was done so that a chosen difference between groups is smaller, and what that can be compared with.

    Guarantees: either the digest of the model without it is given, or why there is none.
    """

    method: str
    """``reweighing``, ``mindiff``, ``threshold_optimizer`` or ``exponentiated_gradient``, or that of a plug-in."""
    across: tuple[str, ...] = Field(min_length=1)
    """The sensitive attributes whose groups it speaks of; several are one intersection."""
    constraint: str | None = None
    """What is to be alike between the groups, in the method's own words."""
    fitted_on: Literal["train", "eval"]
    """The split whose groups it read."""
    served_columns: tuple[str, ...] = ()
    """Sensitive columns that the served model asks for, because its decision depends on the group: disparate treatment
    by construction."""
    unmitigated: Digest | None = None
    """Digest of ``unmitigated/saved_model``: the same training, with the same seed, without mitigation."""
    no_comparison: str | None = None
    """Why there is no such model."""

    @model_validator(mode="after")
    def _compared_or_not(self) -> Mitigation:
        if (self.unmitigated is None) == (self.no_comparison is None):
            raise ValueError("give either the digest of the unmitigated model or why there is none")
        return self


class EncryptionCost(Record):
    """What training on shares cost, and the model of the same training in the clear that it can be compared with.

    Guarantees: either that model's digest, time and difference are given, or why there is none.
    """

    seconds_per_epoch: float | None = Field(default=None, ge=0.0)
    """Mean wall time of an epoch on shares, compiling left out; ``None``: no epoch was executed in the last attempt."""
    sent_bytes: dict[str, int] = Field(default_factory=dict)
    """Bytes that each party sent to others, as it counted them; empty where one process simulated all."""
    plaintext: Digest | None = None
    """Digest of ``plaintext/saved_model``: same initial weights, same batches, in the clear."""
    plaintext_seconds_per_epoch: float | None = Field(default=None, gt=0.0)
    largest_weight_difference: float | None = Field(default=None, ge=0.0)
    """Largest absolute difference between a weight of the one and of the other."""
    no_comparison: str | None = None
    """Why there is no such model."""

    @model_validator(mode="after")
    def _compared_or_not(self) -> EncryptionCost:
        compared = (self.plaintext, self.plaintext_seconds_per_epoch, self.largest_weight_difference)
        if any(entry is None for entry in compared) != all(entry is None for entry in compared):
            raise ValueError("a comparison has a model, its time and a difference")
        if (self.plaintext is None) == (self.no_comparison is None):
            raise ValueError("give either a comparison or why there is none")
        return self


class TrainedModel(Record):
    """A model and everything about its making that later stages rely on (``07_model/model.json``)."""

    schema_version: Literal[1] = 1
    trainer: str
    """Name of the trainer. For the reader; no audit may look at it."""
    mechanism: NonPrivate | DpSgd | Federated | DpFedAvg | DpFtrl | Encrypted | Unknown = Field(discriminator="kind")
    digest: Digest
    """Digest of the folder ``saved_model``: the identity of the model from here on."""
    weights: Digest
    """Digest of the trainable weights' bytes: equal for equal data, settings, seed and hardware."""
    train_examples: Digest
    """Digest of the transformed training examples."""
    transform: Digest
    """Digest of the transform graph inside the model."""
    settings: dict[str, Any]
    """The trainer's settings, fully resolved."""
    seed: int
    num_train_examples: int = Field(ge=1)
    """Planted canaries included. Of a model that was trained elsewhere: of the rows that are said to be its own."""
    members_known: bool = True
    """Whether the rows of the training split are those that the model was trained on."""
    num_train_units: int = Field(ge=1)
    """Number of protected units among the training examples; equal to their number where each row is a unit."""
    target_delta: float | None = Field(default=None, gt=0.0, lt=1.0)
    """The delta at which the owner asked for epsilon to be stated; ``None``: the auditor's rule."""
    num_parameters: int | None = Field(default=None, ge=1)
    """``None``: it cannot be counted, in a model that was trained elsewhere."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps that were executed; ``None`` here and below: nobody here saw the training."""
    epochs: int | None = Field(default=None, ge=1)
    """Epochs that were executed, fewer than asked when training stopped early; of a federated training, rounds."""
    best_epoch: int | None = Field(default=None, ge=1)
    """The epoch whose weights were kept."""
    chosen_on_eval: bool
    """Whether the eval split decided which weights were kept, or when training stopped."""
    history: dict[str, tuple[Number, ...]]
    """Per executed epoch: ``loss``, ``auc`` on train; ``val_loss``, ``val_auc`` on eval. Of a federated training, per
    round."""
    environment: dict[str, str]
    """Versions of Python and of the libraries that decide the numbers."""
    warnings: tuple[str, ...] = ()
    mitigation: Mitigation | None = None
    """What was done about differences between groups; ``None``: nothing."""
    encryption: EncryptionCost | None = None
    """What training on shares cost; ``None``: it was not on shares."""
    uncovered: tuple[str, ...] = ()
    """What the trainer read from training rows beside its mechanism, without noise, in words: an epsilon does not cover
    it."""
