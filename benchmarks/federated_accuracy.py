"""What federating costs in accuracy on the Adult data, beside the same model trained on all rows in one place.

``make bench-federated-accuracy`` runs ``examples/adult_income/federated.yaml`` once per way of training, up to the
audit of performance, and writes ``benchmarks/federated_accuracy.md``. Every number is that of a finding of the run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples/adult_income/federated.yaml"
OUT = Path(__file__).with_suffix(".md")
COUNTRY = "trainer.clients={by: native_country, number: null, partition: null}"

WAYS: dict[str, tuple[float | None, list[str]]] = {
    "plain, until the eval loss has not fallen for 20 epochs": (None, [
        "--trainer", "plain", "--set", "trainer.epochs=300", "--set", "trainer.patience=20",
    ]),
    "federated, 100 clients dealt at random, 20 a round (the example)": (0.01, []),
    "federated, 100 clients, label shares by Dirichlet(0.3), 20 a round": (None, [
        "--set", "trainer.clients={number: 100, partition: dirichlet, alpha: 0.3}",
    ]),
    "federated, clients by native_country, 20 a round": (0.02, ["--set", COUNTRY]),
}  # fmt: skip
"""How far below the first each may be, where that was promised, and the arguments of ``probity run``."""

HEADER = """`make bench-federated-accuracy`: a logistic model on the public preprocessing of
`examples/adult_income/federated.yaml`, seed 7, one run each; area under the ROC curve on the test split, with 95 %
intervals. Each row has the same training and test rows.
"""


def main() -> int:
    """Runs and writes; returns 1 if a way is further below the plain model than promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=CONFIG.parent / ".probity")
    given = parser.parse_args()
    lines, plain, kept = (
        ["| trained | rounds or epochs | AUC | interval | below plain | promised |", "|---|---|---|---|---|---|"],
        0.0,
        True,
    )
    for name, (promised, arguments) in WAYS.items():
        steps, auc, low, high = measured(arguments, workspace=given.workspace)
        plain = plain or auc
        kept = kept and (promised is None or plain - auc <= promised)
        told = "-" if promised is None else f"at most {promised:g}"
        lines.append(f"| {name} | {steps} | {auc:.4f} | {low:.4f} to {high:.4f} | {plain - auc:.4f} | {told} |")
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    OUT.write_text(
        "# What federating costs in accuracy\n\n" + HEADER + "\n" + "\n".join(lines) + "\n", encoding="utf-8"
    )
    return 0 if kept else 1


def measured(arguments: list[str], *, workspace: Path) -> tuple[int, float, float, float]:
    """Returns the epochs or rounds of a run, and its AUC with the ends of its interval."""
    command = [
        str(Path(sys.executable).with_name("probity")),
        "run",
        str(CONFIG),
        "--until",
        "performance",
        "--no-release",
    ]
    before = set((workspace / "runs").glob("*"))
    subprocess.run([*command, "--workspace", str(workspace), *arguments], check=True, stdout=subprocess.DEVNULL)
    (folder,) = set((workspace / "runs").glob("*")) - before
    report = json.loads((folder / "08_audits/performance.json").read_text(encoding="utf-8"))
    (auc,) = [entry["estimate"] for entry in report["findings"] if entry["id"] == "performance/auc/overall"]
    model = json.loads((folder / "07_model/model.json").read_text(encoding="utf-8"))
    return model["epochs"], auc["value"], auc["lower"], auc["upper"]


if __name__ == "__main__":
    raise SystemExit(main())
