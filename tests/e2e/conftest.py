"""One small project and one finished run of it, shared by the end-to-end tests."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml

from probity.__main__ import main

ADULT = Path(__file__).parents[2] / "examples/adult_income/adult.csv.gz"


CASES = """\
age,workclass,education_num,marital_status,occupation,relationship,race,sex,capital_gain,capital_loss,hours_per_week,\
native_country,income,why
17,,9,Never-married,,Own-child,,,0,0,1,Nowhere,<=50K,a work week of one hour
45,Private,16,Married-civ-spouse,Exec-managerial,Husband,,,99999,0,50,United-States,>50K,the largest gain on record
90,Never-worked,1,Widowed,,Unmarried,,,0,0,,,<=50K,almost nothing is known
"""
"""Rows that nobody doubts, with gaps and values that the data seldom or never has."""


FEWER_FEATURES = ("fnlwgt", "education", "relationship", "workclass", "native_country")
"""What whole runs of the default suite leave out: each column costs a second of tracing, and tells nothing new here."""


TERMINAL = {"TERM": "dumb", "COLUMNS": "200"}


class Project:
    """A folder with a config and real rows, and the command line run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def workspace(self) -> Path:
        return self.folder / ".probity"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "probity", *arguments]

    def probity(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Runs the command line in a process of its own, as people do."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**os.environ, **TERMINAL},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line in this process: the same code to the same exit code, without importing all anew."""
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            warnings.catch_warnings(),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["probity", *arguments])
            patch.setattr(sys, "unraisablehook", sys.unraisablehook)  # which a command sets for its process
            for name, value in TERMINAL.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, out.getvalue(), err.getvalue())

    def run_folders(self) -> list[Path]:
        return sorted((self.workspace / "runs").glob("*"), key=lambda path: path.stat().st_ctime_ns)

    def config(self) -> dict[str, object]:
        return yaml.safe_load((self.folder / "probity.yaml").read_text())

    def edit(self, **changes: object) -> None:
        path = self.folder / "probity.yaml"
        value = yaml.safe_load(path.read_text())
        value.update(changes)
        path.write_text(yaml.safe_dump(value))


def make_project(folder: Path, *, rows: int = 5000, exclude: Sequence[str] = ("fnlwgt", "education")) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(ADULT, "rt") as source:
        lines = [next(source) for _ in range(rows + 1)]
    (folder / "adult.csv").write_text("".join(lines))
    config = {
        "name": "small",
        "data": {
            "source": "adult.csv",
            "label": {"column": "income", "positive": ">50K"},
            "sensitive": [
                "sex",
                {"column": "race"},
                {"column": "age", "bins": [40], "name": "age_band", "also_feature": True},
            ],
            "intersections": [["sex", "age_band"]],
            "exclude": list(exclude),
        },
        "model": {"kind": "mlp", "hidden": [16]},
        "trainer": {"name": "plain", "epochs": 4, "batch_size": 128, "learning_rate": 0.005},
        "audits": {
            "thresholds": [0.5],
            "explained_rows": 100,
            "background_rows": 50,
            "min_group_size": 50,
            "inspected_rows": 50,
            "edge_cases": "cases.csv",
        },
        "gate": {
            "rules": [
                {"name": "quality floor", "metric": "auc", "at_least": 0.8},
                {"name": "no regression", "metric": "auc", "change_from_baseline_at_least": -0.02},
                {"name": "gap", "metric": "true_positive_rate", "across": "sex", "gap_at_most": 0.9},
                {"name": "edge cases", "metric": "edge_case_accuracy", "at_least": 1.0},
            ]
        },
        "serving": {"model_name": "small", "infra_validation": None},  # a server's start in every run adds up
    }
    (folder / "cases.csv").write_text(CASES)
    (folder / "probity.yaml").write_text(yaml.safe_dump(config))
    return Project(folder)


@pytest.fixture(scope="session", name="make_project")
def project_maker():
    """The function that writes such a project, for tests that need one of another kind."""
    return make_project


@pytest.fixture(scope="session")
def fewer_features() -> tuple[str, ...]:
    """Columns that a whole run of the default suite excludes."""
    return FEWER_FEATURES


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A project whose first run was released. Tests may add runs; none may change this one."""
    project = make_project(tmp_path_factory.mktemp("finished"), exclude=FEWER_FEATURES)
    done = project.probity("run", "probity.yaml")
    assert done.returncode == 0, done.stderr + done.stdout
    return project


@pytest.fixture(scope="module")
def small_project(tmp_path_factory) -> Project:
    """A project of this module's own, without any run."""
    return make_project(tmp_path_factory.mktemp("small"), rows=3000)
