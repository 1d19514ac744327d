"""Which combinations of task, label, rules and audits can be asked for."""

from __future__ import annotations

import pytest

from probity.config import RunConfig
from probity.config_file import parse_config
from probity.data import Column, ColumnKind, Dataset, Role
from probity.digest import digest_bytes
from probity.errors import ConfigError
from probity.metric import METRICS


def config(task="binary", *, label=None, rules=(), audits=None, model=None, **data):
    return {
        "name": "x",
        "data": {
            "source": "x.csv",
            "task": task,
            "label": {"column": "y", **(label or {})},
            "sensitive": ["sex"],
            **data,
        },
        "model": model or {"kind": "linear" if task == "regression" else "logistic"},
        "audits": audits or {},
        "gate": {"rules": [{"name": str(i), **rule} for i, rule in enumerate(rules)]},
        "serving": {"model_name": "x"},
    }


CLASSES = {"classes": ["bad", "good"], "favourable": ["good"]}


@pytest.mark.parametrize(
    ("task", "label", "rules"),
    [
        (
            "binary",
            {},
            [{"metric": "auc", "at_least": 0.8}, {"metric": "selection_rate", "at_most": 1, "threshold": 0.5}],
        ),
        ("binary", {"positive": ">50K"}, []),
        ("multiclass", CLASSES, [{"metric": "true_positive_rate", "label_class": "good", "at_least": 0.5}]),
        ("multiclass", CLASSES, [{"metric": "favourable_rate", "across": "sex", "ratio_at_least": 0.8}]),
        ("multiclass", {}, [{"metric": "accuracy", "at_least": 0.5}, {"metric": "auc", "at_least": 0.5}]),
        ("regression", {}, [{"metric": "mean_absolute_error", "across": "sex", "ratio_at_least": 0.8}]),
        ("regression", {}, [{"metric": "r_squared", "change_from_baseline_at_least": -0.1}]),
    ],
)
def test_what_goes_together_is_taken_and_comes_back_from_its_json_form(task, label, rules):
    made = parse_config(config(task, label=label, rules=rules))
    assert RunConfig.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (config("regression", label={"positive": 1}), "its label is a number"),
        (config("multiclass", label={"positive": "good"}), "name its classes under classes"),
        (config(label=CLASSES), "go with task multiclass, not binary"),
        (config("regression", label=CLASSES), "go with task multiclass, not regression"),
        (config("multiclass", label={"classes": ["one"]}), "at least two classes"),
        (config("multiclass", label={"classes": ["a", "a"]}), "names 'a' twice"),
        (config("multiclass", label={**CLASSES, "favourable": ["god"]}), "did you mean 'good'"),
        (config("multiclass", favourable_outcome="negative"), "label.favourable"),
        (config("multiclas"), "task"),
        (config("regression", rules=[{"metric": "auc", "at_least": 0.8}]), "auc is not reported for task regression"),
        (config(rules=[{"metric": "r_squared", "at_least": 0.8}]), "r_squared is not reported for task binary"),
        (config(rules=[{"metric": "favourable_rate", "at_least": 0.8}]), "not reported for task binary"),
        (
            config("multiclass", rules=[{"metric": "calibration_error", "at_most": 0.1}]),
            "calibration_error is not reported",
        ),
        (config("multiclass", rules=[{"metric": "precision", "at_least": 0.1}]), "needs label_class"),
        (config("multiclass", rules=[{"metric": "auc", "at_least": 0.1, "label_class": "a"}]), "has no label_class"),
        (config(rules=[{"metric": "precision", "at_least": 0.1, "label_class": "a"}]), "has no label_class"),
        (
            config(
                "multiclass", label=CLASSES, rules=[{"metric": "precision", "at_least": 0.1, "label_class": "goood"}]
            ),
            "did you mean 'good'",
        ),
        (
            config("multiclass", rules=[{"metric": "accuracy", "at_least": 0.1, "threshold": 0.5}]),
            "threshold goes with task binary",
        ),
        (
            config("regression", rules=[{"metric": "mean_residual", "across": "sex", "ratio_at_least": 0.8}]),
            "can be negative, so it has no ratio",
        ),
        (config("regression", model={"kind": "logistic"}), "use kind linear"),
        (config(model={"kind": "linear"}), "use kind logistic"),
        (config("multiclass", model={"kind": "linear"}), "use kind logistic"),
        (config("regression", audits={"shadow_models": 8}), "attacks on binary decisions"),
        (config("multiclass", audits={"canaries": {"count": 100}}), "attacks on binary decisions"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(value, message):
    with pytest.raises(ConfigError) as raised:
        parse_config(value)
    assert message in str(raised.value)


def test_whole_numbers_name_classes():
    made = parse_config(config("multiclass", label={"classes": [1, 2, 3], "favourable": [3]}))
    assert (made.data.label.classes, made.data.label.favourable) == (("1", "2", "3"), ("3",))


def test_a_binary_label_is_one_unless_the_config_says_otherwise():
    assert parse_config(config()).data.label.positive_value == 1
    assert parse_config(config(label={"positive": "yes"})).data.label.positive_value == "yes"


def dataset(**changes):
    values = {
        "name": "x",
        "source": "x.csv",
        "source_format": "csv",
        "source_digest": digest_bytes(b"x"),
        "content_digest": digest_bytes(b"x"),
        "num_rows": 1,
        "columns": (Column(name="y", kind=ColumnKind.TEXT, roles=(Role.LABEL,)),),
        "label": "y",
        "split_rule": "none",
    }
    return Dataset(**{**values, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"positive": "1", "classes": ("a", "b")},
        {"task": "regression", "positive": "1"},
        {"task": "multiclass"},
        {"task": "multiclass", "classes": ("a",)},
        {"task": "multiclass", "classes": ("a", "b"), "favourable": ("c",)},
    ],
)
def test_a_data_set_that_contradicts_its_task_cannot_be_made(changes):
    with pytest.raises(ValueError, match=r"label|favourable"):
        dataset(**changes)


def test_a_model_gives_one_score_for_each_class_or_one():
    assert dataset(positive="1").num_scores == 1
    assert dataset(task="regression").num_scores == 1
    assert dataset(task="multiclass", classes=("a", "b", "c")).num_scores == 3


def test_every_metric_that_a_rule_may_name_is_reported_for_some_task():
    for name, entry in METRICS.items():
        assert entry.tasks or not entry.gateable, name
        assert not entry.per_class or "multiclass" in entry.tasks
        assert entry.definition_for("binary") == entry.definition
