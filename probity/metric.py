"""The vocabulary of metrics: one term for one thing, everywhere (config, JSON, card, tracker, documentation).

Rates are defined on the confusion counts at one threshold, with the decision ``score > threshold`` (strict, as TFMA
does); ``P`` and ``N`` are the numbers of positive and negative labels. For a multi-class label a rate speaks of one
class against all others, ``P`` and ``N`` are the rows with and without that label, and the decision is the class with
the highest score (the first of them, where several are equal).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import partial
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


@dataclass(frozen=True)
class Metric:
    """One entry of the vocabulary.

    Attributes:
        name: The field's standard term.
        direction: Which way is better.
        definition: What is computed.
        kind: How it depends on the rows.
        gateable: Whether a gate rule may name it.
        tasks: The tasks for which it is reported.
        per_class: Whether it speaks of one class at a time where the label has several.
        signed: Whether it can be negative, so that groups have no ratio.
        otherwise: What the definition says beside for several classes, or for numbers.
        unit: What it is measured in: nothing, the label's unit, its square, or per cent.
    """

    # These three in this order, so that the vocabulary below reads as a table.
    name: str
    direction: Direction
    definition: str
    _: KW_ONLY
    kind: MetricKind
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

_rate = partial(Metric, kind=MetricKind.RATE, tasks=_BINARY)
_class_rate = partial(Metric, kind=MetricKind.RATE, tasks=_CLASSES, per_class=True)
# Of predicted numbers, with ``p`` for a prediction and ``y`` for a label.
_of_numbers = partial(Metric, kind=MetricKind.REGRESSION, tasks=("regression",), unit="label")
_score = partial(Metric, kind=MetricKind.SCORE)
_count = partial(Metric, kind=MetricKind.COUNT)
_privacy = partial(Metric, kind=MetricKind.PRIVACY)
_in_server = partial(Metric, kind=MetricKind.SERVING)
_edge_cases = partial(Metric, kind=MetricKind.EDGE_CASES, tasks=_CLASSES)
# Of these kinds no rule may name a term, unless its entry says so.
_regulatory = partial(Metric, kind=MetricKind.REGULATORY, gateable=False)
_of_data = partial(Metric, kind=MetricKind.DATA, gateable=False)
_comparison = partial(Metric, kind=MetricKind.COMPARISON, gateable=False)
_cost = partial(Metric, kind=MetricKind.COST, gateable=False)
_explanation = partial(Metric, kind=MetricKind.EXPLANATION, gateable=False)

_VOCABULARY = (
    _rate("accuracy", _UP, "(TP + TN) / (P + N)", tasks=_CLASSES),
    _class_rate("precision", _UP, "TP / (TP + FP)"),
    _class_rate("true_positive_rate", _UP, "TP / P (recall)"),
    _class_rate("false_positive_rate", _DOWN, "FP / N"),
    _rate("true_negative_rate", _UP, "TN / N"),
    _rate("false_negative_rate", _DOWN, "FN / P"),
    _class_rate("selection_rate", _NEITHER, "(TP + FP) / (P + N): share of rows predicted positive"),
    _score(
        "auc",
        _UP,
        "area under the ROC curve: the probability that a positive row scores above a negative one, "
        "ties counted half (Mann-Whitney)",
        otherwise="for several classes the mean over classes of the AUC of each one against the others (one-vs-rest, "
        "macro)",
        tasks=_CLASSES,
    ),
    _score(
        "log_loss",
        _DOWN,
        "mean binary cross-entropy, in nats",
        otherwise="for several classes the mean of minus the logarithm of the score of the row's own class",
        tasks=_CLASSES,
    ),
    _score(
        "calibration_error",
        _DOWN,
        "expected calibration error over ten equal-width score bins (Guo et al. 2017, eq. 3)",
        tasks=_BINARY,
    ),
    _score(
        "confusion_rate",
        _DOWN,
        "share of the rows with one label for which another class is predicted",
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
    _count("example_count", _NEITHER, "number of rows in the slice"),
    _privacy(
        "epsilon",
        _DOWN,
        "(epsilon, delta)-differential privacy of the mechanism that was executed; infinite without one",
    ),
    _privacy("delta", _DOWN, "the delta at which epsilon is stated"),
    _privacy("membership_auc", _DOWN, "AUC of the strongest membership-inference attack"),
    _privacy("membership_advantage", _DOWN, "largest TPR - FPR of the strongest membership-inference attack"),
    _privacy(
        "membership_true_positive_rate",
        _DOWN,
        "TPR of the strongest membership-inference attack where its FPR is the stated threshold",
        gateable=False,
    ),
    _privacy(
        "exposure",
        _DOWN,
        "mean exposure of the planted rows, in bits (Carlini et al. 2019, definition 4); 1.44 for a model "
        "that knows nothing of them",
        gateable=False,
    ),
    _privacy(
        "largest_exposure",
        _DOWN,
        "exposure of the planted row that stands out most, in bits; some row always does",
        gateable=False,
    ),
    _privacy(
        "audited_epsilon_lower_bound", _DOWN, "lower confidence bound on epsilon from an attack on the trained model"
    ),
    _regulatory(
        "favourable_rate",
        _NEITHER,
        "share of the slice whose prediction is the favourable outcome (the selection rate of 6 RCNY 5-300 "
        "and 29 CFR 1607.16)",
        gateable=True,
        otherwise="for several classes, one of data.label.favourable",
        tasks=("multiclass",),  # for a binary label a rule names selection_rate, and this is for the tables of a rule
    ),
    _regulatory(  # a rule names selection_rate with ratio_at_least
        "impact_ratio", _UP, "favourable_rate of the slice over that of the group with the highest one (6 RCNY 5-300)"
    ),
    _regulatory(
        "scoring_rate", _NEITHER, "share of the slice that scores above the median score of all rows (6 RCNY 5-300)"
    ),
    _regulatory(
        "scoring_impact_ratio",
        _UP,
        "scoring_rate of the slice over that of the group with the highest one (6 RCNY 5-300)",
    ),
    _regulatory(
        "four_fifths_p_value",
        _NEITHER,
        "two-sided p-value of Fisher's exact test of favourable_rate against the group with the highest one",
    ),
    _regulatory(
        "adverse_action_reason_share",
        _NEITHER,
        "share of the sampled people with an unfavourable prediction who have the source column among their "
        "verified principal reasons, of which there are at most four (12 CFR 1002.9(b)(2))",
    ),
    _regulatory(
        "verified_reason_rate",
        _UP,
        "share of the candidate reasons that held when the model was asked: the score becomes more "
        "favourable when the column is moved to its reference value",
    ),
    _regulatory(
        "without_reason_rate",
        _DOWN,
        "share of the sampled people with an unfavourable prediction for whom no verified reason was found",
    ),
    _regulatory(
        "sensitive_reason_share",
        _DOWN,
        "share of the sampled people with an unfavourable prediction for whom a sensitive column that is a "
        "feature is among the verified principal reasons",
    ),
    _of_data("missing_rate", _DOWN, "share of rows of the slice in which the feature is missing"),
    _of_data("group_share", _NEITHER, "share of the rows that belong to the slice"),
    _of_data("positive_label_rate", _NEITHER, "share of rows of the slice whose label is the positive one (base rate)"),
    _in_server(
        "serving_latency_p95_ms",
        _DOWN,
        "95th percentile of the time in milliseconds that a clean server takes to answer one row",
    ),
    _in_server("model_size_bytes", _DOWN, "size of the exported model's files in bytes"),
    _edge_cases("edge_case_accuracy", _UP, "share of the curated edge cases that the model answers as expected"),
    _edge_cases("edge_case_count", _NEITHER, "number of curated edge cases that the model was asked about"),
    _of_data(
        "representation_ratio",
        _NEITHER,
        "share of the group among rows whose group is known, over its share in the stated reference",
        gateable=True,
    ),
    _of_data(
        "representation_p_value",
        _NEITHER,
        "p-value of the chi-square test that the rows are drawn from the reference's shares",
    ),
    _of_data("client_count", _NEITHER, "number of clients that the training rows belong to"),
    _of_data("smallest_client", _NEITHER, "training rows of the client with the fewest"),
    _of_data("median_client", _NEITHER, "median number of training rows of a client"),
    _of_data("largest_client", _NEITHER, "training rows of the client with the most"),
    _of_data(
        "label_skew",
        _NEITHER,
        "mean total variation distance between a client's labels and everybody's, weighted by rows: 0 alike",
    ),
    _of_data("round_participation", _NEITHER, "mean number of clients whose update went into a round"),
    _of_data(
        "client_dropout_rate", _NEITHER, "share of the requests to clients, over all rounds, that were not answered"
    ),
    _of_data("failed_updates", _NEITHER, "updates, over all rounds, that were not finite and were left out"),
    _comparison(
        "client_group_accuracy",
        _UP,
        "accuracy on the test rows of a third of the clients, by their number of training rows",
        tasks=_BINARY,
    ),
    _comparison(
        "lowest_client_accuracy",
        _UP,
        "lowest accuracy over the clients with at least audits.min_group_size test rows, at the threshold",
        tasks=_BINARY,
    ),
    _of_data(
        "label_share", _NEITHER, "share of rows of the slice that have one label", tasks=("multiclass",), per_class=True
    ),
    _of_data(
        "mean_label", _NEITHER, "mean label of the rows of the slice", tasks=("regression",), signed=True, unit="label"
    ),
    _of_data(
        "proxy_strength",
        _DOWN,
        "how well one feature alone predicts a sensitive attribute: largest one-vs-rest AUC over groups",
    ),
    _cost(
        "slowdown",
        _DOWN,
        "mean wall time of an epoch on secret shares over that of the same training in the clear, compiling "
        "left out of both",
    ),
    _cost("seconds_per_epoch", _DOWN, "mean wall time in seconds of an epoch on secret shares, compiling left out"),
    _cost(
        "megabytes_sent", _DOWN, "millions of bytes that the parties of a training on secret shares sent to each other"
    ),
    _cost(
        "largest_score_difference",
        _DOWN,
        "largest absolute difference between the scores of the model and of the same training in the clear, "
        "over the test rows",
    ),
    _cost(
        "largest_weight_difference",
        _DOWN,
        "largest absolute difference between a weight of the model and of the same training in the clear",
    ),
    _explanation("mean_abs_shap", _NEITHER, "mean absolute Shapley value of a source column over the explained rows"),
    _explanation(
        "mean_shap",
        _NEITHER,
        "mean Shapley value of a source column over the explained rows: whether it raises or lowers their "
        "output, relative to the background",
    ),
    _explanation(
        "mean_shap_difference",
        _NEITHER,
        "mean_shap of the slice minus that of all other rows; over the columns these add up to the "
        "difference of the mean outputs",
    ),
    _explanation(
        "additivity_error", _DOWN, "largest |sum of Shapley values + base value - model output| over the explained rows"
    ),
    _explanation(
        "flip_rate",
        _DOWN,
        "share of rows whose decision changes when only their sensitive attribute is set to another group's",
    ),
    _explanation(
        "proxy_flip_rate",
        _DOWN,
        "share of rows whose decision changes with the proxies of the nearest row of another group",
    ),
    _explanation("proxy_flip_excess", _DOWN, "proxy_flip_rate minus the same with the nearest row of the same group"),
    _explanation(
        "counterfactual_crossing_rate",
        _DOWN,
        "share of rows whose nearest row with the other decision belongs to another group",
    ),
    _explanation(
        "counterfactual_crossing_excess",
        _DOWN,
        "counterfactual_crossing_rate minus the same for the nearest row with the same decision",
    ),
    _explanation(
        "dependence_range",
        _NEITHER,
        "largest minus smallest mean score when a column is set to one value after another (partial dependence)",
    ),
    _explanation(
        "explanation_stability",
        _UP,
        "Spearman rank correlation of mean_abs_shap between two independent backgrounds, over the columns "
        "that have at least a twentieth of the largest one",
    ),
    _explanation(
        "background_sensitivity",
        _DOWN,
        "largest change of a column's mean_abs_shap between two independent backgrounds, over the largest "
        "mean_abs_shap",
    ),
    _explanation(
        "approximation_difference",
        _DOWN,
        "largest difference of a column's mean_abs_shap between an approximation and unbiased sampling, on "
        "the same rows, over the largest mean_abs_shap; includes the noise of sampling",
    ),
    _explanation(
        "permutation_importance",
        _NEITHER,
        "drop of AUC when a source column is permuted among the rows, mean of five permutations (Breiman 2001)",
    ),
    _explanation(
        "permutation_agreement",
        _NEITHER,
        "Spearman rank correlation of mean_abs_shap and permutation_importance over the columns",
    ),
    _explanation(
        "lime_agreement",
        _NEITHER,
        "Spearman rank correlation of the Shapley values and LIME's weights (Ribeiro et al. 2016) of a row, "
        "over the columns; mean over sample rows",
    ),
    _comparison(  # a rule names the two rates
        "equalized_odds",
        _DOWN,
        "the larger of the gaps of true_positive_rate and false_positive_rate (Hardt et al. 2016)",
    ),
    _comparison(
        "mcnemar_p_value",
        _NEITHER,
        "p-value of McNemar's exact test that two models are right about equally many of the same rows",
    ),
    _score(
        "engine_difference",
        _DOWN,
        "largest absolute difference between TFMA and the slice engine over all rates and slices",
        gateable=False,
        otherwise="for classes the largest difference of a count of rows; for means of numbers the largest difference "
        "relative to their size",
    ),
)

METRICS: dict[str, Metric] = {entry.name: entry for entry in _VOCABULARY}


def metric(name: str) -> Metric:
    """Returns the vocabulary's entry for ``name``.

    Raises:
        KeyError: If the vocabulary has no such metric.
    """
    return METRICS[name]
