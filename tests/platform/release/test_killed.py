"""``kill -9`` at every step of a push, a rollback and a rollout: a servable state, and a true history."""

from __future__ import annotations

import pytest

from tests.platform.release.killed import sweep_in_child

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("scenario", "reached"),
    [
        ("PUSH", {"first", "second"}),
        ("ROLLBACK", {"first", "second"}),
        ("ROLLOUT_ROLLED_BACK", {"nothing", "shadow", "50%", "rolled_back"}),
        ("ROLLOUT_STOPPED", {"nothing", "shadow", "50%", "stopped"}),
        ("ROLLOUT_COMPLETED", {"nothing", "shadow", "50%", "100%", "completed"}),
    ],
)
def test_killed_at_any_step_it_leaves_a_servable_state_and_a_true_history(tmp_path, scenario, reached):
    found = sweep_in_child(f"tests.platform.release.killings:{scenario}", tmp_path)
    assert set(found["killed"]) == reached  # it died on both sides of every step that others can see
    assert sum(found["killed"].values()) > 25
    assert sum(count for name, count in found["torn"].items() if name != "not torn") > 2
