"""MinDiff: who is compared with whom, and that the penalty brings the scores of groups together."""

import numpy as np
import pytest
import tensorflow as tf

from probity.errors import TrainingError
from probity.model import NonPrivate
from probity.recipe import ModelConfig
from probity.trainers.base import Groups
from probity.trainers.fitting import fit, rows_of
from probity.trainers.mitigation.mindiff import make_penalty
from probity.trainers.mitigation.settings import MinDiffSettings
from probity.trainers.plain import PlainSettings
from probity.trainers.testing_world import make_request

POSITIVE = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1], np.float32)


def penalty(codes, labels=POSITIVE, *, names=3, eval_rows=0, **settings):
    codes = {"train": np.array(codes), "eval": np.array(codes[:eval_rows], np.int64)}
    groups = Groups(across=("x",), names=tuple((str(i),) for i in range(names)), codes=codes)
    given = MinDiffSettings(across=("x",), **settings)
    return make_penalty(given, groups, {"train": labels, "eval": labels[:eval_rows]}, seed=1)


def test_two_groups_need_one_comparison_of_the_rows_of_one_label():
    made = penalty([0, 0, 0, 1, 1, 1, 0, 1, 0], names=2)
    assert list(made.sides["train"]) == ["group_0"]
    group, others = made.sides["train"]["group_0"]
    assert group.tolist() == [0, 2, 8]
    assert others.tolist() == [3, 5, 7]
    group, others = penalty([0, 0, 0, 1, 1, 1, 0, 1, 1], 1 - POSITIVE, names=2, equalizes="false_positive_rate").sides[
        "train"
    ]["group_0"]
    assert (group.tolist(), others.tolist()) == ([0, 2], [3, 5, 7, 8])


def test_of_more_groups_each_is_compared_with_all_others_and_planted_rows_with_none():
    made = penalty([0, 2, 0, 1, 2, 1, -1, -1, 1])
    assert list(made.sides["train"]) == ["group_0", "group_1"]
    assert made.sides["train"]["group_0"][1].tolist() == [3, 5, 8]
    assert made.left_out == 1  # group 2 has no positive row


def test_a_group_must_be_comparable_in_every_split_that_has_rows():
    with pytest.raises(TrainingError, match="no group of x with 2 rows of the label that false_negative_rate"):
        penalty([0, 0, 0, 1, 1, 1, 0, 1, 0], names=2, eval_rows=3)
    with pytest.raises(TrainingError, match="at least two groups"):
        penalty([0] * 9, names=1)


def squared_discrepancy(one, other, length=0.1):
    """The biased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 5), by plain loops."""

    def mean_kernel(a, b):
        return np.mean([[np.exp(-((x - y) ** 2) / length**2) for y in b] for x in a])

    return mean_kernel(one, one) - 2 * mean_kernel(one, other) + mean_kernel(other, other)


@pytest.mark.heavy
def test_the_penalty_brings_scores_of_the_chosen_label_together(world, tmp_path):
    """The groups are those of the balance, on which the score depends, so there is something to bring together."""
    settings = PlainSettings(epochs=4, batch_size=64, learning_rate=0.05, patience=6)
    request = make_request(world, settings, mechanism=NonPrivate(), model=ModelConfig(kind="logistic"))
    train, validation = rows_of(request, "train"), rows_of(request, "eval")
    rows_by_split = {"train": train, "eval": validation}
    codes = {split: (rows.inputs["balance_xf"][:, 0] > 0).astype(np.int64) for split, rows in rows_by_split.items()}
    groups = Groups(across=("balance",), names=(("low",), ("high",)), codes=codes)
    asked = MinDiffSettings(across=("balance",), weight=5.0, batch_size=64)
    made = make_penalty(asked, groups, {split: rows.labels for split, rows in rows_by_split.items()}, seed=7)
    apart = {}
    for name, used in (("without", None), ("with", made)):
        fitted = fit(
            request,
            settings,
            train=train,
            validation=validation,
            logs=tmp_path / name,
            report=lambda done, text: None,
            penalty=used,
        )
        scores = fitted.model.predict(dict(train.inputs), verbose=0)[:, 0]
        positive = train.labels > 0.5
        apart[name] = squared_discrepancy(*(scores[positive & (codes["train"] == group)] for group in (0, 1)))
    assert apart["with"] < 0.5 * apart["without"]
    assert {"loss", "group_0_min_diff_loss", "val_group_0_min_diff_loss"} <= set(fitted.history)


def test_training_batches_have_no_end_and_eval_batches_are_the_same_each_time(world):
    """An iterator for each epoch would make the order depend on how far the machine had read ahead."""
    request = make_request(world, PlainSettings(), mechanism=NonPrivate())
    rows = rows_of(request, "eval")
    codes = np.arange(len(rows)) % 2
    groups = Groups(across=("x",), names=(("0",), ("1",)), codes={"train": codes, "eval": codes})
    settings = MinDiffSettings(across=("x",), batch_size=16)
    made = make_penalty(settings, groups, {"train": rows.labels, "eval": rows.labels}, seed=3)
    train, held = (made.batches(split, rows, batch_size=64) for split in ("train", "eval"))
    assert train.cardinality().numpy() == tf.data.INFINITE_CARDINALITY
    assert held.cardinality().numpy() == -(-len(rows) // 64)

    def seen(batches):
        return [
            (
                labels.numpy().ravel().tolist(),
                packed.min_diff_data["group_0"][0]["balance_xf"].numpy().tolist(),
                packed.min_diff_data["group_0"][1].numpy().ravel().tolist(),
            )
            for packed, labels in batches
        ]

    assert seen(held) == seen(held)
    assert [label for labels, *_ in seen(held) for label in labels] == rows.labels.tolist()
    both = seen(train.take(8))
    assert both[:4] != both[4:]
    assert all(sorted(membership) == [0.0] * 16 + [1.0] * 16 for *_, membership in both)


@pytest.mark.parametrize(("loss", "kind"), [("mmd", "MMDLoss"), ("absolute_correlation", "AbsoluteCorrelationLoss")])
def test_the_penalty_is_the_librarys_and_hides_nothing_in_the_model(loss, kind):
    made = penalty([0, 0, 0, 1, 1, 1, 0, 1, 0], names=2, loss=loss, weight=2.5)
    inputs = tf.keras.Input((1,), name="x")
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, activation="sigmoid")(inputs))
    weights = len(model.weights)
    wrapped = made.wrap(model)
    assert type(wrapped._loss["group_0"]).__name__ == kind
    assert wrapped._loss_weight == {"group_0": 2.5}
    assert wrapped.original_model is model
    assert len(model.weights) == weights
