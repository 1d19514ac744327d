"""The vocabulary of metrics: one term for one thing, everywhere (config, JSON, card, tracker, documentation).

Rates are defined on the confusion counts at one threshold, with the decision ``score > threshold`` (strict, as TFMA
does); ``P`` and ``N`` are the numbers of positive and negative labels. For a multi-class label a rate speaks of one
class against all others, ``P`` and ``N`` are the rows with and without that label, and the decision is the class with
the highest score (the first of them, where several are equal).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from probity.task import TASKS, Task

__all__ = ["METRICS", "Direction", "Metric", "MetricKind", "Unit", "metric"]

Unit = Literal["", "label", "label squared", "per cent"]
"""What a metric is measured in; the empty text for a pure number."""


class Direction(StrEnum):
    """Which way is better."""

    HIGHER_IS_BETTER = "higher_is_better"
    LOWER_IS_BETTER = "lower_is_better"
    NEITHER = "neither"


class MetricKind(StrEnum):
    """How a metric depends on the scored rows."""

    RATE = "rate"
    """A ratio of confusion counts at one threshold."""
    SCORE = "score"
    """A function of scores and labels, without a threshold."""
    REGRESSION = "regression"
    """A function of predicted numbers and labels."""
    COUNT = "count"
    PRIVACY = "privacy"
    DATA = "data"
    """A property of the data, not of a model."""
    EXPLANATION = "explanation"
    COST = "cost"
    """What a training took, or by how much a number of the model moved, because it was done on secret shares."""
    REGULATORY = "regulatory"
    """A rate or ratio as a particular rule defines it."""
    EDGE_CASES = "edge_cases"
    """What the model answers for a fixed list of cases that were chosen by hand."""
    SERVING = "serving"
    """How the exported model behaves in a server, measured before a push."""
    COMPARISON = "comparison"
    """Defined between groups only."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One entry of the vocabulary.

    Attributes:
        name: The field's standard term.
        kind: How it depends on the rows.
        direction: Which way is better.
        definition: What is computed.
        gateable: Whether a gate rule may name it.
        tasks: The tasks for which it is reported.
        per_class: Whether it speaks of one class at a time where the label has several.
        signed: Whether it can be negative, so that groups have no ratio.
        otherwise: What the definition says beside for several classes, or for numbers.
        unit: What it is measured in: nothing, the label's unit, its square, or per cent.
    """

    name: str
    kind: MetricKind
    direction: Direction
    definition: str
    gateable: bool = True
    tasks: tuple[Task, ...] = TASKS
    per_class: bool = False
    signed: bool = False
    unit: Unit = ""
    otherwise: str = ""

    def definition_for(self, task: Task) -> str:
        """Returns the definition as a reader of a model for this task needs it."""
        return self.definition if task == "binary" or not self.otherwise else f"{self.definition}; {self.otherwise}"


_UP, _DOWN, _NEITHER = Direction.HIGHER_IS_BETTER, Direction.LOWER_IS_BETTER, Direction.NEITHER
_BINARY: tuple[Task, ...] = ("binary",)
_CLASSES: tuple[Task, ...] = ("binary", "multiclass")


def _rate(name: str, direction: Direction, definition: str, *, per_class: bool = False) -> Metric:
    tasks = _CLASSES if per_class or name == "accuracy" else _BINARY
    return Metric(
        name=name, kind=MetricKind.RATE, direction=direction, definition=definition, tasks=tasks, per_class=per_class
    )


def _of_numbers(
    name: str, direction: Direction, definition: str, *, unit: Unit = "label", signed: bool = False
) -> Metric:
    """Returns a metric of predicted numbers, with ``p`` for a prediction and ``y`` for a label."""
    return Metric(
        name=name,
        kind=MetricKind.REGRESSION,
        direction=direction,
        definition=definition,
        tasks=("regression",),
        signed=signed,
        unit=unit,
    )


_ALL = (
    _rate("accuracy", _UP, "(TP + TN) / (P + N)"),
    _rate("precision", _UP, "TP / (TP + FP)", per_class=True),
    _rate("true_positive_rate", _UP, "TP / P (recall)", per_class=True),
    _rate("false_positive_rate", _DOWN, "FP / N", per_class=True),
    _rate("true_negative_rate", _UP, "TN / N"),
    _rate("false_negative_rate", _DOWN, "FN / P"),
    _rate("selection_rate", _NEITHER, "(TP + FP) / (P + N): share of rows predicted positive", per_class=True),
    Metric(
        name="auc",
        kind=MetricKind.SCORE,
        direction=_UP,
        definition="area under the ROC curve: the probability that a positive row scores above a negative one, "
        "ties counted half (Mann-Whitney)",
        otherwise="for several classes the mean over classes of the AUC of each one against the others (one-vs-rest, "
        "macro)",
        tasks=_CLASSES,
    ),
    Metric(
        name="log_loss",
        kind=MetricKind.SCORE,
        direction=_DOWN,
        definition="mean binary cross-entropy, in nats",
        otherwise="for several classes the mean of minus the logarithm of the score of the row's own class",
        tasks=_CLASSES,
    ),
    Metric(
        name="calibration_error",
        kind=MetricKind.SCORE,
        direction=_DOWN,
        definition="expected calibration error over ten equal-width score bins (Guo et al. 2017, eq. 3)",
        tasks=_BINARY,
    ),
    Metric(
        name="confusion_rate",
        kind=MetricKind.SCORE,
        direction=_DOWN,
        definition="share of the rows with one label for which another class is predicted",
        gateable=False,
        tasks=("multiclass",),
    ),
    _of_numbers("mean_absolute_error", _DOWN, "mean of |p - y|"),
    _of_numbers("root_mean_squared_error", _DOWN, "square root of the mean of (p - y)^2"),
    _of_numbers("mean_squared_error", _DOWN, "mean of (p - y)^2", unit="label squared"),
    _of_numbers(
        "mean_absolute_percentage_error",
        _DOWN,
        "100 times the mean of |p - y| / |y|; not defined where a label is 0",
        unit="per cent",
    ),
    _of_numbers(
        "r_squared",
        _UP,
        "1 - sum of (p - y)^2 over sum of (y - mean of y)^2, the mean being that of the slice; below 0 where the mean "
        "would have been the better prediction",
        unit="",
        signed=True,
    ),
    _of_numbers(
        "mean_residual",
        _NEITHER,
        "mean of p - y: above 0 where the model predicts too much, below 0 where too little",
        signed=True,
    ),
    _of_numbers("mean_prediction", _NEITHER, "mean of p", signed=True),
    Metric(name="example_count", kind=MetricKind.COUNT, direction=_NEITHER, definition="number of rows in the slice"),
    Metric(
        name="epsilon",
        kind=MetricKind.PRIVACY,
        direction=_DOWN,
        definition="(epsilon, delta)-differential privacy of the mechanism that was executed; infinite without one",
    ),
    Metric(
        name="delta",
        kind=MetricKind.PRIVACY,
        direction=_DOWN,
        definition="the delta at which epsilon is stated",
    ),
    Metric(
        name="membership_auc",
        kind=MetricKind.PRIVACY,
        direction=_DOWN,
        definition="AUC of the strongest membership-inference attack",
    ),
    Metric(
        name="membership_advantage",
        kind=MetricKind.PRIVACY,
        direction=_DOWN,
        definition="largest TPR - FPR of the strongest membership-inference attack",
    ),
    Metric(
        name="membership_true_positive_rate",
        kind=MetricKind.PRIVACY,
        direction=_DOWN,
        definition="TPR of the strongest membership-inference attack where its FPR is the stated threshold",
        gateable=False,
    ),
    Metric(
        name="exposure",
        kind=MetricKind.PRIVACY,
        direction=_DOWN,
        definition="mean exposure of the planted rows, in bits (Carlini et al. 2019, definition 4); 1.44 for a model "
        "that knows nothing of them",
        gateable=False,
    ),
    Metric(
        name="largest_exposure",
        kind=MetricKind.PRIVACY,
        direction=_DOWN,
        definition="exposure of the planted row that stands out most, in bits; some row always does",
        gateable=False,
    ),
    Metric(
        name="audited_epsilon_lower_bound",
        kind=MetricKind.PRIVACY,
        direction=_DOWN,
        definition="lower confidence bound on epsilon from an attack on the trained model",
    ),
    Metric(
        name="favourable_rate",
        kind=MetricKind.REGULATORY,
        direction=_NEITHER,
        definition="share of the slice whose prediction is the favourable outcome (the selection rate of 6 RCNY 5-300 "
        "and 29 CFR 1607.16)",
        otherwise="for several classes, one of data.label.favourable",
        tasks=("multiclass",),  # for a binary label a rule names selection_rate, and this is for the tables of a rule
    ),
    Metric(
        name="impact_ratio",
        kind=MetricKind.REGULATORY,
        direction=_UP,
        definition="favourable_rate of the slice over that of the group with the highest one (6 RCNY 5-300)",
        gateable=False,  # a rule names selection_rate with ratio_at_least
    ),
    Metric(
        name="scoring_rate",
        kind=MetricKind.REGULATORY,
        direction=_NEITHER,
        definition="share of the slice that scores above the median score of all rows (6 RCNY 5-300)",
        gateable=False,
    ),
    Metric(
        name="scoring_impact_ratio",
        kind=MetricKind.REGULATORY,
        direction=_UP,
        definition="scoring_rate of the slice over that of the group with the highest one (6 RCNY 5-300)",
        gateable=False,
    ),
    Metric(
        name="four_fifths_p_value",
        kind=MetricKind.REGULATORY,
        direction=_NEITHER,
        definition="two-sided p-value of Fisher's exact test of favourable_rate against the group with the highest one",
        gateable=False,
    ),
    Metric(
        name="adverse_action_reason_share",
        kind=MetricKind.REGULATORY,
        direction=_NEITHER,
        definition="share of the sampled people with an unfavourable prediction who have the source column among their "
        "verified principal reasons, of which there are at most four (12 CFR 1002.9(b)(2))",
        gateable=False,
    ),
    Metric(
        name="verified_reason_rate",
        kind=MetricKind.REGULATORY,
        direction=_UP,
        definition="share of the candidate reasons that held when the model was asked: the score becomes more "
        "favourable when the column is moved to its reference value",
        gateable=False,
    ),
    Metric(
        name="without_reason_rate",
        kind=MetricKind.REGULATORY,
        direction=_DOWN,
        definition="share of the sampled people with an unfavourable prediction for whom no verified reason was found",
        gateable=False,
    ),
    Metric(
        name="sensitive_reason_share",
        kind=MetricKind.REGULATORY,
        direction=_DOWN,
        definition="share of the sampled people with an unfavourable prediction for whom a sensitive column that is a "
        "feature is among the verified principal reasons",
        gateable=False,
    ),
    Metric(
        name="missing_rate",
        kind=MetricKind.DATA,
        direction=_DOWN,
        definition="share of rows of the slice in which the feature is missing",
        gateable=False,
    ),
    Metric(
        name="group_share",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="share of the rows that belong to the slice",
        gateable=False,
    ),
    Metric(
        name="positive_label_rate",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="share of rows of the slice whose label is the positive one (base rate)",
        gateable=False,
    ),
    Metric(
        name="serving_latency_p95_ms",
        kind=MetricKind.SERVING,
        direction=Direction.LOWER_IS_BETTER,
        definition="95th percentile of the time in milliseconds that a clean server takes to answer one row",
    ),
    Metric(
        name="model_size_bytes",
        kind=MetricKind.SERVING,
        direction=Direction.LOWER_IS_BETTER,
        definition="size of the exported model's files in bytes",
    ),
    Metric(
        name="edge_case_accuracy",
        kind=MetricKind.EDGE_CASES,
        direction=_UP,
        definition="share of the curated edge cases that the model answers as expected",
        tasks=_CLASSES,
    ),
    Metric(
        name="edge_case_count",
        kind=MetricKind.EDGE_CASES,
        direction=_NEITHER,
        definition="number of curated edge cases that the model was asked about",
        tasks=_CLASSES,
    ),
    Metric(
        name="representation_ratio",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="share of the group among rows whose group is known, over its share in the stated reference",
    ),
    Metric(
        name="representation_p_value",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="p-value of the chi-square test that the rows are drawn from the reference's shares",
        gateable=False,
    ),
    Metric(
        name="client_count",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="number of clients that the training rows belong to",
        gateable=False,
    ),
    Metric(
        name="smallest_client",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="training rows of the client with the fewest",
        gateable=False,
    ),
    Metric(
        name="median_client",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="median number of training rows of a client",
        gateable=False,
    ),
    Metric(
        name="largest_client",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="training rows of the client with the most",
        gateable=False,
    ),
    Metric(
        name="label_skew",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="mean total variation distance between a client's labels and everybody's, weighted by rows: 0 alike",
        gateable=False,
    ),
    Metric(
        name="round_participation",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="mean number of clients whose update went into a round",
        gateable=False,
    ),
    Metric(
        name="client_dropout_rate",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="share of the requests to clients, over all rounds, that were not answered",
        gateable=False,
    ),
    Metric(
        name="failed_updates",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="updates, over all rounds, that were not finite and were left out",
        gateable=False,
    ),
    Metric(
        name="client_group_accuracy",
        kind=MetricKind.COMPARISON,
        direction=_UP,
        definition="accuracy on the test rows of a third of the clients, by their number of training rows",
        gateable=False,
        tasks=_BINARY,
    ),
    Metric(
        name="lowest_client_accuracy",
        kind=MetricKind.COMPARISON,
        direction=_UP,
        definition="lowest accuracy over the clients with at least audits.min_group_size test rows, at the threshold",
        gateable=False,
        tasks=_BINARY,
    ),
    Metric(
        name="label_share",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="share of rows of the slice that have one label",
        gateable=False,
        tasks=("multiclass",),
        per_class=True,
    ),
    Metric(
        name="mean_label",
        kind=MetricKind.DATA,
        direction=_NEITHER,
        definition="mean label of the rows of the slice",
        gateable=False,
        tasks=("regression",),
        signed=True,
        unit="label",
    ),
    Metric(
        name="proxy_strength",
        kind=MetricKind.DATA,
        direction=_DOWN,
        definition="how well one feature alone predicts a sensitive attribute: largest one-vs-rest AUC over groups",
        gateable=False,
    ),
    Metric(
        name="slowdown",
        kind=MetricKind.COST,
        direction=_DOWN,
        definition="mean wall time of an epoch on secret shares over that of the same training in the clear, compiling "
        "left out of both",
        gateable=False,
    ),
    Metric(
        name="seconds_per_epoch",
        kind=MetricKind.COST,
        direction=_DOWN,
        definition="mean wall time in seconds of an epoch on secret shares, compiling left out",
        gateable=False,
    ),
    Metric(
        name="megabytes_sent",
        kind=MetricKind.COST,
        direction=_DOWN,
        definition="millions of bytes that the parties of a training on secret shares sent to each other",
        gateable=False,
    ),
    Metric(
        name="largest_score_difference",
        kind=MetricKind.COST,
        direction=_DOWN,
        definition="largest absolute difference between the scores of the model and of the same training in the clear, "
        "over the test rows",
        gateable=False,
    ),
    Metric(
        name="largest_weight_difference",
        kind=MetricKind.COST,
        direction=_DOWN,
        definition="largest absolute difference between a weight of the model and of the same training in the clear",
        gateable=False,
    ),
    Metric(
        name="mean_abs_shap",
        kind=MetricKind.EXPLANATION,
        direction=_NEITHER,
        definition="mean absolute Shapley value of a source column over the explained rows",
        gateable=False,
    ),
    Metric(
        name="mean_shap",
        kind=MetricKind.EXPLANATION,
        direction=_NEITHER,
        definition="mean Shapley value of a source column over the explained rows: whether it raises or lowers their "
        "output, relative to the background",
        gateable=False,
    ),
    Metric(
        name="mean_shap_difference",
        kind=MetricKind.EXPLANATION,
        direction=_NEITHER,
        definition="mean_shap of the slice minus that of all other rows; over the columns these add up to the "
        "difference of the mean outputs",
        gateable=False,
    ),
    Metric(
        name="additivity_error",
        kind=MetricKind.EXPLANATION,
        direction=_DOWN,
        definition="largest |sum of Shapley values + base value - model output| over the explained rows",
        gateable=False,
    ),
    Metric(
        name="flip_rate",
        kind=MetricKind.EXPLANATION,
        direction=_DOWN,
        definition="share of rows whose decision changes when only their sensitive attribute is set to another group's",
        gateable=False,
    ),
    Metric(
        name="proxy_flip_rate",
        kind=MetricKind.EXPLANATION,
        direction=_DOWN,
        definition="share of rows whose decision changes with the proxies of the nearest row of another group",
        gateable=False,
    ),
    Metric(
        name="proxy_flip_excess",
        kind=MetricKind.EXPLANATION,
        direction=_DOWN,
        definition="proxy_flip_rate minus the same with the nearest row of the same group",
        gateable=False,
    ),
    Metric(
        name="counterfactual_crossing_rate",
        kind=MetricKind.EXPLANATION,
        direction=_DOWN,
        definition="share of rows whose nearest row with the other decision belongs to another group",
        gateable=False,
    ),
    Metric(
        name="counterfactual_crossing_excess",
        kind=MetricKind.EXPLANATION,
        direction=_DOWN,
        definition="counterfactual_crossing_rate minus the same for the nearest row with the same decision",
        gateable=False,
    ),
    Metric(
        name="dependence_range",
        kind=MetricKind.EXPLANATION,
        direction=_NEITHER,
        definition="largest minus smallest mean score when a column is set to one value after another (partial "
        "dependence)",
        gateable=False,
    ),
    Metric(
        name="explanation_stability",
        kind=MetricKind.EXPLANATION,
        direction=_UP,
        definition="Spearman rank correlation of mean_abs_shap between two independent backgrounds, over the columns "
        "that have at least a twentieth of the largest one",
        gateable=False,
    ),
    Metric(
        name="background_sensitivity",
        kind=MetricKind.EXPLANATION,
        direction=_DOWN,
        definition="largest change of a column's mean_abs_shap between two independent backgrounds, over the largest "
        "mean_abs_shap",
        gateable=False,
    ),
    Metric(
        name="approximation_difference",
        kind=MetricKind.EXPLANATION,
        direction=_DOWN,
        definition="largest difference of a column's mean_abs_shap between an approximation and unbiased sampling, on "
        "the same rows, over the largest mean_abs_shap; includes the noise of sampling",
        gateable=False,
    ),
    Metric(
        name="permutation_importance",
        kind=MetricKind.EXPLANATION,
        direction=_NEITHER,
        definition="drop of AUC when a source column is permuted among the rows, mean of five permutations "
        "(Breiman 2001)",
        gateable=False,
    ),
    Metric(
        name="permutation_agreement",
        kind=MetricKind.EXPLANATION,
        direction=_NEITHER,
        definition="Spearman rank correlation of mean_abs_shap and permutation_importance over the columns",
        gateable=False,
    ),
    Metric(
        name="lime_agreement",
        kind=MetricKind.EXPLANATION,
        direction=_NEITHER,
        definition="Spearman rank correlation of the Shapley values and LIME's weights (Ribeiro et al. 2016) of a row, "
        "over the columns; mean over sample rows",
        gateable=False,
    ),
    Metric(
        name="equalized_odds",
        kind=MetricKind.COMPARISON,
        direction=_DOWN,
        definition="the larger of the gaps of true_positive_rate and false_positive_rate (Hardt et al. 2016)",
        gateable=False,  # a rule names the two rates
    ),
    Metric(
        name="mcnemar_p_value",
        kind=MetricKind.COMPARISON,
        direction=_NEITHER,
        definition="p-value of McNemar's exact test that two models are right about equally many of the same rows",
        gateable=False,
    ),
    Metric(
        name="engine_difference",
        kind=MetricKind.SCORE,
        direction=_DOWN,
        definition="largest absolute difference between TFMA and the slice engine over all rates and slices",
        otherwise="for classes the largest difference of a count of rows; for means of numbers the largest difference "
        "relative to their size",
        gateable=False,
    ),
)

METRICS: dict[str, Metric] = {entry.name: entry for entry in _ALL}


def metric(name: str) -> Metric:
    """Returns the vocabulary's entry for ``name``.

    Raises:
        KeyError: If the vocabulary has no such metric.
    """
    return METRICS[name]
