"""Comparisons: the grid, resuming, cells that fail, and a table that hand computation agrees with."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from probity.config_file import parse_config
from probity.errors import BudgetExceededError, ConfigError
from probity.platform.compare.comparison import compare
from probity.platform.compare.grid import Cell, cell_config, cells_of, comparison_id
from probity.platform.compare.plots import write_plots
from probity.platform.compare.processes import perform
from probity.platform.compare.table import summarize, to_markdown
from probity.workspace import Workspace
from tests.platform.compare.stand_ins import config
from tests.platform.observers import Quiet


def test_epsilons_multiply_only_trainers_that_take_one():
    cells = cells_of(config(), trainers=["plain", "dp_sgd"], epsilons=[3, 0.5, 3], seeds=2)
    assert [cell.name for cell in cells] == [
        "plain-seed-7",
        "plain-seed-8",
        "dp_sgd-epsilon-0.5-seed-7",
        "dp_sgd-epsilon-0.5-seed-8",
        "dp_sgd-epsilon-3-seed-7",
        "dp_sgd-epsilon-3-seed-8",
    ]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"trainers": []}, "--trainers"),
        ({"trainers": ["plain", "plain"]}, "--trainers"),
        ({"seeds": 0}, "--seeds"),
        ({"epsilons": []}, "--epsilons"),
        ({"epsilons": [0.0]}, "greater than 0"),
    ],
)
def test_a_grid_with_nothing_to_compare_is_refused(changes, word):
    with pytest.raises(ConfigError, match=word):
        cells_of(config(), **{"trainers": ["dp_sgd"], "epsilons": [1.0], "seeds": 1, **changes})


def test_only_binary_labels_are_compared(tmp_path):
    asked = config()
    other = asked.model_copy(update={"data": asked.data.model_copy(update={"task": "regression"})})
    with pytest.raises(ConfigError, match=r"data\.task"):
        compare(
            other,
            root=tmp_path,
            workspace=Workspace(tmp_path),
            trainers=["plain"],
            epsilons=[],
            seeds=1,
            jobs=1,
            observer=None,
            report=None,
        )


def test_a_cell_keeps_its_own_trainers_settings_and_asks_for_epsilon_instead_of_noise():
    private = cell_config(config(), Cell(trainer="dp_sgd", target_epsilon=1.0, seed=8))
    assert private.trainer.settings == {"epochs": 3, "target_epsilon": 1.0}
    assert private.seed == 8
    plain = cell_config(
        config(), Cell(trainer="plain", target_epsilon=None, seed=7), settings_of={"plain": {"epochs": 5}}
    )
    assert plain.trainer.settings == {"epochs": 5}
    assert plain.data == private.data == config().data


def test_the_id_depends_on_every_cell():
    cells = cells_of(config(), trainers=["plain"], epsilons=[], seeds=2)
    configs = {cell.name: cell_config(config(), cell) for cell in cells}
    assert comparison_id(configs) == comparison_id(dict(configs))
    assert comparison_id(configs) != comparison_id({name: configs[name] for name in list(configs)[:1]})


# --- the table --------------------------------------------------------------------------------------------------------


def cells_table():
    rows = [
        ("plain", None, 7, "complete", math.inf, 0.90, 0.80, "sex=F", 0.10),
        ("plain", None, 8, "complete", math.inf, 0.92, 0.82, "sex=F", 0.14),
        ("dp_sgd", 1.0, 7, "complete", 0.99, 0.85, 0.70, "sex=M", 0.2),
        ("dp_sgd", 1.0, 8, "failed", None, None, None, None, None),
        ("dp_sgd", 3.0, 7, "complete", 2.99, 0.88, 0.75, "sex=F", None),
    ]
    names = ["trainer", "target_epsilon", "seed", "status", "epsilon", "auc", "worst_auc", "worst_auc_group"]
    return pd.DataFrame(rows, columns=[*names, "gap:selection_rate:sex"])


def test_means_and_students_intervals_over_seeds():
    summary = summarize(cells_table(), confidence=0.95)
    plain = summary[summary["trainer"] == "plain"].iloc[0]
    low, high = stats.t.interval(0.95, 1, loc=0.91, scale=stats.sem([0.90, 0.92]))
    assert (plain["auc"], plain["auc_lower"], plain["auc_upper"]) == pytest.approx((0.91, low, high))
    assert plain["seeds"] == 2
    assert math.isinf(plain["epsilon"])
    assert plain["worst_auc_group"] == "sex=F"


def test_one_seed_has_no_interval_and_a_failed_cell_counts_for_nothing():
    summary = summarize(cells_table(), confidence=0.95)
    one = summary[summary["target_epsilon"] == 1.0].iloc[0]
    assert (one["seeds"], one["auc"]) == (1, 0.85)
    assert np.isnan(one["auc_lower"])
    assert np.isnan(summary[summary["target_epsilon"] == 3.0].iloc[0]["gap:selection_rate:sex"])


def test_the_written_table_shows_infinity_and_what_is_missing():
    text = to_markdown(summarize(cells_table(), confidence=0.95))
    lines = text.splitlines()
    assert "gap in selection_rate by sex" in lines[0]
    plain = next(line for line in lines if line.startswith("| plain"))
    assert "| ∞ |" in plain
    assert "(sex=F)" in plain
    assert next(line for line in lines if "| 3 |" in line).count("| - ") >= 2
    assert len({line.count("|") for line in lines}) == 1


def test_plots_are_drawn_for_what_there_is(tmp_path):
    summary = summarize(cells_table(), confidence=0.95)
    assert write_plots(summary, folder=tmp_path) == ("utility.svg", "gaps.svg")
    assert (tmp_path / "utility.svg").read_text().count("<svg") == 1
    without = summary.drop(columns=[name for name in summary.columns if "auc" in name or "gap" in name])
    assert write_plots(without, folder=tmp_path) == ()


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Lets a new process import the stand-ins, wherever this one was started; `tests` is a package of others too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_each_cell_has_a_process_of_its_own(tmp_path):
    import stand_ins

    results = list(perform(stand_ins.make_jobs(tmp_path, [1, 2, 3]), at_once=2, run=stand_ins.fake))
    assert {result.cell.seed for result in results} == {1, 2, 3}
    assert len({result.peak_memory_bytes for result in results} | {os.getpid()}) == 4


def test_a_process_that_is_killed_is_a_cell_without_a_result(tmp_path):
    import stand_ins

    (result,) = perform(stand_ins.make_jobs(tmp_path, [8]), at_once=1, run=stand_ins.fake)
    assert result.status == "failed"
    assert "ended without a result (exit code -9)" in result.reason


def test_children_end_with_a_parent_that_is_killed(tmp_path):
    program = f"""
from pathlib import Path
from stand_ins import make_jobs, sleeping
from probity.platform.compare.processes import perform
if __name__ == "__main__":
    list(perform(make_jobs(Path({str(tmp_path)!r}), [1, 2]), at_once=2, run=sleeping))
"""
    script = tmp_path / "parent.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    waited = time.monotonic()
    while len(pids := [int(path.name[4:]) for path in tmp_path.glob("pid-*")]) < 2:
        assert time.monotonic() - waited < 60
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    time.sleep(1.0)
    assert [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and alive(pid)] == []


def alive(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def run_comparison(project, **changes):
    loaded = parse_config(json.loads((project / "config.json").read_text()))
    lines = []
    found = compare(
        loaded,
        root=project,
        workspace=Workspace(project / ".probity"),
        observer=Quiet(),
        report=lambda done, total, text: lines.append((done, total, text)),
        **{"trainers": ["plain", "dp_sgd"], "epsilons": [3.0], "seeds": 1, "jobs": 2, **changes},
    )
    return found, lines


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    draw = np.random.default_rng(0)
    x, sex = draw.normal(size=1500).round(3), draw.choice(["f", "m"], 1500)
    y = (draw.random(1500) < 1 / (1 + np.exp(-2 * x))).astype(int)
    pd.DataFrame({"x": x, "z": draw.normal(size=1500).round(3), "sex": sex, "y": y}).to_csv(
        folder / "rows.csv", index=False
    )
    value = {
        "name": "small",
        "data": {"source": "rows.csv", "label": {"column": "y"}, "sensitive": ["sex"]},
        "transform": {"boundaries": {"x": [-1.0, 0.0, 1.0], "z": [0.0]}},
        "model": {"kind": "logistic"},
        "trainer": {"name": "dp_sgd", "target_epsilon": 1.0, "expected_batch_size": 100, "epochs": 3},
        "audits": {"thresholds": [], "explained_rows": 20, "background_rows": 20, "min_group_size": 20},
        "gate": {"rules": [{"name": "floor", "metric": "auc", "at_least": 0.5}]},
        "serving": {"model_name": "small", "infra_validation": None},
    }
    (folder / "config.json").write_text(json.dumps(value))
    return folder


@pytest.mark.heavy
def test_a_real_comparison_is_written_and_continued_without_running_again(project):
    found, lines = run_comparison(project)
    assert [result.status for result in found.results] == ["complete", "complete"]
    assert [done for done, _, _ in lines] == [0, 1, 2]
    for name in ("table.md", "table.csv", "table.parquet", "cells.parquet", "utility.svg", "groups.svg", "index.html"):
        assert (found.folder / name).is_file(), name
    cells = pd.read_parquet(found.folder / "cells.parquet").set_index("trainer")
    assert math.isinf(cells.loc["plain", "epsilon"])
    assert 2.97 <= cells.loc["dp_sgd", "epsilon"] <= 3.0
    for trainer in ("plain", "dp_sgd"):
        folder = project / ".probity/runs" / cells.loc[trainer, "run"]
        report = json.loads((folder / "08_audits/performance.json").read_text())
        (auc,) = [entry for entry in report["findings"] if entry["id"] == "performance/auc/overall"]
        assert cells.loc[trainer, "auc"] == auc["estimate"]["value"]
        assert not (folder / "11_release.json").exists()
        assert cells.loc[trainer, "peak_memory_bytes"] > 2**28
    again, lines = run_comparison(project)
    assert lines == [(2, 2, "")]
    assert again.folder == found.folder
    pd.testing.assert_frame_equal(again.summary, found.summary)


@pytest.mark.heavy
def test_the_runs_are_shown_under_the_comparison(project):
    if not (project / ".probity/comparisons").exists():
        pytest.skip("the comparison above was not run")
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project / '.probity/mlflow.sqlite'}")
    (experiment,) = [entry for entry in client.search_experiments() if entry.name == "small"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "probity.comparison" in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 2


@pytest.mark.heavy
def test_cells_that_the_budget_does_not_allow_together_are_refused_before_any_is_trained(project):
    from probity.platform.budget.ledger import open_ledger

    workspace = Workspace(project / ".probity-capped")
    loaded = parse_config(json.loads((project / "config.json").read_text()))
    from probity.platform.budget.account import account_named

    ledger = open_ledger(loaded, workspace)
    path = project / "config.yaml"
    path.write_text((project / "config.json").read_text())
    account = account_named(str(path), ledger=ledger, workspace=workspace)
    ledger.grant(account, epsilon=4.0, delta=1e-4)
    with pytest.raises(BudgetExceededError, match="asked epsilon"):
        compare(
            loaded,
            root=project,
            workspace=workspace,
            observer=Quiet(),
            report=lambda *arguments: None,
            trainers=["dp_sgd"],
            epsilons=[2.0, 3.5],
            seeds=2,
            jobs=1,
        )
    assert not list(workspace.root.glob("runs/*/07_model"))
