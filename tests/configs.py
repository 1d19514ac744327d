"""Configs to begin a test with, and what is refused of them."""

from __future__ import annotations

import pytest

from probity.config_file import parse_config
from probity.errors import ConfigError

MINIMAL = {
    "name": "a",
    "data": {"source": "a.csv", "label": {"column": "y"}},
    "model": {"kind": "logistic"},
    "serving": {"model_name": "m"},
}

# The example of the documentation, with everything in it.
FULL = """
name: adult-income
seed: 7
data:
  source: adult.csv.gz
  label: {column: income, positive: ">50K"}
  sensitive:
    - sex
    - race
    - {column: age, bins: [25, 40, 60], name: age_band, also_feature: true}
  intersections: [[sex, race]]
  exclude: [fnlwgt, education]
  privacy_unit: row
  split: {train: 6, eval: 2, test: 2}
  favourable_outcome: positive
schema: schema.pbtxt
model: {kind: mlp, hidden: [128, 64]}
trainer: {name: plain, epochs: 8, batch_size: 256, learning_rate: 0.001}
audits:
  decision_threshold: 0.5
  thresholds: [0.25, 0.5, 0.75]
  min_group_size: 100
  confidence: 0.95
gate:
  rules:
    - {name: quality floor,     metric: auc, at_least: 0.88}
    - {name: no regression,     metric: auc, change_from_baseline_at_least: -0.01}
    - {name: equal opportunity, metric: true_positive_rate, across: sex, gap_at_most: 0.15}
    - {name: four fifths,       metric: selection_rate, across: [sex, race], ratio_at_least: 0.8}
    - {name: privacy budget,    metric: epsilon, at_most: 3.0}
  approval: {required: never}
serving: {model_name: adult_income, base_path: serving}
tracking: {uri: null}
"""


def merged(**changes):
    return {**MINIMAL, **changes}


def with_data(**changes):
    return merged(data={**MINIMAL["data"], **changes})


def with_rules(*rules, **data):
    return {**with_data(**data), "gate": {"rules": list(rules)}}


def refused(value):
    with pytest.raises(ConfigError) as caught:
        parse_config(value)
    assert caught.value.exit_code == 2
    return caught.value
