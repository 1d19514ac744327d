"""The slice engine beside fairlearn's MetricFrame and TensorFlow Model Analysis, on the same rows, in one process.

    python benchmarks/slice_engine.py [--rows 1000000] [--fairlearn-rows 100000] [--tfma-rows 20000] [--repeats 3]

Five metrics (selection rate, TPR, FPR, accuracy, precision) over sex, race and sex x race at threshold 0.5. The peers
get fewer rows, because they would need many minutes; each is compared with the engine on the same rows or, for TFMA,
on as many. Engine and peer take turns, so that a busy machine slows them alike, and the table gives medians. TFMA also
scores the rows with the SavedModel, computes AUC and starts a Beam pipeline each time. Memory is the peak that
tracemalloc saw beyond the rows.

Writes benchmarks/slice_engine.md.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from probity.audits import evaluation
from probity.audits.scoring import ScoredRows
from probity.audits.slices import confusion, rate_counts
from probity.audits.testing import make_evidence

METRICS = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy", "precision")
GROUPINGS = (("sex",), ("race",), ("sex", "race"))
NAMES = {"sex": ("Female", "Male"), "race": ("A", "B", "C", "D", "E")}
THRESHOLD = 0.5


def drawn(rows: int) -> ScoredRows:
    """Draws scored rows with as many groups as the Adult data has."""
    rng = np.random.default_rng(0)
    scores = rng.random(rows, dtype=np.float32)
    codes = {name: rng.integers(0, len(groups), rows).astype(np.int32) for name, groups in NAMES.items()}
    return ScoredRows(scores=scores, labels=rng.random(rows) < scores, groups=codes, names=NAMES)


def part(rows: ScoredRows, count: int) -> ScoredRows:
    """Returns the first rows."""
    codes = {name: values[:count] for name, values in rows.groups.items()}
    return ScoredRows(scores=rows.scores[:count], labels=rows.labels[:count], groups=codes, names=rows.names)


def engine(rows: ScoredRows) -> dict[str, float]:
    """Measures with the slice engine."""
    found = {}
    for grouping, table in confusion(rows, groupings=GROUPINGS, thresholds=[THRESHOLD]).items():
        for metric in METRICS:
            successes, trials = rate_counts(metric, table)
            for group, slice_ in enumerate(table.slices):
                name = "|".join(slice_[attribute] for attribute in grouping)
                found[f"{metric} {name}"] = float(successes[group, 0] / trials[group, 0])
    return found


def metric_frame(rows: ScoredRows) -> dict[str, float]:
    """Measures with fairlearn."""
    from fairlearn import metrics as fairlearn

    functions = {
        "selection_rate": fairlearn.selection_rate,
        "true_positive_rate": fairlearn.true_positive_rate,
        "false_positive_rate": fairlearn.false_positive_rate,
        "accuracy": lambda y_true, y_pred: np.mean(y_true == y_pred),
        "precision": lambda y_true, y_pred: np.mean(y_true[y_pred]),
    }
    predicted = rows.scores > THRESHOLD
    columns = {name: np.array(rows.names[name])[codes] for name, codes in rows.groups.items()}
    found = {}
    for grouping in GROUPINGS:
        features = {name: columns[name] for name in grouping}
        frame = fairlearn.MetricFrame(
            metrics=functions, y_true=rows.labels, y_pred=predicted, sensitive_features=features
        )
        for metric in METRICS:
            for key, value in frame.by_group[metric].items():
                name = "|".join(key) if isinstance(key, tuple) else key
                found[f"{metric} {name}"] = float(value)
    return found


def tfma_runner(count: int, folder: Path) -> Callable[[], None]:
    """Returns a run of TFMA over a small SavedModel and as many serialized examples."""
    evidence = make_evidence(folder, rows=count)
    scored = evidence.scored
    turn = iter(range(1_000_000))

    def run() -> None:
        evaluation.evaluate(
            evidence.model_folder / "saved_model",
            evidence.examples.path("test"),
            labels=scored.labels,
            codes={name: scored.groups[name] for name in ("sex", "race")},
            names=scored.names,
            groupings=GROUPINGS,
            thresholds=[THRESHOLD],
            output=folder / f"result{next(turn)}",
        )

    return run


def timed(run: Callable[[], object]) -> float:
    """Returns seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak(run: Callable[[], object]) -> float:
    """Returns the largest memory that Python held during a run, in MiB."""
    tracemalloc.start()
    run()
    found = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return found


def main() -> None:
    """Runs the comparison and writes the table."""
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 1_000_000), ("fairlearn-rows", 100_000), ("tfma-rows", 20_000), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = drawn(given.rows)
    some, few = part(rows, given.fairlearn_rows), part(rows, given.tfma_rows)
    apart = _largest_difference(some)
    with tempfile.TemporaryDirectory() as folder:
        peers = {
            "fairlearn MetricFrame": (some, lambda: metric_frame(some)),
            "TensorFlow Model Analysis": (few, tfma_runner(given.tfma_rows, Path(folder))),
        }
        compared = [(name, *_compare(same, peer, given.repeats)) for name, (same, peer) in peers.items()]
    speed = given.rows / statistics.median(timed(lambda: engine(rows)) for _ in range(7))
    memory = [(count, peak(lambda count=count: engine(part(rows, count)))) for count in _sizes(given.rows)]
    text = _table(given, compared, memory, speed=speed, apart=apart)
    (Path(__file__).parent / "slice_engine.md").write_text(text)
    sys.stdout.write(text)


def _largest_difference(rows: ScoredRows) -> float:
    mine, theirs = engine(rows), metric_frame(rows)
    assert mine.keys() == theirs.keys()
    return max(abs(mine[name] - theirs[name]) for name in mine)


def _compare(rows: ScoredRows, peer: Callable[[], object], repeats: int) -> tuple[int, float, float]:
    """Returns rows, median seconds of the engine and of the peer, in turns, after one of each that is not counted."""
    engine(rows)
    peer()
    turns = [(timed(lambda: engine(rows)), timed(peer)) for _ in range(repeats)]
    mine, theirs = (statistics.median(taken) for taken in zip(*turns, strict=True))
    return len(rows), mine, theirs


def _sizes(rows: int) -> tuple[int, ...]:
    return rows // 4, rows // 2, rows


def _table(
    given: argparse.Namespace,
    compared: list[tuple[str, int, float, float]],
    memory: list[tuple[int, float]],
    *,
    speed: float,
    apart: float,
) -> str:
    lines = [
        "# Slice engine",
        "",
        "Five metrics over sex, race and sex x race at one threshold; written by `python benchmarks/slice_engine.py`",
        f"(medians of {given.repeats} turns, engine and peer in alternation in one process, one thread; Python",
        f"{platform.python_version()}, NumPy {np.__version__}, {platform.machine()}). Only the ratios carry over to",
        "another machine. TFMA's time includes scoring with the SavedModel, AUC and the start of a Beam pipeline.",
        "",
        "| peer | rows | peer, seconds | engine, seconds | ratio |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {rows:,} | {theirs:.3g} | {mine:.3g} | {theirs / mine:,.0f} |"
            for name, rows, mine, theirs in compared
        ),
        "",
        f"The engine alone, {given.rows:,} rows: {speed / 1e6:.0f} million rows per second.",
        f"Largest difference between the engine and fairlearn over all {len(METRICS)} metrics and groups: {apart:.1g}.",
        "",
        "| rows | engine's peak memory beyond the rows, MiB |",
        "|---|---|",
        *(f"| {count:,} | {found:.2f} |" for count, found in memory),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
