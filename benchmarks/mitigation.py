"""What each mitigation does on the Adult data: gaps before and after, accuracy, who lost, and seconds.

``python benchmarks/mitigation.py`` runs the example once per method, up to the audit of the mitigation, and writes
``benchmarks/mitigation.md``. Every number is that of a finding of the run; nothing is computed here but differences of
time stamps. ``--only NAME`` (repeatable) runs some of the methods and prints their rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/adult_income"
OUT = Path(__file__).with_suffix(".md")

METHODS: dict[str, tuple[str, str]] = {
    "none": ("probity.yaml", "none"),
    "reweighing": ("probity.yaml", "{method: reweighing, across: sex}"),
    "mindiff, false_negative_rate": (
        "probity.yaml",
        "{method: mindiff, across: sex, equalizes: false_negative_rate, weight: 1.5}",
    ),
    "mindiff, false_positive_rate": (
        "probity.yaml",
        "{method: mindiff, across: sex, equalizes: false_positive_rate, weight: 1.5}",
    ),
    "threshold_optimizer, equal_opportunity": (
        "probity.yaml",
        "{method: threshold_optimizer, across: sex, constraint: equal_opportunity}",
    ),
    "threshold_optimizer, demographic_parity": (
        "probity.yaml",
        "{method: threshold_optimizer, across: sex, constraint: demographic_parity}",
    ),
    "threshold_optimizer, equalized_odds": (
        "probity.yaml",
        "{method: threshold_optimizer, across: sex, constraint: equalized_odds}",
    ),
    "exponentiated_gradient, equal_opportunity": (
        "probity.yaml",
        "{method: exponentiated_gradient, across: sex, constraint: equal_opportunity}",
    ),
    "exponentiated_gradient, demographic_parity": (
        "probity.yaml",
        "{method: exponentiated_gradient, across: sex, constraint: demographic_parity}",
    ),
    "exponentiated_gradient, demographic_parity, mean_probability": (
        "probity.yaml",
        "{method: exponentiated_gradient, across: sex, constraint: demographic_parity, score: mean_probability}",
    ),
    "dp_sgd, none": ("dp.yaml", "none"),
    "dp_sgd, reweighing": ("dp.yaml", "{method: reweighing, across: sex}"),
    "dp_sgd, threshold_optimizer, equal_opportunity": (
        "dp.yaml",
        "{method: threshold_optimizer, across: sex, constraint: equal_opportunity}",
    ),
}
COLUMNS = ("accuracy", "auc", "gap of true_positive_rate", "gap of selection_rate", "gap of false_positive_rate",
           "of 45 changes for the worse", "those of women and men", "training, s")  # fmt: skip


def main() -> int:
    """Runs and writes; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=EXAMPLE / ".probity")
    parser.add_argument("--only", action="append", choices=list(METHODS))
    given = parser.parse_args()
    lines = ["| mitigation across sex | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in given.only or METHODS:
        lines.append("| " + " | ".join([name, *measured(*METHODS[name], workspace=given.workspace)]) + " |")
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    if not given.only:
        OUT.write_text("# Mitigation on the Adult data\n\n" + HEADER + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return 0


HEADER = """`python benchmarks/mitigation.py`: 48,842 rows, about 9,800 of them in the test split, seed 7, decision
threshold 0.5; `plain` is the network of `probity.yaml`, `dp_sgd` the logistic model of `dp.yaml` at epsilon 1. Gaps are
between women and men. A change is for the worse if accuracy or the true positive rate of a slice fell, or its false
positive rate rose, by more than its paired 95 % interval; 45 were judged. Seconds are of the stage `train`, in which a
mitigation of `plain` also trains the model without it.
"""


def measured(config: str, mitigation: str, *, workspace: Path) -> list[str]:
    """Runs one configuration up to its last audit that is needed, and returns its row."""
    done = subprocess.run(
        [sys.executable, "-m", "probity", "run", str(EXAMPLE / config), "--workspace", str(workspace), "--no-release",
         "--until", "performance", "--set", f"trainer.mitigation={mitigation}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    run = max((workspace / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    names = ("performance", "fairness", "mitigation")
    audits = {name: json.loads((run / "08_audits" / f"{name}.json").read_text()) for name in names}
    changes = audits["mitigation"]
    seconds = json.loads((run / ".run/receipts/train.json").read_text())["seconds"]
    cells = [number(audits["performance"], "performance/accuracy/overall@0.5"),
             number(audits["performance"], "performance/auc/overall")]  # fmt: skip
    cells += [
        number(audits["fairness"], f"fairness/{metric}/gap/sex@0.5")
        for metric in ("true_positive_rate", "selection_rate", "false_positive_rate")
    ]
    if changes["status"] != "complete":
        return [*cells, "not compared", "", f"{seconds:.0f}"]
    worse = [reason.split(": ", 1)[1] for reason in changes["reasons"] if reason.startswith("Worse than")]
    named = [text.split(" (")[0] for text in worse if "of sex=" in text and "," not in text.split(" at ")[0]]
    short = [
        text.replace("sex=Female", "women").replace("sex=Male", "men").replace(" at 0.5 changed by", "")
        for text in named
    ]
    return [*cells, str(len(worse)), ", ".join(short) or "none", f"{seconds:.0f}"]


def number(report: dict[str, Any], finding: str) -> str:
    """Returns a finding's estimate and interval."""
    entry = next(entry for entry in report["findings"] if entry["id"] == finding)["estimate"]
    return f"{entry['value']:.3f} ({entry['lower']:.3f} to {entry['upper']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
