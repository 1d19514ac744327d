"""Reports of a made-up run, drawn row by row, so that sizes, rates and totals agree with one another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from probity.config import RunConfig
from probity.config_file import parse_config
from probity.data import (
    Anomalies,
    Anomaly,
    Column,
    ColumnKind,
    Dataset,
    FeatureSpec,
    Role,
    Schema,
    SensitiveAttribute,
    Transform,
    TransformConstant,
    TransformedFeature,
)
from probity.digest import digest_bytes
from probity.findings import AuditReport, Estimate, Finding, PrivacyStatement, Subject, finding_id
from probity.metric import METRICS
from probity.model import Federated, NonPrivate, TrainedModel

MODEL, EXAMPLES = digest_bytes(b"model"), digest_bytes(b"examples")
SUBJECT = Subject(model=MODEL, examples=EXAMPLES)
SEX, RACE = ("Female", "Male"), ("White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other")
THRESHOLDS = (0.25, 0.5, 0.75)
FEATURES = ("age", "workclass", "education_num", "occupation", "hours_per_week")
REASONS = {
    "performance": ("The exported model was scored on the test split; TFMA and the slice engine agree.",),
    "fairness": (
        "Passing these measures does not prove that a model is fair or ethical; they cover the groups and metrics that "
        "were chosen, on this data.",
    ),
    "explanations": (
        "Space: logit. The Shapley values of a row add up to its logit minus the base value.",
        "Background: 200 rows drawn uniformly without replacement (seed 7) from the training split.",
        "Explanations are for people to read and question; no verdict follows from them.",
    ),
    "data": (),
    "baseline": (),
}


def wilson(count: int, n: int) -> tuple[float, float]:
    z, p = 1.959963984540054, count / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def rate(count: int, n: int) -> Estimate:
    if n == 0:
        return Estimate(value=None, method="wilson", n=0)
    low, high = wilson(count, n)
    return Estimate(value=count / n, lower=low, upper=high, confidence=0.95, method="wilson", n=n)


def finding(audit: str, metric: str, estimate: Estimate, *, small: bool = False, **where: Any) -> Finding:
    slice_ = where.pop("slice_", {})
    insufficient = small or estimate.value is None
    reason = "not compared: groups below 100 rows" if "across" in where else f"{estimate.n} rows, fewer than 100"
    return Finding(
        id=finding_id(audit, metric, slice_=slice_, **where),
        metric=metric,
        slice=slice_,
        estimate=estimate,
        direction=METRICS[metric].direction,
        evidence="insufficient" if insufficient else "sufficient",
        reason=reason if insufficient else None,
        **where,
    )


class Rows:
    """Drawn test rows with scores, and the findings on them as the audits would state them."""

    def __init__(self, *, shares: tuple[float, ...], rows: int = 9768, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.columns = {"sex": rng.choice(SEX, rows, p=[0.33, 0.67]), "race": rng.choice(RACE, rows, p=shares)}
        base = np.where(self.columns["sex"] == "Male", 0.31, 0.11)
        self.labels = rng.random(rows) < base
        self.scores = np.clip(rng.beta(2, 5, rows) + 0.45 * self.labels * rng.random(rows) ** 0.4, 0, 1)
        self.rows = rows
        self.missing = rng.random((rows, len(FEATURES))) < np.array([0, 0.06, 0, 0.06, 0])

    def slices(self) -> Iterator[tuple[dict[str, str], Any]]:
        yield {}, np.ones(self.rows, bool)
        for names in (("sex",), ("race",), ("sex", "race")):
            for groups in product(*({"sex": SEX, "race": RACE}[name] for name in names)):
                chosen = dict(zip(names, groups, strict=True))
                yield chosen, np.logical_and.reduce([self.columns[name] == group for name, group in chosen.items()])

    def performance(self) -> list[Finding]:
        found = []
        for slice_, rows in self.slices():
            n, labels = int(rows.sum()), self.labels[rows]
            small = bool(slice_) and n < 100
            where: dict[str, Any] = {"slice_": slice_, "small": small}
            count = Estimate(value=float(n), method="exact", n=n)
            found.append(finding("performance", "example_count", count, **where))
            auc = Estimate(value=0.9, lower=0.88, upper=0.92, confidence=0.95, method="delong", n=n)
            found.append(finding("performance", "auc", auc, **where))
            for at in THRESHOLDS:
                positive = self.scores[rows] > at
                for name, hit, of in (
                    ("accuracy", positive == labels, np.ones(n, bool)),
                    ("selection_rate", positive, np.ones(n, bool)),
                    ("true_positive_rate", positive, labels),
                    ("false_positive_rate", positive, ~labels),
                ):
                    total = int(of.sum())
                    few = {**where, "small": small or (bool(slice_) and total < 100)}
                    found.append(finding("performance", name, rate(int(hit[of].sum()), total), threshold=at, **few))
        return found

    def fairness(self) -> list[Finding]:
        performance = {entry.id: entry for entry in self.performance()}
        found = []
        for names in (("sex",), ("race",), ("sex", "race")):
            for metric, at in product(("selection_rate", "true_positive_rate", "accuracy"), THRESHOLDS):
                every = [
                    performance[finding_id("performance", metric, slice_=slice_, threshold=at)]
                    for slice_, rows in self.slices()
                    if tuple(slice_) == names
                ]
                sizes = [int(rows.sum()) for slice_, rows in self.slices() if tuple(slice_) == names]
                # As the fairness audit does: small groups are left out of the value.
                values = [float(e.estimate.value or 0.0) for e, n in zip(every, sizes, strict=True) if n >= 100]
                small = min(sizes) < 100
                gap, ratio = max(values) - min(values), min(values) / max(values)
                for kind, value in (("gap", gap), ("ratio", ratio)):
                    estimate = Estimate(
                        value=value,
                        lower=max(0.0, value - 0.03),
                        upper=value + 0.03,
                        confidence=0.95,
                        method="bootstrap",
                        n=self.rows,
                    )
                    where = {"across": names, "comparison": kind, "threshold": at, "small": small}
                    found.append(finding("fairness", metric, estimate, **where))
        return found

    def data(self) -> list[Finding]:
        found = []
        for slice_, rows in self.slices():
            n = int(rows.sum())
            where: dict[str, Any] = {"slice_": slice_, "small": bool(slice_) and n < 100}
            if slice_:
                found.append(finding("data", "group_share", rate(n, self.rows), **where))
            found.append(finding("data", "positive_label_rate", rate(int(self.labels[rows].sum()), n), **where))
            if len(slice_) < 2:
                for i, feature in enumerate(FEATURES):
                    missing = rate(int(self.missing[rows, i].sum()), n)
                    found.append(finding("data", "missing_rate", missing, feature=feature, **where))
        for feature, name in product(FEATURES, ("sex", "race")):
            strength = Estimate(value=0.61, lower=0.6, upper=0.62, confidence=0.95, method="delong", n=self.rows)
            found.append(finding("data", "proxy_strength", strength, feature=feature, across=(name,)))
        return found

    def explanations(self) -> list[Finding]:
        found = [finding("explanations", "additivity_error", Estimate(value=7.6e-6, method="exact", n=1000))]
        for i, feature in enumerate(FEATURES):
            for slice_, rows in self.slices():
                if len(slice_) > 1:
                    continue
                n = int(rows.sum())
                small = bool(slice_) and n < 100
                value = 1.2 / (i + 1) + 0.05 * len(slice_)
                estimate = Estimate(
                    value=value,
                    lower=value * 0.95,
                    upper=value * 1.05,
                    confidence=0.95,
                    method="normal",
                    n=max(n // 10, 100),
                )
                if small:
                    estimate = Estimate(value=None, method="normal", n=5)
                found.append(
                    finding("explanations", "mean_abs_shap", estimate, slice_=slice_, feature=feature, small=small)
                )
        return found

    def baseline(self) -> list[Finding]:
        estimate = Estimate(
            value=0.004, lower=-0.001, upper=0.009, confidence=0.95, method="paired bootstrap", n=self.rows
        )
        return [finding("baseline", "auc", estimate, comparison="change")]


def privacy() -> AuditReport:
    return AuditReport(
        audit="privacy",
        status="complete",
        subject=SUBJECT,
        findings=(
            finding("privacy", "epsilon", Estimate(value=math.inf, method="exact", n=29_000)),
            finding("privacy", "delta", Estimate(value=0.0, method="exact", n=29_000)),
        ),
        privacy_statement=PrivacyStatement(
            epsilon=math.inf,
            delta=0.0,
            unit="row",
            neighbouring_relation="one row added or removed",
            accountant="none needed",
            sampling="shuffled",
            assumptions=(),
            not_covered=("vocabularies and quantiles of the transform",),
            text="The model was trained without differential privacy: epsilon is infinite.",
        ),
    )


def reports_of(rows: Rows) -> dict[str, AuditReport]:
    made = {
        name: AuditReport(
            audit=name,
            status="complete",
            subject=SUBJECT,
            reasons=REASONS[name],
            findings=tuple(getattr(rows, name)()),
        )
        for name in ("performance", "fairness", "data", "explanations", "baseline")
    }
    return {**made, "privacy": privacy()}


RARE = (0.855, 0.096, 0.031, 0.0096, 0.0084)
"""Shares of race as in the census data: two groups below 100 test rows, together above."""
LONE = (0.855, 0.1, 0.02, 0.02, 0.005)
"""One group alone below 100 test rows."""


@pytest.fixture(scope="session")
def reports() -> dict[str, AuditReport]:
    return reports_of(Rows(shares=RARE))


@pytest.fixture(scope="session")
def lone_reports() -> dict[str, AuditReport]:
    return reports_of(Rows(shares=LONE))


def run_config(**changes: Any) -> RunConfig:
    value: dict[str, Any] = {
        "name": "adult-income",
        "data": {
            "source": "adult.csv.gz",
            "label": {"column": "income", "positive": ">50K"},
            "sensitive": ["sex", "race"],
        },
        "model": {"kind": "mlp", "hidden": [128, 64]},
        "audits": {"min_group_size": 100},
        "gate": {
            "rules": [
                {"name": "quality floor", "metric": "auc", "at_least": 0.88},
                {"name": "equal opportunity", "metric": "true_positive_rate", "across": "sex", "gap_at_most": 0.15},
            ]
        },
        "serving": {"model_name": "adult_income"},
        "card": {
            "owner": "Income statistics group",
            "intended_use": "Teaching, and comparing methods on a public data set.",
            "limitations": ["The data is from 1994.", "Only two sexes are recorded."],
        },
    }
    return parse_config({**value, **changes})


@pytest.fixture(scope="session")
def parts() -> dict[str, Any]:
    return card_parts()


def card_parts() -> dict[str, Any]:
    """Everything that compose needs beside the reports."""
    feature, sensitive, label = Role.FEATURE, Role.SENSITIVE, Role.LABEL
    columns = tuple(Column(name=name, kind=ColumnKind.TEXT, roles=(feature,)) for name in FEATURES)
    columns += tuple(Column(name=name, kind=ColumnKind.TEXT, roles=(sensitive,)) for name in ("sex", "race"))
    columns += (Column(name="income", kind=ColumnKind.TEXT, roles=(label,)),)
    fixed = digest_bytes(b"fixed")
    return {
        "run": "adult-income-20260102-030405",
        "created_at": "2026-01-02T03:04:05Z",
        "config": run_config(),
        "dataset": Dataset(
            name="adult-income",
            source="adult.csv.gz",
            source_format="csv",
            source_digest=fixed,
            content_digest=fixed,
            num_rows=48_842,
            columns=columns,
            excluded=("fnlwgt", "education"),
            label="income",
            positive=">50K",
            sensitive=(
                SensitiveAttribute(name="sex", column="sex", groups=SEX),
                SensitiveAttribute(name="race", column="race", groups=RACE),
            ),
            intersections=(("sex", "race"),),
            split_rule="hash buckets of the row's content: 6 train, 2 eval, 2 test",
            licence="CC BY 4.0",
            citation="Becker & Kohavi 1996, UCI Machine Learning Repository",
        ),
        "split_rows": {"train": 29_305, "eval": 9_769, "test": 9_768},
        "schema": Schema(
            digest=fixed,
            curated=False,
            features=tuple(FeatureSpec(name=name, kind=ColumnKind.TEXT, required=False) for name in FEATURES),
        ),
        "anomalies": Anomalies(
            schema_digest=fixed,
            anomalies=(
                Anomaly(split="eval", feature="occupation", severity="warning", reason="NEW_VALUE", description="…"),
            ),
        ),
        "transform": Transform(
            digest=fixed,
            inputs=tuple(column for column in columns if column.is_feature),
            outputs=tuple(TransformedFeature(name=f"{name}_xf", source=name, width=4) for name in FEATURES),
            constants=(TransformConstant(feature="age", kind="quantiles", source="training data"),),
        ),
        "model": TrainedModel(
            trainer="plain",
            mechanism=NonPrivate(),
            digest=MODEL,
            weights=fixed,
            train_examples=fixed,
            transform=fixed,
            settings={"epochs": 8, "batch_size": 256, "learning_rate": 0.001},
            seed=7,
            num_train_examples=29_305,
            num_train_units=29_305,
            num_parameters=32_129,
            steps=920,
            epochs=8,
            best_epoch=6,
            chosen_on_eval=True,
            history={"loss": (0.4, 0.3)},
            environment={"python": "3.11.7", "tensorflow": "2.15.1"},
        ),
    }


@pytest.fixture(scope="session")
def make_config() -> Callable[..., RunConfig]:
    return run_config


@pytest.fixture(scope="session")
def small_reports() -> dict[str, AuditReport]:
    """Few numbers, all written by hand, one group below the minimum."""
    found = [finding("performance", "auc", Estimate(value=0.9, method="delong", n=1000))]
    for group, (hits, n) in {"Female": (90, 300), "Male": (350, 700)}.items():
        where = {"slice_": {"sex": group}, "threshold": 0.5}
        found.append(finding("performance", "selection_rate", rate(hits, n), **where))
    for group, (hits, n) in {"White": (390, 900), "Black": (20, 60), "Other": (10, 40)}.items():
        where = {"slice_": {"race": group}, "threshold": 0.5, "small": n < 100}
        found.append(finding("performance", "selection_rate", rate(hits, n), **where))
    gap = Estimate(value=0.2, lower=0.14, upper=0.26, confidence=0.95, method="newcombe", n=1000)
    fairness = (finding("fairness", "selection_rate", gap, across=("sex",), comparison="gap", threshold=0.5),)
    made = {"performance": tuple(found), "fairness": fairness}
    return {
        **{
            name: AuditReport(audit=name, status="complete", subject=SUBJECT, reasons=REASONS[name], findings=findings)
            for name, findings in made.items()
        },
        "explanations": AuditReport(
            audit="explanations", status="not_applicable", subject=SUBJECT, reasons=("the model has two outputs",)
        ),
        "privacy": privacy(),
    }


@pytest.fixture(scope="session")
def federated_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """The same run, trained over made-up clients with a simulated secure sum."""
    settings = {
        "clients": {"number": 100, "partition": "dirichlet", "alpha": 0.3},
        "local": {"epochs": 1, "batch_size": 32, "learning_rate": 0.5},
        "server": {"optimizer": "fedprox", "learning_rate": 1.0, "proximal_strength": 0.01},
        "compression": "none",
    }
    mechanism = Federated(num_clients=100, clients_per_round=20, rounds=50, secure_aggregation="simulated")
    model = parts["model"].model_copy(update={"trainer": "federated", "mechanism": mechanism, "settings": settings})
    public = TransformConstant(feature="age", kind="quantiles", source="config")
    return {**parts, "model": model, "transform": parts["transform"].model_copy(update={"constants": (public,)})}


@pytest.fixture(scope="session")
def federated_reports(small_reports: dict[str, AuditReport]) -> dict[str, AuditReport]:
    """With a report on the clients: one of them has fewer rows than may be told, one third too few test rows."""
    exact = {"client_count": (100, 100), "smallest_client": (3, 100), "median_client": (251, 100)}
    exact |= {"largest_client": (1400, 100), "label_skew": (0.21, 100), "round_participation": (18.5, 50)}
    exact |= {"client_dropout_rate": (0.075, 1000), "failed_updates": (0, 1000)}
    found = [
        finding("federation", name, Estimate(value=float(value), method="exact", n=n))
        for name, (value, n) in exact.items()
    ]
    found.append(finding("federation", "lowest_client_accuracy", rate(90, 120), threshold=0.5))
    for group, (hits, n) in {"fewest rows": (41, 50), "middle": (290, 350), "most rows": (500, 600)}.items():
        where: dict[str, Any] = {"slice_": {"clients": group}, "threshold": 0.5, "small": n < 100}
        found.append(finding("federation", "client_group_accuracy", rate(hits, n), **where))
    reasons = ("Clients: 100 simulated clients, dirichlet(0.3).",)
    report = AuditReport(
        audit="federation", status="complete", subject=SUBJECT, reasons=reasons, findings=tuple(found)
    )  # fmt: skip
    return {**small_reports, "federation": report}
