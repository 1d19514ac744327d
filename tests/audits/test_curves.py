"""The stored curves against the definition of a threshold."""

import json

import numpy as np

from probity.audit_plan import AuditsConfig
from probity.audits.curves import GRID, write_curves
from probity.audits.scoring import ScoredRows


def test_counts_at_every_threshold_are_the_definition_and_small_groups_are_marked(tmp_path):
    rng = np.random.default_rng(1)
    codes = np.repeat([0, 1, 2], [120, 60, 5]).astype(np.int32)
    scores, labels = rng.random(185).astype(np.float32), rng.random(185) < 0.4
    rows = ScoredRows(scores=scores, labels=labels, groups={"g": codes}, names={"g": ("a", "b", "few", "none")})
    write_curves(tmp_path / "internal", rows, groupings=[("g",)], settings=AuditsConfig(min_group_size=50))
    content = json.loads((tmp_path / "internal/curves.json").read_text())
    assert content["thresholds"] == [step / 100 for step in range(100)] == list(GRID)
    groups = {entry["slice"].get("g", ""): entry for entry in content["groups"]}
    assert {name: entry["sufficient"] for name, entry in groups.items()} == {
        "": True, "a": True, "b": True, "few": False, "none": False,
    }  # fmt: skip
    for code, name in enumerate("ab"):
        mine = codes == code
        for place, threshold in enumerate(GRID):
            above = scores[mine].astype(float) > threshold
            assert groups[name]["tp"][place] == (above & labels[mine]).sum()
            assert groups[name]["fn"][place] == (~above & labels[mine]).sum()
            assert groups[name]["fp"][place] == (above & ~labels[mine]).sum()
    drawn = (tmp_path / "internal/rates_by_threshold_g.svg").read_text()
    assert ">a</text>" in drawn.replace(" a<", ">a<")
    assert "few" not in drawn
