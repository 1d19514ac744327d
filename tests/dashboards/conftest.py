"""Run folders as the pipeline leaves them, written from ready records: no framework, no training."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from probity.audits.curves import GRID
from probity.config import RunConfig
from probity.decision import Check, GateDecision, Release
from probity.digest import digest_bytes, digest_file
from probity.findings import AuditReport
from probity.model_cards import render
from probity.model_cards.compose import compose
from probity.model_cards.publication import Publication
from probity.runs import Receipt, RunFolder
from probity.storage import files_below, write_record
from probity.workspace import Workspace


def _made_up() -> ModuleType:
    """The made-up reports of the model cards' tests: row by row, so that sizes, rates and totals agree."""
    path = Path(__file__).parents[1] / "model_cards" / "conftest.py"
    spec = importlib.util.spec_from_file_location("made_up_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAIN = sys.modules["__main__"]
made_up = _made_up()
ROWS = made_up.Rows(shares=made_up.RARE)
REPORTS: dict[str, AuditReport] = made_up.reports_of(ROWS)


@pytest.fixture(autouse=True)
def _main_stays_main() -> Iterator[None]:
    """Streamlit's test harness puts its script in the place of ``__main__``, which later child processes would run."""
    yield
    sys.modules["__main__"] = MAIN


@pytest.fixture(scope="session")
def rows() -> Any:
    """The rows that the reports speak of."""
    return ROWS


@pytest.fixture(scope="session")
def reports() -> dict[str, AuditReport]:
    return REPORTS


@pytest.fixture(scope="session")
def write_run() -> Any:
    return written


def written(
    workspace: Workspace,
    run: str,
    *,
    reports: dict[str, AuditReport] | None = None,
    verdict: str = "release",
    released: bool = True,
    called: dict[str, str] | None = None,
    until: str = "release",
) -> RunFolder:
    """Writes a run.

    Args:
        workspace: Where.
        run: Its id.
        reports: What its audits said; those of the made-up rows by default.
        verdict: The gate's.
        released: Whether it was pushed.
        called: Names of groups and columns, and what they are called instead.
        until: ``config`` or ``release``: where the run ended.
    """
    reports = REPORTS if reports is None else reports
    folder = RunFolder(workspace.root / "runs" / run)
    parts = made_up.card_parts()
    config: RunConfig = parts["config"]
    (folder.path / ".run" / "receipts").mkdir(parents=True)
    (folder.path / ".run" / "lock").touch()
    resolved = {
        "config": config.to_json(),
        "config_folder": "..",
        "environment": {"python": "3.11.7"},
        "started_by": "ines",
    }
    (folder.path / "01_config.yaml").write_text(yaml.safe_dump(resolved), encoding="utf-8")
    if until == "config":
        return folder
    for name, noun in (
        ("02_dataset.json", parts["dataset"]),
        ("05_schema.json", parts["schema"]),
        ("05_anomalies.json", parts["anomalies"]),
        ("06_transform/transform.json", parts["transform"]),
        ("07_model/model.json", parts["model"]),
        *((f"08_audits/{name}.json", report) for name, report in reports.items()),
    ):
        write_record(folder.path / name, noun)
    curves = folder.path / "08_audits" / "fairness" / "internal" / "curves.json"
    curves.parent.mkdir(parents=True)
    curves.write_text(json.dumps(stored_curves()), encoding="utf-8")
    card = compose(**{**parts, "run": run}, reports=reports)
    write_record(folder.path / "09_card" / "card.json", card)
    (folder.path / "09_card" / "card.html").write_text(render.to_html(Publication(card=card)), encoding="utf-8")
    write_record(folder.path / "10_decision.json", decision(folder, verdict))
    if released:
        write_record(folder.path / "11_release.json", release(folder))
    if called:
        _renamed(folder, called)
    outputs = {path.relative_to(folder.path).as_posix(): digest_file(path) for path in files_below(folder.path)}
    audits = {name: digest for name, digest in outputs.items() if name.startswith("08_audits/")}
    cards = {name: digest for name, digest in outputs.items() if name.startswith("09_card/")}
    for stage, files in (("ingest", {}), ("fairness", audits), ("card", cards)):
        folder.write_receipt(
            Receipt(
                stage=stage, key=digest_bytes(stage.encode()), outputs=files, seconds=1.5,
                finished_at="2026-01-02T03:05:06+00:00",
            )
        )  # fmt: skip
    return folder


@lru_cache
def stored_curves() -> dict[str, Any]:
    """Counts at every threshold, as the fairness audit keeps them, counted here one threshold at a time."""
    groups = []
    for slice_, chosen in ROWS.slices():
        scores, labels = ROWS.scores[chosen], ROWS.labels[chosen]
        counts: dict[str, list[int]] = {name: [] for name in ("tp", "fp", "tn", "fn")}
        for at in GRID:
            for name, hit in (
                ("tp", (scores > at) & labels),
                ("fp", (scores > at) & ~labels),
                ("tn", (scores <= at) & ~labels),
                ("fn", (scores <= at) & labels),
            ):
                counts[name].append(int(hit.sum()))
        groups.append({"slice": slice_, "rows": len(scores), "sufficient": len(scores) >= 100, **counts})
    return {"schema_version": 1, "thresholds": list(GRID), "decision_threshold": 0.5, "groups": groups}


def decision(folder: RunFolder, verdict: str) -> GateDecision:
    held = verdict == "hold"
    small = "performance/true_positive_rate/race=Other@0.5"
    return GateDecision.from_json(
        {
            "verdict": verdict,
            "model": made_up.MODEL,
            "policy": digest_bytes(b"policy"),
            "card": digest_file(folder.path / "09_card" / "card.json"),
            "checks": [
                Check(rule="evidence: fairness", outcome="pass", required="a complete fairness report",
                      evidence=("fairness",), reason="It is there.").to_json(),
                Check(rule="quality floor", outcome="pass", required="auc >= 0.88", observed=0.9, lower=0.88,
                      upper=0.92, evidence=("performance/auc/overall",), reason="It is.").to_json(),
                Check(rule="small group", outcome="fail" if held else "pass", required="rate >= 0.7", observed=0.61803,
                      evidence=(small,), reason="It would have to rise by 0.08197.").to_json(),
            ],
        }
    )  # fmt: skip


def release(folder: RunFolder) -> Release:
    return Release(
        run=folder.id,
        model_name="adult_income",
        version=1_767_323_000 + int(folder.id[9:15]),
        path="serving/adult_income/1767323000",
        model=made_up.MODEL,
        card=digest_bytes(b"card"),
        decision=digest_bytes(b"decision"),
        dataset=digest_bytes(b"fixed"),
        released_at=folder.created_at,
    )


def _renamed(folder: RunFolder, called: dict[str, str]) -> None:
    """Gives groups and columns other names in every record, as if the data had them."""
    for path in files_below(folder.path):
        if path.suffix == ".json" and path.name != "11_release.json":
            text = path.read_text(encoding="utf-8")
            for old, new in called.items():
                text = text.replace(old, json.dumps(new)[1:-1])
            path.write_text(text, encoding="utf-8")
