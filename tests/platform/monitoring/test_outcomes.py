"""Selection and quality of what was served, against the audited rows, by group."""

import numpy as np
import pytest

from probity.audits.scoring import ScoredRows
from probity.monitoring import MonitoringConfig
from probity.platform.monitoring.outcomes import quality_measures, selection_measures

CONFIG = MonitoringConfig()
ROWS = 4000


def audited(rate=0.4):
    scores = np.where(np.arange(ROWS) % 100 < rate * 100, 0.9, 0.1).astype(np.float32)
    return ScoredRows(
        scores=scores,
        labels=scores > 0.5,
        groups={"sex": np.arange(ROWS, dtype=np.int32) // 100 % 2},
        names={"sex": ("Female", "Male", "(missing)")},
    )


GROUPS = [frozenset({"sex=Female" if row // 100 % 2 == 0 else "sex=Male"}) for row in range(ROWS)]


def selection(chosen, groups=GROUPS, config=CONFIG):
    found = selection_measures(chosen, groups, audited(), threshold=0.5, favourable_positive=True, config=config)
    return {entry.of: entry for entry in found}


def test_the_same_rates_are_within():
    found = selection(audited().scores > 0.5)
    assert {entry.status for name, entry in found.items() if "missing" not in name} == {"within"}
    assert found["selection_rate of sex=(missing)"].status == "insufficient"
    assert found["selection_rate"].observed == pytest.approx(0.0)
    assert found["selection_rate"].lower < 0.0 < found["selection_rate"].upper


def test_a_drop_for_one_group_is_beyond_for_it_alone():
    chosen = audited().scores > 0.5
    women = np.array(["sex=Female" in of_row for of_row in GROUPS])
    chosen[women & (np.arange(ROWS) % 100 >= 20)] = False
    found = selection(chosen)
    assert found["selection_rate of sex=Female"].status == "beyond"
    assert found["selection_rate of sex=Female"].observed == pytest.approx(-0.2)
    assert found["selection_rate of sex=Female"].upper < -0.05
    assert found["selection_rate of sex=Male"].status == "within"


def test_a_drop_that_chance_may_explain_is_within():
    chosen = (audited().scores > 0.5)[:300]
    chosen[:25] = False
    found = selection(chosen, GROUPS[:300])
    assert found["selection_rate"].observed < -0.05
    assert found["selection_rate"].status == "within"


def test_without_a_group_table_only_all_rows_are_measured():
    assert list(selection(audited().scores > 0.5, [frozenset()] * ROWS)) == ["selection_rate"]
    assert list(selection(np.zeros(0, bool), [])) == ["selection_rate"]


def test_quality_rests_on_what_feedback_labelled():
    predicted = audited().scores > 0.5
    actual = predicted.copy()
    actual[::4] = ~actual[::4]  # a quarter of the predictions turned out wrong
    found = quality_measures(predicted, actual, GROUPS, audited(), threshold=0.5, config=CONFIG)
    by_name = {entry.of: entry for entry in found}
    assert by_name["accuracy"].observed == pytest.approx(-0.25)
    assert by_name["accuracy of sex=Female"].status == "beyond"
    hits = (predicted & actual).sum() / actual.sum()
    assert by_name["true_positive_rate"].observed == pytest.approx(hits - 1.0)
