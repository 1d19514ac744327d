"""How the estimators of the attacks audit do where the truth is known: false alarms, coverage, and power.

    make bench-attacks

writes ``benchmarks/attacks.md``. Seeded: equal code gives equal numbers. The small version of this is what the audit
does before it speaks (``probity.audits.self_check``).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from scipy.stats import norm

from probity.audits import exposure, one_run
from probity.audits.membership import strength, true_positive_rate_at
from probity.audits.self_check import gaussian_shift

RUNS, POWER_RUNS = 1000, 100
DELTA, CONFIDENCE = 1e-5, 0.95
SIZES = (200, 1000, 4000, 10_000)
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
CLAIMS = (1.0, 3.0, 8.0)


def draw(number: int, shift: float, *seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores of canaries, included ones higher by ``shift`` standard deviations, and the coins."""
    rng = np.random.default_rng([number, *seed])
    included = rng.random(number) < 0.5
    return rng.standard_normal(number) + shift * included, included


def null_of_one_run() -> list[str]:
    """Returns how often a bound is positive where there is nothing."""
    lines = ["| canaries | bounds above 0 | nominal |", "|---|---|---|"]
    for number in SIZES:
        found = sum(
            one_run.contradicts(*draw(number, 0.0, 1, run), epsilon=0.0, delta=DELTA, confidence=CONFIDENCE, seed=run)
            for run in range(RUNS)
        )
        lines.append(f"| {number:,} | {found / RUNS:.1%} | ≤ {1 - CONFIDENCE:.0%} |")
    return lines


def power_of_one_run() -> list[str]:
    """Returns what bounds are worth where the truth is known."""
    lines = [
        "| true ε | " + " | ".join(f"{number:,} canaries" for number in SIZES) + " |",
        "|---|" + "---|" * len(SIZES),
    ]
    for epsilon in EPSILONS:
        shift, cells = gaussian_shift(epsilon, delta=DELTA), []
        for number in SIZES:
            bounds = [
                one_run.lower_bound(*draw(number, shift, 2, run), delta=DELTA, confidence=CONFIDENCE, seed=run).epsilon
                for run in range(POWER_RUNS)
            ]
            above = sum(bound > epsilon for bound in bounds) / POWER_RUNS
            cells.append(f"{np.median(bounds):.2f} ({above:.0%})")
        lines.append(f"| {epsilon:g} | " + " | ".join(cells) + " |")
    return lines


def contradictions() -> list[str]:
    """Returns from which truth on a claim is contradicted."""
    lines = [
        "| claimed ε | " + " | ".join(f"{number:,} canaries" for number in SIZES) + " |",
        "|---|" + "---|" * len(SIZES),
    ]
    for claimed in CLAIMS:
        cells = []
        for number in SIZES:
            needed = None
            for epsilon in (e for e in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32) if e > claimed):
                shift = gaussian_shift(float(epsilon), delta=DELTA)
                caught = sum(
                    one_run.contradicts(
                        *draw(number, shift, 3, run), epsilon=claimed, delta=DELTA, confidence=CONFIDENCE, seed=run
                    )
                    for run in range(POWER_RUNS)
                )
                if caught >= 0.9 * POWER_RUNS:
                    needed = epsilon
                    break
            cells.append("no ε up to 32" if needed is None else f"{needed}")
        lines.append(f"| {claimed:g} | " + " | ".join(cells) + " |")
    return lines


def of_membership() -> list[str]:
    """Returns how often intervals of a membership AUC hold the truth."""
    lines = ["| true AUC | rows | lower end above 0.5 | interval holds the AUC | nominal |", "|---|---|---|---|---|"]
    for shift in (0.0, 0.25, 1.0):
        truth = 0.5 * (1.0 + math.erf(shift / 2.0))
        for rows in (400, 4000):
            above = held = 0
            for run in range(RUNS):
                found = strength(*draw(rows, shift, 4, run), confidence=CONFIDENCE)
                above += found.auc[1] > 0.5
                held += found.auc[1] <= truth <= found.auc[2]
            lines.append(f"| {truth:.3f} | {rows:,} | {above / RUNS:.1%} | {held / RUNS:.1%} | {CONFIDENCE:.0%} |")
    return lines


def of_rates() -> list[str]:
    """Returns how often intervals of a true-positive rate hold the truth."""
    lines = ["| true TPR | at FPR | rows | interval holds the TPR | nominal |", "|---|---|---|---|---|"]
    for shift in (0.0, 1.0):
        for rate, rows in ((0.01, 400), (0.01, 4000), (0.001, 2000), (0.001, 20_000)):
            truth = float(norm.sf(norm.ppf(1.0 - rate) - shift))
            held = 0
            for run in range(RUNS):
                found = true_positive_rate_at(
                    *draw(rows, shift, 5, run), false_positive_rate=rate, confidence=CONFIDENCE
                )
                # So few others that the rate is not given at all.
                held += found is None or found[1] <= truth <= found[2]
            lines.append(f"| {truth:.4f} | {rate:g} | {rows:,} | {held / RUNS:.1%} | ≥ {CONFIDENCE:.0%} |")
    return lines


def of_exposure() -> list[str]:
    """Returns the mean exposure of canaries that nothing is known of."""
    lines = ["| canaries | mean exposure of unknown ones, bits | expected | interval holds it |", "|---|---|---|---|"]
    for number in SIZES:
        means, held = [], 0
        for run in range(RUNS):
            scores, included = draw(number, 0.0, 6, run)
            found, _ = exposure.exposures(scores, included, seed=run)
            expected = exposure.null_mean(int((~included).sum()))
            half = 1.96 * math.sqrt(exposure.mean_variance(scores, included, seed=run))
            means.append(found.mean())
            held += abs(found.mean() - expected) <= half
        error = 1.96 * np.std(means) / math.sqrt(RUNS)
        expected = exposure.null_mean(number // 2)
        lines.append(f"| {number:,} | {np.mean(means):.3f} ± {error:.3f} | {expected:.3f} | {held / RUNS:.1%} |")
    return lines


SECTIONS = (
    (
        "Lower bound on ε: false alarms",
        f"Scores that know nothing of the coins; δ = {DELTA:g}, {RUNS:,} experiments each.",
        null_of_one_run,
    ),
    (
        "Lower bound on ε: what it shows of a Gaussian mechanism",
        f"Median bound, and in brackets how often it was above the true ε (nominal: at most 5 %); {POWER_RUNS} "
        "experiments each.",
        power_of_one_run,
    ),
    (
        "From which true ε on a claim is contradicted in nine of ten audits",
        "Gaussian mechanism. No bound of 10,000 canaries is above about 6, even when every guess is right: a "
        "claim of 8 is beyond their reach.",
        contradictions,
    ),
    ("Membership AUC", f"DeLong intervals on two normal distributions, {RUNS:,} experiments each.", of_membership),
    (
        "True-positive rate at a small false-positive rate",
        "Clopper-Pearson at thresholds from order statistics; conservative by construction.",
        of_rates,
    ),
    ("Exposure", "Scores that know nothing of the coins.", of_exposure),
)


def main() -> None:
    """Writes the tables."""
    parts = ["# How the attacks audit does where the truth is known", "", "Made by `make bench-attacks`.", ""]
    for title, words, make in SECTIONS:
        parts += [f"## {title}", "", words, "", *make(), ""]
    Path(__file__).with_suffix(".md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
