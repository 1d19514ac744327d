"""Which method does what to the training of the trainer ``plain``, and what the record says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from probity.data import Dataset
from probity.errors import ConfigError
from probity.model import Mitigation
from probity.trainers.base import Groups, Progress, TrainingRequest
from probity.trainers.fitting import Fitted, Rows, fit
from probity.trainers.mitigation.exponentiated_gradient import reduce
from probity.trainers.mitigation.group_rule import GroupRule, common_threshold, make_rule
from probity.trainers.mitigation.mindiff import make_penalty
from probity.trainers.mitigation.reweighing import READS, GroupWeights, group_weights
from probity.trainers.mitigation.settings import (
    ExponentiatedGradientSettings,
    MinDiffSettings,
    MitigationSettings,
    NoMitigation,
    ReweighingSettings,
    ThresholdOptimizerSettings,
)
from probity.trainers.mitigation.threshold_optimizer import choose_thresholds

__all__ = ["Applied", "groups_for", "mitigate", "optimized_thresholds", "recorded", "reweighed", "row_weights"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Applied:
    """What a method did.

    Attributes:
        constraint: What is to be alike.
        rule: What is done to the model's scores; ``None``: nothing.
        fitted_on: The split whose groups were read.
        reads: What was read from training rows beside the training itself, in words.
        warnings: What a reader should know.
    """

    constraint: str
    rule: GroupRule | None = None
    fitted_on: Literal["train", "eval"] = "train"
    reads: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def groups_for(request: TrainingRequest, settings: NoMitigation | MitigationSettings) -> Groups:
    """Returns the groups of the request, or raises if they are not those that the settings ask for.

    Raises:
        ConfigError: If they are not.
    """
    given = request.groups
    rows = {split: request.examples.files[split].num_rows for split in ("train", "eval")}
    if given is None or given.across != settings.across or {s: len(given.codes[s]) for s in rows} != rows:
        raise ConfigError(
            "trainer: mitigation.across",
            seen="groups of other attributes or rows" if given is not None else "no groups of the rows",
            allowed=f"one group of {', '.join(settings.across)} for each training and eval row",
            remedy="give the request the groups that the settings name",
        )
    return given


def mitigate(
    request: TrainingRequest,
    settings: MitigationSettings,
    *,
    unmitigated: Fitted,
    train: Rows,
    validation: Rows,
    report: Progress,
    logs: Path,
) -> tuple[Fitted, Applied]:
    """Applies a method to a training that was done without it, with the same settings and seed.

    Returns:
        The model to export, and what was done.

    Raises:
        ConfigError: If the request has not the groups.
        TrainingError: If the method cannot be applied to these rows, or the loss is not finite.
    """
    groups = groups_for(request, settings)
    plain = unmitigated.settings
    if isinstance(settings, ReweighingSettings):
        weighted = row_weights(groups, train, validation)
        fitted = fit(request, plain, train=weighted[0], validation=weighted[1], report=report, logs=logs)
        return fitted, reweighed()
    if isinstance(settings, MinDiffSettings):
        labels = {"train": train.labels, "eval": validation.labels}
        penalty = make_penalty(settings, groups, labels, seed=request.seed)
        fitted = fit(request, plain, train=train, validation=validation, report=report, logs=logs, penalty=penalty)
        left_out = f"{penalty.left_out} groups have too few rows and were left out of the penalty"
        warnings = (left_out,) if penalty.left_out else ()
        return fitted, Applied(constraint=f"score distributions: {settings.equalizes}", warnings=warnings)
    if isinstance(settings, ThresholdOptimizerSettings):
        return unmitigated, optimized_thresholds(
            request, settings, model=unmitigated.model, train=train, validation=validation
        )
    if isinstance(settings, ExponentiatedGradientSettings):
        return _reduced(request, settings, groups, unmitigated=unmitigated, train=train, report=report)
    raise TypeError(f"the trainer plain knows no {type(settings).__name__}")


def reweighed() -> Applied:
    """Returns what reweighing did."""
    return Applied(constraint="independence of group and label in the weighted training rows", reads=(READS,))


def row_weights(groups: Groups, train: Rows, validation: Rows) -> tuple[Rows, Rows]:
    """Returns both splits with the weights of reweighing, which are measured on the training rows."""
    weights = group_weights(groups.codes["train"], train.labels, groups=len(groups.names))
    return _weighted(weights, train, groups, "train"), _weighted(weights, validation, groups, "eval")


def _weighted(weights: GroupWeights, rows: Rows, groups: Groups, split: str) -> Rows:
    return replace(rows, weights=weights.of(groups.codes[split], rows.labels))


def optimized_thresholds(
    request: TrainingRequest,
    settings: ThresholdOptimizerSettings,
    *,
    model: Any,
    train: Rows,
    validation: Rows,
) -> Applied:
    """Chooses a threshold for each group on the eval split, or on the training split where there is none.

    Raises:
        ConfigError: If the request has not the groups.
        TrainingError: If fewer than two groups are large enough.
    """
    groups = groups_for(request, settings)
    split: Literal["train", "eval"] = "eval" if len(validation) else "train"
    rows = validation if split == "eval" else train
    scores = model.predict(dict(rows.inputs), batch_size=8192, verbose=0)[:, 0].astype(np.float32)
    common = common_threshold(request.decision_threshold)
    chosen = choose_thresholds(
        scores,
        rows.labels > 0.5,
        groups.codes[split],
        names=groups.names,
        settings=settings,
        common=common,
        favourable=request.dataset.favourable_outcome,
    )
    rule = make_rule(request.dataset, settings.across, chosen.thresholds, decision_threshold=common)
    columns = ", ".join(column.name for column in rule.columns)
    without = sum(not own for own in chosen.own)
    warnings = [
        f"the served model asks for {columns}: its decision depends on the group, which is disparate treatment by "
        "construction and may be unlawful where the model is used",
        f"fairlearn's optimum decides some rows by a coin; each group got the single threshold nearest to it, which "
        f"misses its rates by at most {chosen.departure:.4f} on the rows that it was chosen on",
        "scores are moved within each group so that its threshold is the common one: they are no calibrated "
        "probabilities, and do not rank rows of different groups",
    ]
    if without:
        warnings.append(f"{without} groups, those of missing values among them, keep the common threshold")
    if split == "train":
        warnings.append("the eval split is empty: the thresholds were chosen on the rows that the model was trained on")
    reads = ("thresholds by group, chosen on scores, labels and groups of training rows",) if split == "train" else ()
    return Applied(
        rule=rule,
        constraint=settings.constraint,
        fitted_on=split,
        reads=reads,
        warnings=tuple(warnings),
    )


def _reduced(
    request: TrainingRequest,
    settings: ExponentiatedGradientSettings,
    groups: Groups,
    *,
    unmitigated: Fitted,
    train: Rows,
    report: Progress,
) -> tuple[Fitted, Applied]:
    limit = 5 * settings.max_iter  # the search for a gap tries up to four multipliers after each iteration
    model, ensemble = reduce(
        request,
        unmitigated.settings,
        settings,
        groups=groups,
        rows=train,
        epochs=unmitigated.best_epoch,
        said=lambda number: report(min(number / limit, 0.99), f"model {number} of the reduction"),
    )
    used = len(ensemble.shares)
    words = {
        "expected_decision": f"the score is the probability of a positive decision by {used} models, of "
        f"{ensemble.trainings} that were trained: it takes few values, and is no calibrated probability of the label",
        "mean_probability": f"the score is the weighted mean of the scores of {used} models, of {ensemble.trainings} "
        "that were trained",
    }
    warnings = [
        words[settings.score],
        "the constraint holds for decisions drawn by the models' probabilities; for those at a fixed threshold only "
        "the audits say what holds",
        f"each of the models was trained for {unmitigated.best_epoch} epochs, as many as were kept without mitigation, "
        "whose epochs and history are recorded; the steps are those of all models",
    ]
    fitted = replace(unmitigated, model=model, steps=ensemble.steps, warnings=[])
    return fitted, Applied(constraint=settings.constraint, warnings=tuple(warnings))


def recorded(
    settings: MitigationSettings,
    made: Applied,
    dataset: Dataset,
    *,
    unmitigated: str | None = None,
    no_comparison: str | None = None,
) -> Mitigation:
    """Returns what the model's record says.

    Args:
        settings: What was asked.
        made: What came of it.
        dataset: The columns' roles.
        unmitigated: Digest of the SavedModel without mitigation.
        no_comparison: Why there is none.
    """
    columns = () if made.rule is None else made.rule.columns
    return Mitigation(
        method=str(getattr(settings, "method", "")),
        across=settings.across,
        constraint=made.constraint,
        fitted_on=made.fitted_on,
        served_columns=tuple(column.name for column in columns),
        unmitigated=unmitigated,
        no_comparison=no_comparison,
    )
