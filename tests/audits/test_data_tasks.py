"""How labels of several classes, and numbers, are distributed over groups."""

from __future__ import annotations

import numpy as np
import pytest

from probity.audits.data_tasks import label_findings
from tests.audits.task_evidence import CLASSES, draw_table, light_evidence, rows_of


def found(task, rows, **more):
    return {entry.id: entry for entry in label_findings(light_evidence(task, rows, **more))}


def test_shares_of_the_classes_are_counted_and_add_up_to_one_in_every_group():
    rows = rows_of("multiclass", draw_table("multiclass", 300))
    entries = found("multiclass", rows)
    for code, name in enumerate(("Female", "Male")):
        members = rows.groups["sex"] == code
        shares = [entries[f"data/label_share/class={label}/sex={name}"].estimate for label in CLASSES]
        for place, share in enumerate(shares):
            assert share.value == pytest.approx((rows.labels[members] == place).mean())
            assert share.lower < share.value < share.upper
            assert share.n == members.sum()
        assert sum(share.value for share in shares) == pytest.approx(1)
    assert entries["data/label_share/class=low/sex=Unseen"].reason == "no rows"


def test_means_of_a_number():
    rows = rows_of("regression", draw_table("regression", 300))
    entries = found("regression", rows, minimum=100)
    members = rows.groups["region"] == 1
    south = entries["data/mean_label/region=South"]
    assert south.estimate.value == pytest.approx(rows.labels[members].mean())
    assert south.estimate.lower < south.estimate.value < south.estimate.upper
    assert entries["data/mean_label/region=Isle"].reason == "fewer than 100 rows"
    assert entries["data/mean_label/sex=Unseen"].estimate.value is None
    assert entries["data/mean_label/overall"].estimate.n == 300


def test_no_rows():
    for task in ("multiclass", "regression"):
        entries = found(task, rows_of(task, draw_table(task, 0)))
        assert {entry.reason for entry in entries.values()} == {"no rows"}
        assert np.isin([entry.estimate.n for entry in entries.values()], [0]).all()
