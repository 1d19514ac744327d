"""Looks at a released model that answers: which versions, what is measured, what asks for another run, what follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probity import runs
from probity.audits.scoring import ScoredRows
from probity.audits.task_rows import ClassifiedRows, PredictedRows
from probity.config_file import load_config
from probity.data import Dataset, SplitFile
from probity.digest import digest_file
from probity.errors import ConfigError, SignatureError
from probity.history import EvidenceExpired, history_path
from probity.monitoring import MonitoringReport
from probity.platform.monitoring import monitor
from probity.platform.monitoring.feedback import add_feedback, read_feedback
from probity.platform.monitoring.monitor import look, watched
from probity.platform.monitoring.prediction_log import ParquetLog
from probity.platform.monitoring.server_metrics import ServerCounts
from probity.platform.monitoring.service import look_and_act
from probity.platform.release.project import Project
from probity.platform.release.push import push
from probity.platform.release.rollback import roll_back
from probity.platform.rollout.membership import Membership
from probity.platform.serving.prediction_log import Prediction
from probity.storage import read_record, write_record
from probity.tfexample import write_table
from tests.platform.conftest import FinishedRun
from tests.platform.release.candidates import NOON, Candidate, keys_at

ROWS = 400
NOW = NOON + timedelta(days=10)
LIMITS = {"min_rows": 100, "min_group_size": 50, "retrain_after_days": 30}


def ages(rows: int = ROWS, *, mean: float = 40.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 8.0, rows).round()


def scores_of(rows: int = ROWS, *, chosen: float = 0.4) -> np.ndarray:
    """Scores of which a share is above the threshold, shuffled alike for equal numbers of rows."""
    found = np.where(np.arange(rows) < rows * chosen, 0.9, 0.1)
    return np.random.default_rng(1).permutation(found)


class Served:
    """A released run with small true files, and the log of its server."""

    def __init__(self, root: Path):
        self.root, self.log = root, root / "predictions"
        self.workspace_root = root / ".probity"
        made = FinishedRun(self.workspace_root, monitoring=LIMITS)
        self.workspace, self.run = made.workspace, made.complete(until="gate").folder
        self.project = Project.of_run(self.run)
        self.release = self.push(self.run.id, now=NOON)
        write_record(self.run.path / runs.RELEASE, self.release)
        self._write_rows()

    def push(self, run: str, *, now: datetime):
        candidate = Candidate(self.root / run, content=run.encode(), run=run)
        keys = keys_at(self.root)
        arguments = candidate.push_arguments(base_path=self.project.base_path, keys=keys, now=lambda: now)
        return push(candidate.model, **arguments)

    def answer(self, scores, *, at=NOW - timedelta(hours=1), version=None, inputs=None, name="p", shape=(-1, 1)):
        """Logs answers to one request with many rows; ``inputs`` are ages."""
        log = ParquetLog(self.log, inputs="none" if inputs is None else "all")
        log.record(
            Prediction(
                tracking_id=name,
                model_name="m",
                version=version or self.release.version,
                signature_name="predict_columns",
                inputs={} if inputs is None else {"age": np.asarray(inputs, np.float32)},
                outputs={"scores": np.asarray(scores, np.float32).reshape(shape)},
                answered_at=at.timestamp(),
            )
        )
        log.close()

    def look(self, *, membership=None, manual=None, now=NOW) -> MonitoringReport:
        entry = watched(
            self.run,
            predictions=self.log,
            feedback=read_feedback(self.root / "feedback"),
            membership=membership,
            days=7.0,
            now=now,
        )
        return look(entry, self.run.config().monitoring, manual=manual)

    def act(self, **options):
        return look_and_act(
            self.run,
            workspace=self.workspace,
            predictions=self.log,
            groups=None,
            register=self.root / "feedback",
            days=7.0,
            **{"now": NOW, **options},
        )

    def expirations(self) -> list[EvidenceExpired]:
        entries = self.project.verified_history()
        return [entry.event for entry in entries if isinstance(entry.event, EvidenceExpired)]

    def _write_rows(self):
        sex = np.arange(ROWS, dtype=np.int32) % 2
        audited = ScoredRows(
            scores=scores_of().astype(np.float32),
            labels=scores_of() > 0.5,
            groups={"sex": sex},
            names={"sex": ("Female", "Male")},
        )
        audited.write(self.run.path / runs.SCORED_ROWS)
        path = self.run.path / runs.EXAMPLES / "train.tfrecord.gz"
        table = pa.table({"age": pa.array(ages(seed=2), pa.int64()), "sex": ["F"] * ROWS, "y": ["no"] * ROWS})
        write_table(path, table)
        split = SplitFile(path=path.name, digest=digest_file(path), num_rows=ROWS)
        files = {**self.run.examples().files, "train": split}
        (self.run.path / runs.EXAMPLES / "splits.json").unlink()
        runs.write_splits(self.run.path / runs.EXAMPLES, files)


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def statuses(report: MonitoringReport) -> dict[tuple[str, str], str]:
    return {(entry.kind, entry.of): entry.status for entry in report.measures}


def test_after_a_rollback_what_the_new_number_answers_is_read(served):
    other = served.push("other", now=NOON + timedelta(days=1))
    back = roll_back(served.project, why="complaints", now=lambda: NOON + timedelta(days=2))
    served.answer(scores_of(), version=other.version, name="q")
    served.answer(scores_of(), version=back.version)
    report = served.look()
    assert (report.version, report.versions) == (back.version, (served.release.version, back.version))
    assert (report.rows, report.conclusive, report.trigger) == (ROWS, True, None)


def test_an_id_that_two_versions_of_the_model_answered_counts_once_with_the_later_answer(served):
    served.push("other", now=NOON + timedelta(days=1))
    back = roll_back(served.project, now=lambda: NOON + timedelta(days=2))
    served.answer(scores_of(), version=back.version, at=NOW - timedelta(hours=1))
    served.answer(np.full(ROWS, np.nan), version=served.release.version, at=NOW - timedelta(hours=2))
    report = served.look()
    assert report.rows == ROWS
    assert statuses(report)["not_finite", "score"] == "within"


def test_a_history_that_was_changed_is_no_basis_for_a_look(served):
    path = history_path(served.project.base_path, "m")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(SignatureError, match=r"m\.history\.jsonl"):
        served.look()


def test_a_run_without_a_release_is_refused(served):
    (served.run.path / runs.RELEASE).unlink()
    with pytest.raises(ConfigError, match="no release"):
        served.look()


def test_no_row_is_insufficient_and_not_conclusive(served):
    report = served.look()
    assert (report.rows, report.trigger, report.conclusive) == (0, None, False)
    assert statuses(report) == {
        ("age", "days since the release"): "within",
        ("skew", "all columns"): "insufficient",
        ("score_drift", "score"): "insufficient",
    }


def test_few_rows_are_as_inconclusive_as_none(served):
    served.answer(scores_of(60), inputs=ages(60))
    report = served.look()
    assert statuses(report)["not_finite", "score"] == "within"
    assert (report.rows, report.rows_with_inputs, report.conclusive) == (60, 60, False)


def test_rows_of_another_period_are_not_of_this_one(served):
    served.answer(scores_of(), at=NOW - timedelta(days=8))
    assert served.look().rows == 0


def test_new_rows_within_the_limits_ask_for_nothing(served):
    served.answer(scores_of(), inputs=ages(seed=3), at=NOW - timedelta(days=8), name="earlier")
    served.answer(scores_of(), inputs=ages(seed=4))
    report = served.look()
    assert (report.trigger, report.conclusive, report.beyond) == (None, True, ())
    assert {("skew", "age"), ("drift", "age"), ("missing", "age")} < statuses(report).keys()


def test_a_column_that_moved_is_drift(served):
    served.answer(scores_of(), inputs=ages(mean=70.0))
    report = served.look()
    assert statuses(report)["skew", "age"] == "beyond"
    assert report.trigger == "drift"


def test_a_column_that_left_the_period_before_is_drift(served):
    served.answer(scores_of(), inputs=ages(mean=70.0), at=NOW - timedelta(days=8), name="earlier")
    served.answer(scores_of(), inputs=ages(seed=4))
    found = statuses(served.look())
    assert (found["skew", "age"], found["drift", "age"]) == ("within", "beyond")


def test_values_that_the_schema_requires_and_nobody_sent_are_drift(served):
    sent = ages(seed=4)
    sent[:3] = np.nan
    served.answer(scores_of(), inputs=sent)
    report = served.look()
    (missing,) = report.beyond
    assert (missing.kind, missing.of, missing.observed) == ("missing", "age", 3 / ROWS)
    assert report.trigger == "drift"


def test_scores_that_are_no_numbers_are_a_degradation(served):
    scores = scores_of()
    scores[:2] = np.nan
    served.answer(scores)
    report = served.look()
    (found,) = [entry for entry in report.measures if entry.kind == "not_finite"]
    assert (found.status, found.observed, found.n) == ("beyond", 2 / ROWS, ROWS)
    assert report.trigger == "degradation"


def test_a_drop_for_one_group_is_a_degradation_before_a_drift(served, tmp_path):
    scores, women = scores_of(), np.arange(ROWS) % 2 == 0
    scores[women] = 0.1
    served.answer(scores, inputs=ages(mean=70.0))
    sexes = np.where(women, "Female", "Male").tolist()
    table = pa.table({"tracking_id": [f"p/{row}" for row in range(ROWS)], "sex": sexes})
    pq.write_table(table, tmp_path / "groups.parquet")
    report = served.look(membership=Membership.read(tmp_path / "groups.parquet"))
    found = statuses(report)
    assert found["selection", "selection_rate of sex=Female"] == "beyond"
    assert found["selection", "selection_rate of sex=Male"] == "within"
    assert found["skew", "age"] == "beyond"
    assert report.trigger == "degradation"


def as_task(served, **changes):
    """Makes the run one of another task."""
    record = {**served.run.dataset().to_json(), "positive": None, **changes}
    write_record(served.run.path / runs.DATASET, Dataset.from_json(record))


def test_a_model_of_several_classes_is_watched_class_by_class(served):
    as_task(served, task="multiclass", classes=["no", "later", "yes"])
    chosen = np.arange(ROWS) % 3
    scores = np.full((ROWS, 3), 0.1, np.float32)
    scores[np.arange(ROWS), chosen] = 0.8
    sex = {"groups": {"sex": np.arange(ROWS, dtype=np.int32) % 2}, "names": {"sex": ("Female", "Male")}}
    rows = ClassifiedRows(scores=scores, labels=chosen.astype(np.int32), classes=("no", "later", "yes"), **sex)
    rows.write(served.run.path / runs.SCORED_ROWS)

    served.answer(scores, shape=(-1, 3))
    assert (served.look().trigger, served.look().conclusive) == (None, True)
    scores[chosen == 2] = (0.8, 0.1, 0.1)
    scores[0, 0] = np.nan
    served.answer(scores, shape=(-1, 3), at=NOW - timedelta(minutes=30))
    report = served.look()
    found = statuses(report)
    assert found["selection", "selection_rate of yes"] == found["score_drift", "score of yes"] == "beyond"
    assert found["selection", "selection_rate of later"] == "within"
    (bad,) = [entry for entry in report.measures if entry.kind == "not_finite"]
    assert (bad.observed, bad.n, report.trigger) == (1 / ROWS, ROWS, "degradation")


def test_a_model_of_a_number_is_watched_by_its_error(served):
    as_task(served, task="regression")
    rng = np.random.default_rng(5)
    predictions = rng.normal(40, 8, ROWS).astype(np.float32)
    labels = predictions + rng.normal(0, 5, ROWS)
    rows = PredictedRows(predictions=predictions, labels=labels, groups={}, names={})
    rows.write(served.run.path / runs.SCORED_ROWS)
    served.answer(predictions)
    feedback = pa.table({"tracking_id": [f"p/{row}" for row in range(ROWS)], "label": labels + 20})
    pq.write_table(feedback, served.root / "feedback.parquet")
    add_feedback(served.root / "feedback.parquet", served.root / "feedback")
    report = served.look()
    found = statuses(report)
    assert (found["score_drift", "prediction"], found["quality", "mean_absolute_error"]) == ("within", "beyond")
    assert (report.rows_with_feedback, report.trigger) == (ROWS, "degradation")


def test_an_old_release_is_asked_for_by_schedule_and_its_evidence_stays(served):
    served.answer(scores_of(), at=NOON + timedelta(days=31))
    report, asked = served.act(now=NOON + timedelta(days=31, hours=1))
    assert statuses(report)["age", "days since the release"] == "beyond"
    assert (report.trigger, report.conclusive) == ("schedule", True)
    assert asked is not None
    assert served.expirations() == []


def test_a_rollback_makes_a_model_no_younger(served):
    served.push("other", now=NOON + timedelta(days=1))
    roll_back(served.project, now=lambda: NOON + timedelta(days=29))
    assert statuses(served.look(now=NOON + timedelta(days=31)))["age", "days since the release"] == "beyond"


def test_a_person_may_ask_whatever_is_seen(served):
    served.answer(scores_of(), inputs=ages(mean=70.0))
    report, asked = served.act(manual="the law changed")
    assert report.trigger == "manual"
    config = load_config(asked)
    assert config.retraining.reasons[0] == "the law changed"
    assert served.expirations() == []


def test_a_drift_is_kept_asks_for_the_same_run_again_and_ends_the_evidence_once(served):
    served.answer(scores_of(), inputs=ages(mean=70.0))
    report, asked = served.act()
    assert served.act(now=NOW + timedelta(hours=1))[0].trigger == "drift"
    (kept, _) = sorted((served.workspace_root / "monitoring" / "m").iterdir())
    assert read_record(kept, MonitoringReport) == report
    (expired,) = served.expirations()
    assert expired.run == served.run.id
    assert "skew of age" in expired.why
    config = load_config(asked)
    assert asked.parent == served.root
    assert config.model_copy(update={"retraining": None}) == served.run.config()
    asks = config.retraining
    assert (asks.trigger, asks.of_run, asks.of_version) == ("drift", served.run.id, served.release.version)
    assert datetime.fromisoformat(asks.requested_at) == NOW.astimezone(UTC)


@pytest.fixture
def failing_server(monkeypatch):
    """A metrics page on which every tenth request fails."""
    asked = []

    def read(address, *, model_name):
        asked.append((address, model_name))
        return ServerCounts(answered=900, failed=100, latency=())

    monkeypatch.setattr(monitor, "read_page", read)
    return asked


def test_a_server_that_fails_needs_somebody_and_no_other_run(served, failing_server):
    served.answer(scores_of())
    report, asked = served.act(metrics="http://server/metrics")
    assert failing_server == [("http://server/metrics", "m")]
    assert [entry.kind for entry in report.beyond] == ["error_rate"]
    assert (report.trigger, asked, served.expirations()) == ("operation", None, [])
    assert list(served.root.glob("retrain-*")) == []


def test_a_drift_is_more_than_a_server_that_fails(served, failing_server):
    served.answer(scores_of(), inputs=ages(mean=70.0))
    assert served.act(metrics="http://server/metrics")[0].trigger == "drift"


def test_what_a_server_says_of_itself_is_no_comparison_of_answers(served, failing_server):
    assert served.act(metrics="http://server/metrics")[0].conclusive is False


def test_a_look_that_finds_nothing_leaves_the_report_and_nothing_else(served):
    served.answer(scores_of(), inputs=ages(seed=4))
    _, asked = served.act()
    assert asked is None
    assert list(served.root.glob("retrain-*")) == []
    assert len(list((served.workspace_root / "monitoring" / "m").iterdir())) == 1


def test_old_files_of_the_log_are_forgotten_when_that_is_asked_for(served):
    served.answer(scores_of())
    served.act(forget_after_days=30.0, now=datetime.now(UTC) + timedelta(days=29))
    assert len(list(served.log.rglob("*.parquet"))) == 1
    served.act(forget_after_days=30.0, now=datetime.now(UTC) + timedelta(days=31))
    assert list(served.log.rglob("*.parquet")) == []
