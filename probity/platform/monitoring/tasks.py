"""What is compared of a model's answers, by its task.

===========  ============================  ===============================  =========================================
task         distributions of scores       selection                        quality, where there is feedback
===========  ============================  ===============================  =========================================
binary       of the score                  share of favourable outcomes     accuracy, true positive rate
multiclass   of each class's score         share of favourable classes, or  accuracy; the true positive rate of each
                                           of each class if none is named   class, overall
regression   of the prediction, by group   none                             mean absolute error
===========  ============================  ===============================  =========================================

Rates and errors are compared overall and by group.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from probity.audits.scoring import ScoredRows
from probity.audits.task_rows import AnyRows, ClassifiedRows, PredictedRows
from probity.monitoring import Measure, MonitoringConfig
from probity.platform.monitoring.answers import Answers, Label
from probity.platform.monitoring.distances import score_measure
from probity.platform.monitoring.outcomes import Rate, error_measures, rate_measures, slices

__all__ = ["answer_measures", "quality_measures"]

Groups = Sequence[frozenset[str]]


def answer_measures(answers: Answers, groups: Groups, audited: AnyRows, config: MonitoringConfig) -> list[Measure]:
    """Compares what was answered with what the audited rows were answered.

    Args:
        answers: Logged rows with finite scores.
        groups: By row, its groups as ``attribute=group``; empty sets without a group table.
        audited: The scored test rows of the run.
        config: The limits.
    """
    limit = config.score_jensen_shannon
    if isinstance(audited, PredictedRows):
        return _predictions(answers.scores[:, 0], groups, audited, config)
    if isinstance(audited, ScoredRows):
        drift = [score_measure(answers.scores[:, 0], audited.scores, limit=limit)]
    else:
        pairs = zip(audited.classes, answers.scores.T, audited.scores.T, strict=True)
        drift = [score_measure(now, then, limit=limit, of=f"score of {name}") for name, now, then in pairs]
    rates = _selection(answers, audited)
    return [*drift, *rate_measures("selection", rates, groups, audited, limit=config.selection_drop, config=config)]


def quality_measures(
    answers: Answers, labels: Sequence[Label], groups: Groups, audited: AnyRows, config: MonitoringConfig
) -> list[Measure]:
    """Compares how right the model was on the rows that feedback labelled.

    Args:
        answers: Labelled rows with finite scores.
        labels: By row.
        groups: By row, its groups.
        audited: The scored test rows of the run.
        config: The limits.
    """
    if isinstance(audited, PredictedRows):
        errors = np.abs(answers.scores[:, 0] - np.array(labels, np.float64))
        return error_measures(errors, np.abs(audited.residuals), groups, audited, config=config)
    if isinstance(audited, ScoredRows):
        rates = _binary_quality(answers, labels, audited)
    else:
        rates = _class_quality(answers, labels, audited)
    return rate_measures("quality", rates, groups, audited, limit=config.quality_drop, config=config)


def _predictions(
    predictions: npt.NDArray[np.float64], groups: Groups, audited: PredictedRows, config: MonitoringConfig
) -> list[Measure]:
    """Compares the distribution of a number, also in each group that is large enough for a distribution."""
    found = []
    for name, (now, then) in slices(groups, audited).items():
        few = min(int(now.sum()), int(then.sum()))
        if few >= config.min_rows or not name:
            pair = (predictions[now], audited.predictions[then])
            found.append(score_measure(*pair, limit=config.score_jensen_shannon, of=f"prediction{name}"))
        else:
            reason = f"fewer than {config.min_rows} rows"
            found.append(Measure(kind="score_drift", of=f"prediction{name}", status="insufficient", reason=reason))
    return found


def _selection(answers: Answers, audited: ScoredRows | ClassifiedRows) -> list[Rate]:
    dataset = answers.dataset
    if isinstance(audited, ScoredRows):
        favourable = dataset.favourable_outcome == "positive"
        is_now, was_then = answers.scores[:, 0] > answers.threshold, audited.scores > answers.threshold
        return [Rate(name="selection_rate", now=is_now == favourable, then=was_then == favourable)]
    now, then = answers.chosen(), audited.chosen
    if dataset.favourable:
        codes = [audited.classes.index(name) for name in dataset.favourable]
        return [Rate(name="favourable_rate", now=np.isin(now, codes), then=np.isin(then, codes))]
    # Shares sum to one, so a share that rises is seen where others drop.
    return [
        Rate(name=f"selection_rate of {name}", now=now == code, then=then == code)
        for code, name in enumerate(audited.classes)
    ]


def _binary_quality(answers: Answers, labels: Sequence[Label], audited: ScoredRows) -> list[Rate]:
    actual, predicted = np.array(labels, bool), answers.scores[:, 0] > answers.threshold
    then = audited.scores > answers.threshold
    return [
        Rate(name="accuracy", now=predicted == actual, then=then == audited.labels),
        Rate(
            name="true_positive_rate", now=predicted, then=then, among_now=actual, among_then=np.asarray(audited.labels)
        ),
    ]


def _class_quality(answers: Answers, labels: Sequence[Label], audited: ClassifiedRows) -> list[Rate]:
    actual = np.array([audited.classes.index(str(label)) for label in labels], np.intp)
    right, was_right = answers.chosen() == actual, audited.chosen == audited.labels
    return [
        Rate(name="accuracy", now=right, then=was_right),
        *(
            Rate(
                name=f"true_positive_rate of {name}",
                now=right,
                then=was_right,
                among_now=actual == code,
                among_then=audited.labels == code,
                by_group=False,
            )
            for code, name in enumerate(audited.classes)
        ),
    ]
