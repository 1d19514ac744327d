"""How fast the methods of the explanations audit are, beside SHAP's model-agnostic explainers, on one model in one run.

    make bench-explanations

trains the Adult example twice (the network of the example, and a logistic model), explains test rows with each method
against the same 200 background rows, and writes ``benchmarks/explanations.md``.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shap

from probity.audit_plan import AuditsConfig
from probity.audits.attribution import ExplainedModel, load_explained_model
from probity.audits.explanations import ExplanationsAudit
from probity.audits.linear_form import find_linear_form
from probity.audits.scoring import score
from probity.audits.shapley import Inputs
from probity.runs import MODEL, TRANSFORM, RunFolder

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples/adult_income/probity.yaml"
BACKGROUND = 200
SEED = 7


@dataclass(frozen=True)
class Case:
    """One trained model, its test rows and a background."""

    name: str
    folder: RunFolder
    model: ExplainedModel
    test: Inputs
    background: Inputs

    def rows(self, number: int) -> Inputs:
        """Returns the first test rows."""
        return {name: values[:number] for name, values in self.test.items()}

    @property
    def num_test(self) -> int:
        """Number of test rows."""
        return len(next(iter(self.test.values())))


def train(workspace: Path, *settings: str) -> RunFolder:
    """Runs the example up to training."""
    probity = [sys.executable, "-m", "probity", "run", str(CONFIG), "--workspace", str(workspace), "--until", "train"]
    subprocess.run([*probity, *settings], check=True, capture_output=True)
    newest = max((workspace / "runs").iterdir(), key=lambda path: path.stat().st_ctime_ns)
    return RunFolder(newest)


def load(name: str, folder: RunFolder) -> Case:
    """Reads a trained model and its rows back."""
    transformed = folder.transformed()
    pool, _ = transformed.arrays("train")
    test, _ = transformed.arrays("test")
    chosen = np.random.default_rng(SEED).choice(len(next(iter(pool.values()))), BACKGROUND, replace=False)
    return Case(
        name=name,
        folder=folder,
        model=load_explained_model(folder.path / MODEL / "model.keras", folder.transform().outputs),
        test=test,
        background={name: values[chosen] for name, values in pool.items()},
    )


def agnostic(case: Case, rows: Inputs, explainer: str) -> np.ndarray:
    """Explains with one of SHAP's explainers that only ask the model, by source column.

    They know matrices of numbers, so a row is given as the position, for each column, of the row that holds its value.
    """
    model, number = case.model, len(next(iter(rows.values())))
    stacked = {name: np.concatenate([rows[name], case.background[name]]) for name in rows}
    width = len(model.columns)

    def predict(positions: np.ndarray) -> np.ndarray:
        places = np.asarray(positions, int)
        return model.predict(
            {name: stacked[name][places[:, player]] for player, names in enumerate(model.groups) for name in names}
        )

    explained = np.repeat(np.arange(number, dtype=float)[:, None], width, axis=1)
    background = np.repeat(number + np.arange(BACKGROUND, dtype=float)[:, None], width, axis=1)
    if explainer == "KernelExplainer":
        return np.asarray(shap.KernelExplainer(predict, background).shap_values(explained, silent=True))
    masker = shap.maskers.Independent(background, max_samples=BACKGROUND)
    return np.asarray(shap.PermutationExplainer(predict, masker, seed=SEED)(explained, silent=True).values)


def row_by_row(case: Case, rows: Inputs) -> np.ndarray:
    """Explains with DeepExplainer as it is usually called."""
    from probity.audits.attribution import _join

    explainer = shap.DeepExplainer(case.model.head, _join(case.background, case.model.joined))
    matrix = _join(rows, case.model.joined)
    return case.model._by_column(
        np.asarray(explainer.shap_values(matrix, check_additivity=False)).reshape(matrix.shape)
    )


def linear(case: Case, rows: Inputs) -> np.ndarray:
    """Explains by the closed form, the finding of the form included."""
    widths = {feature.name: feature.width for feature in case.model.outputs}
    form = find_linear_form(case.model.predict, samples=(rows, case.background), widths=widths, seed=SEED)
    assert form is not None, "the logistic model is not affine"
    return case.model.closed_form(form, rows, background=case.background).contributions


def measure(case: Case, label: str, number: int, explain: Callable[[Inputs], np.ndarray], exact: np.ndarray) -> str:
    """Returns a line of the table."""
    rows = case.rows(number)
    explain(case.rows(2))  # tracing and imports are paid once
    begin, processor = time.perf_counter(), time.process_time()
    values = explain(rows)
    seconds, busy = time.perf_counter() - begin, time.process_time() - processor
    gap = values.sum(axis=1) + case.model.predict(case.background).mean() - case.model.predict(rows)
    compared = min(len(values), len(exact))
    largest = np.abs(exact).mean(axis=0).max()
    off = np.abs(np.abs(values[:compared]).mean(axis=0) - np.abs(exact[:compared]).mean(axis=0)).max() / largest
    print(label, case.name, number, f"{seconds:.2f} s")
    return (
        f"| {label} | {case.name} | {number:,} | {seconds:.2f} | {busy:.2f} | {number / seconds:,.1f} | "
        f"{np.abs(gap).max():.0e} | "
        f"{off:.1%} ({compared} rows) |"
    )


def audit(case: Case) -> str:
    """Returns how long the whole audit takes, with all test rows explained."""
    from probity.audits.base import AuditInput

    folder, dataset, examples = case.folder, case.folder.dataset(), case.folder.examples()
    evidence = AuditInput(
        model=folder.model(),
        model_folder=folder.path / MODEL,
        dataset=dataset,
        examples=examples,
        schema=folder.schema(),
        transform=folder.transform(),
        transform_folder=folder.path / TRANSFORM,
        transformed=folder.transformed(),
        scored=score(folder.path / MODEL / "saved_model", dataset=dataset, examples=examples),
        settings=AuditsConfig(),
        seed=SEED,
    )
    with tempfile.TemporaryDirectory() as workdir:
        begin = time.perf_counter()
        report = ExplanationsAudit().run(evidence, workdir=Path(workdir))
        seconds = time.perf_counter() - begin
    assert report.status == "complete", report.reasons
    found = {finding.metric: finding.estimate.value for finding in report.findings if finding.feature is None}
    cells = [
        f"{found[name]:.3f}" if found.get(name) is not None else "-"
        for name in (
            "explanation_stability",
            "background_sensitivity",
            "approximation_difference",
            "permutation_agreement",
            "lime_agreement",
        )
    ]
    return f"| {case.name} | {case.num_test:,} | {seconds:.1f} | {' | '.join(cells)} |"


def main() -> None:
    """Measures and writes the page."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        mlp = load("mlp 128, 64", train(workspace))
        logistic = load("logistic", train(workspace, "--set", "model={kind: logistic}"))
        few = 10
        exact_mlp = mlp.model.enumerated(mlp.rows(few), background=mlp.background).contributions
        exact_logistic = logistic.model.enumerated(logistic.rows(few), background=logistic.background).contributions

        def on(case: Case, method: str, **more: int) -> Callable[[Inputs], np.ndarray]:
            explain = getattr(case.model, method)
            return lambda rows: explain(rows, background=case.background, **more).contributions

        lines = [
            measure(logistic, "closed form", logistic.num_test, lambda rows: linear(logistic, rows), exact_logistic),
            measure(mlp, "DeepExplainer, eight rows together", mlp.num_test, on(mlp, "deep"), exact_mlp),
            measure(mlp, "DeepExplainer, row by row", 1000, lambda rows: row_by_row(mlp, rows), exact_mlp),
            measure(mlp, "sampling of column orders", 500, on(mlp, "sampled", seed=SEED), exact_mlp),
            measure(mlp, "enumeration of 1,024 coalitions", few, on(mlp, "enumerated"), exact_mlp),
            *(
                measure(mlp, f"shap.{name}", few, lambda rows, name=name: agnostic(mlp, rows, name), exact_mlp)
                for name in ("PermutationExplainer", "KernelExplainer")
            ),
        ]
        audits = [audit(case) for case in (logistic, mlp)]
    page = [
        "# Explanations of the Adult test split",
        "",
        f"`make bench-explanations` on {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, shap {shap.__version__}. Ten columns, {BACKGROUND} background rows, one "
        "process.",
        "",
        "## Methods",
        "",
        "The last column is the largest difference of a column's mean absolute value from that by enumeration, which",
        "is exact, over the largest one. Processor seconds are over all cores; where they are much below the seconds,",
        "the machine was busy with something else.",
        "",
        "| method | model | rows | seconds | processor seconds | rows per second | largest additivity error | off the "
        "exact importances |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *lines,
        "",
        "## The whole audit, all test rows",
        "",
        "Reading, explaining, both backgrounds, permutation importance, LIME and plots.",
        "",
        "| model | rows | seconds | stability | background sensitivity | approximation difference | agreement with "
        "permutation | agreement with LIME |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *audits,
        "",
    ]
    (ROOT / "benchmarks/explanations.md").write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
