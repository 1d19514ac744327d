"""Exponentiated gradient: the exported score is the probability with which fairlearn decides, and the limits."""

import numpy as np
import pytest
import tensorflow as tf

from probity.model import NonPrivate
from probity.recipe import ModelConfig
from probity.trainers.architecture import build
from probity.trainers.base import Groups
from probity.trainers.fitting import rows_of
from probity.trainers.mitigation.exponentiated_gradient import Ensemble, combined, reduce
from probity.trainers.mitigation.settings import ExponentiatedGradientSettings
from probity.trainers.plain import PlainSettings
from probity.trainers.testing_world import make_request

SETTINGS = PlainSettings(epochs=3, batch_size=120, learning_rate=0.1)


@pytest.fixture(scope="module")
def request_(world):
    return make_request(world, SETTINGS, mechanism=NonPrivate(), model=ModelConfig(kind="logistic"))


def models(request, seeds):
    made = []
    for seed in seeds:
        tf.keras.utils.set_random_seed(seed)
        made.append(build(request.model, request.transform.outputs, root=request.root))
    return made


def test_the_score_is_the_probability_of_a_positive_decision_or_the_mean_score(request_):
    inputs = dict(rows_of(request_, "eval").inputs)
    parts, shares = models(request_, (1, 2)), (0.5, 0.2, 0.3)
    ensemble = Ensemble(
        weights=(parts[0].get_weights(), parts[1].get_weights(), 1), shares=shares, trainings=2, steps=1
    )
    scores = [part.predict(inputs, verbose=0)[:, 0] for part in parts]
    decided = 0.5 * (scores[0] > 0.5) + 0.2 * (scores[1] > 0.5) + 0.3
    assert len(set(decided.round(6))) > 2
    for score, by_hand in (
        ("expected_decision", decided),
        ("mean_probability", 0.5 * scores[0] + 0.2 * scores[1] + 0.3),
    ):
        model = combined(request_, ensemble, score=score)
        np.testing.assert_allclose(model.predict(inputs, verbose=0)[:, 0], by_hand, atol=1e-6)
        assert model.output_shape == (None, 1)


@pytest.mark.parametrize("constant", [0, 1])
def test_one_decision_for_everybody_is_a_model_too(request_, constant):
    ensemble = Ensemble(weights=(constant,), shares=(1.0,), trainings=0, steps=0)
    inputs = rows_of(request_, "eval").inputs
    scores = combined(request_, ensemble, score="expected_decision").predict(dict(inputs), verbose=0)
    assert scores.shape == (len(next(iter(inputs.values()))), 1)
    assert (scores == constant).all()


def test_the_reduction_equalises_selection_and_trains_each_model_once(request_, world):
    """The groups are those of the hours, on which the label depends, and two planted rows that must not take part."""
    train = rows_of(request_, "train")
    codes = (train.inputs["hours-per-week_xf"][:, 0] > 0.0).astype(np.int64)
    codes[:2] = -1
    groups = Groups(across=("hours",), names=(("low",), ("high",)), codes={"train": codes, "eval": codes[:0]})
    settings = ExponentiatedGradientSettings(across=("hours",), constraint="demographic_parity", eps=0.05, max_iter=3)
    counted = []
    model, ensemble = reduce(request_, SETTINGS, settings, groups=groups, rows=train, epochs=3, said=counted.append)
    assert counted == list(range(1, ensemble.trainings + 1))
    assert ensemble.steps == ensemble.trainings * 3 * -(-(len(train) - 2) // 120)
    assert sum(ensemble.shares) == pytest.approx(1.0)
    probability = model.predict(dict(train.inputs), verbose=0)[:, 0]
    gap = abs(probability[codes == 1].mean() - probability[codes == 0].mean())
    labels = abs(train.labels[codes == 1].mean() - train.labels[codes == 0].mean())
    assert labels > 0.4
    assert gap < 0.15
