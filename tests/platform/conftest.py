"""A finished run on disk, made of small true nouns and no TensorFlow: what lineage and tracking read; and a webhook."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from probity import runs
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
    SplitFile,
    Statistics,
    Transform,
    TransformConstant,
    TransformedFeature,
)
from probity.decision import Check, GateDecision, Release
from probity.digest import digest_bytes, digest_file
from probity.findings import AuditReport, Estimate, Finding, PrivacyStatement, Subject, finding_id
from probity.model import NonPrivate, TrainedModel
from probity.runs import Receipt, RunFolder
from probity.storage import write_atomically, write_record
from probity.workspace import Workspace

STAGES = {
    "ingest": (),
    "statistics": ("ingest",),
    "schema": ("ingest", "statistics"),
    "anomalies": ("statistics", "schema"),
    "transform": ("ingest", "schema"),
    "train": ("ingest", "transform"),
    "score": ("ingest", "train"),
    "performance": ("ingest", "train", "score"),
    "privacy": ("ingest", "train", "score"),
    "card": ("ingest", "anomalies", "transform", "train", "performance", "privacy"),
    "gate": ("ingest", "train", "card", "performance", "privacy"),
    "release": ("train", "card", "gate"),
}
"""Each stage with those it reads."""


def digest_of(text: str) -> str:
    return digest_bytes(text.encode())


class FinishedRun:
    """Writes the stages of a run one by one, as the pipeline does, and keeps their receipts."""

    stages = STAGES

    def __init__(self, root: Path, *, seed: int = 7, data: str = "data", **config):
        self.workspace = Workspace(root)
        self.config = make_config(seed=seed, **config)
        self.folder: RunFolder = self.workspace.new_run(self.config.name)
        self.seed, self.data = seed, data
        value = yaml.safe_dump({"config": self.config.to_json(), "config_folder": "..", "environment": {}})
        write_atomically(self.folder.path / runs.CONFIG, value.encode())

    def perform(self, stage: str, *, reused_from: str | None = None) -> Receipt:
        before = {path for path in self.folder.path.rglob("*") if path.is_file()}
        getattr(self, f"_{stage}")(self.folder.path)
        files = sorted(path for path in self.folder.path.rglob("*") if path.is_file() and path not in before)
        receipt = Receipt(
            stage=stage,
            key=digest_of(f"{stage} {self.seed} {self.data}"),
            outputs={path.relative_to(self.folder.path).as_posix(): digest_file(path) for path in files},
            seconds=0.5,
            reused_from=reused_from,
            finished_at=datetime.now(UTC).isoformat(),
        )
        self.folder.write_receipt(receipt)
        return receipt

    def complete(self, *, until: str = "release") -> FinishedRun:
        for stage in STAGES:
            self.perform(stage)
            if stage == until:
                break
        return self

    @property
    def subject(self) -> Subject:
        return Subject(model=self.folder.model().digest, examples=self.folder.examples().files["test"].digest)

    def _ingest(self, out: Path) -> None:
        write_record(out / runs.DATASET, make_dataset(self.data))
        files = {}
        for split in ("train", "eval", "test"):
            path = out / runs.EXAMPLES / f"{split}.tfrecord.gz"
            write_atomically(path, f"{split} of {self.data}".encode())
            files[split] = SplitFile(path=path.name, digest=digest_file(path), num_rows=100)
        runs.write_splits(out / runs.EXAMPLES, files)

    def _statistics(self, out: Path) -> None:
        made = Statistics(splits={"train": "train.pb"}, groups={}, group_counts={"train": {"sex=Female": 3}})
        write_record(out / runs.STATISTICS / "statistics.json", made)

    def _schema(self, out: Path) -> None:
        write_atomically(out / runs.SCHEMA, b"feature { name: 'age' }")
        feature = FeatureSpec(name="age", kind=ColumnKind.INT, required=True)
        made = Schema(digest=digest_file(out / runs.SCHEMA), curated=False, features=(feature,))
        write_record(out / runs.SCHEMA_RECORD, made)

    def _anomalies(self, out: Path) -> None:
        warning = Anomaly(split="eval", feature="age", severity="warning", reason="RARE", description="seldom there")
        made = Anomalies(schema_digest=self.folder.schema().digest, anomalies=(warning,))
        write_record(out / runs.ANOMALIES, made)

    def _transform(self, out: Path) -> None:
        write_atomically(out / runs.TRANSFORM / "transform_fn" / "saved_model.pb", self.data.encode())
        made = Transform(
            digest=digest_of(f"transform of {self.data}"),
            inputs=(Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE,)),),
            outputs=(TransformedFeature(name="age_xf", source="age", width=4),),
            constants=(TransformConstant(feature="age", kind="quantiles", source="training data"),),
        )
        write_record(out / runs.TRANSFORM / "transform.json", made)

    def _train(self, out: Path) -> None:
        made = TrainedModel(
            trainer="plain",
            mechanism=NonPrivate(),
            digest=digest_of(f"model {self.seed} of {self.data}"),
            weights=digest_of("weights"),
            train_examples=digest_of("train"),
            transform=self.folder.transform().digest,
            settings={"epochs": 2, "learning_rate": 0.001},
            seed=self.seed,
            num_train_examples=100,
            num_train_units=100,
            num_parameters=9,
            steps=4,
            epochs=2,
            best_epoch=2,
            chosen_on_eval=True,
            history={"loss": (0.5, 0.25), "val_auc": (0.7, 0.8)},
            environment={"python": "3.11"},
        )
        write_atomically(out / runs.MODEL / "saved_model" / "saved_model.pb", f"{self.seed}".encode())
        write_record(out / runs.MODEL / "model.json", made)

    def _score(self, out: Path) -> None:
        write_atomically(out / runs.SCORED_ROWS, f"scores {self.seed}".encode())

    def _performance(self, out: Path) -> None:
        findings = (
            make_finding("auc", 0.9, n=500),
            *(make_finding("example_count", size, n=size, slice_={"sex": sex}) for sex, size in SIZES.items()),
            *(
                make_finding("true_positive_rate", 0.6, n=size, slice_={"sex": sex}, threshold=0.5)
                for sex, size in SIZES.items()
            ),
        )
        made = AuditReport(audit="performance", status="complete", subject=self.subject, findings=findings)
        write_record(out / runs.AUDITS / "performance.json", made)

    def _privacy(self, out: Path) -> None:
        statement = PrivacyStatement(
            epsilon=float("inf"),
            delta=0.0,
            unit="row",
            neighbouring_relation="add or remove one row",
            accountant="none",
            sampling="shuffled",
            assumptions=(),
            not_covered=(),
            text="No differential privacy.",
        )
        made = AuditReport(
            audit="privacy",
            status="complete",
            subject=self.subject,
            findings=(make_finding("epsilon", float("inf"), n=100, audit="privacy"),),
            privacy_statement=statement,
        )
        write_record(out / runs.AUDITS / "privacy.json", made)

    def _card(self, out: Path) -> None:
        for name in ("card.json", "card.md", "card.html"):
            write_atomically(out / runs.CARD / name, f"{name} {self.folder.id}".encode())

    def _gate(self, out: Path) -> None:
        check = Check(rule="four fifths", outcome="fail", required="ratio >= 0.8", observed=0.3, reason="too low")
        floor = Check(rule="floor", outcome="pass", required="auc >= 0.5", evidence=("performance/auc",), reason="so")
        held = bool(self.config.gate.rules)
        made = GateDecision(
            verdict="hold" if held else "release",
            model=self.folder.model().digest,
            policy=digest_of("policy"),
            card=digest_file(out / runs.CARD / "card.json"),
            checks=(floor, check) if held else (floor,),
        )
        write_record(out / runs.DECISION, made)

    def _release(self, out: Path) -> None:
        decision = self.folder.decision()
        made = Release(
            run=self.folder.id,
            model_name="m",
            version=1767312000,
            path="serving/m/1767312000",
            model=decision.model,
            card=decision.card,
            decision=decision.record_digest(),
            dataset=self.folder.dataset().content_digest,
            released_at="2026-01-02T00:00:00+00:00",
        )
        write_record(out / runs.RELEASE, made)


SIZES = {"Female": 150, "Male": 340, "Other": 10}
"""Rows of each group; one is below the minimum size."""


def make_finding(metric, value, *, n, slice_=None, threshold=None, audit="performance", **changes) -> Finding:
    fields = {
        "id": finding_id(audit, metric, slice_=slice_, threshold=threshold),
        "metric": metric,
        "slice": slice_ or {},
        "threshold": threshold,
        "estimate": Estimate(value=value, method="exact", n=n),
        "direction": "neither",
    }
    return Finding(**{**fields, **changes})


def make_config(*, seed: int = 7, **changes) -> RunConfig:
    value = {
        "name": "a",
        "seed": seed,
        "data": {"source": "a.csv", "label": {"column": "y", "positive": ">50K"}, "sensitive": ["sex"]},
        "model": {"kind": "logistic"},
        "trainer": {"name": "plain", "epochs": 2},
        "serving": {"model_name": "m"},
    }
    return parse_config({**value, **changes})


def make_dataset(data: str) -> Dataset:
    return Dataset(
        name="a",
        source="a.csv",
        source_format="csv",
        source_digest=digest_of(f"bytes of {data}"),
        content_digest=digest_of(f"rows of {data}"),
        num_rows=500,
        columns=(
            Column(name="age", kind=ColumnKind.INT, roles=(Role.FEATURE,)),
            Column(name="sex", kind=ColumnKind.TEXT, roles=(Role.SENSITIVE,)),
            Column(name="y", kind=ColumnKind.TEXT, roles=(Role.LABEL,)),
        ),
        label="y",
        positive=">50K",
        sensitive=(SensitiveAttribute(name="sex", column="sex", groups=tuple(SIZES)),),
        split_rule="hash",
    )


@pytest.fixture
def make_run(tmp_path):
    """Returns a factory of runs in one workspace."""

    def make(**options) -> FinishedRun:
        return FinishedRun(tmp_path / "workspace", **options)

    return make


@pytest.fixture
def listener():
    """A web server that keeps what is posted to it."""
    taken = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(500 if "broken" in self.path else 200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Taker)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    server.server_close()


def _small_rows(count, *, chance):
    for _ in range(count):
        age = chance.randrange(18, 70)
        yield (
            age,
            chance.choice(["0.5", "1.5", "", "4"]),
            chance.choice(["clerk", "baker", ""]),
            chance.choice(["F", "F", "M"]),
            chance.randrange(100),
            "yes" if chance.random() < 0.3 + (age > 45) * 0.3 else "no",
        )


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A small data set, read and profiled: gaps, a banded feature, an empty declared group, a privacy unit."""
    import random
    from types import SimpleNamespace

    from probity.data_source import DataConfig
    from probity.platform.ingest import ingest
    from probity.platform.profile import profile

    root = tmp_path_factory.mktemp("small")
    rows = _small_rows(600, chance=random.Random(5))  # noqa: S311
    lines = ["age,wage,job,sex,person,y", *(",".join(map(str, row)) for row in rows)]
    (root / "data.csv").write_text("\n".join(lines) + "\n")
    config = DataConfig.model_validate(
        {
            "source": "data.csv",
            "label": {"column": "y", "positive": "yes"},
            "sensitive": [
                {"column": "sex", "groups": ["X"]},
                {"column": "age", "bins": [30, 50], "name": "age_band", "also_feature": True},
            ],
            "intersections": [["sex", "age_band"]],
            "privacy_unit": {"column": "person"},
        }
    )
    for name in ("examples", "statistics"):
        (root / name).mkdir()
    dataset, examples = ingest(config, name="small", root=root, out=root / "examples")
    statistics = profile(examples, dataset, out=root / "statistics")
    return SimpleNamespace(
        root=root, config=config, dataset=dataset, examples=examples, statistics=statistics, folder=root / "statistics"
    )
