"""What a candidate must do to be servable; the server is in this process here, and in a clean one in the heavy test."""

import contextlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from probity.digest import digest_bytes
from probity.findings import Subject
from probity.platform.serving import infra_validation
from probity.platform.serving.server import EmbeddedServer
from probity.serving_policy import InfraValidationConfig

SUBJECT = Subject(model=digest_bytes(b"model"), examples=digest_bytes(b"rows"))
AGES = pa.array([39.0, None, 20.0], pa.float32())
ROWS = pa.table({"age": AGES, "work": ["State-gov", None, "Private"], "other": [1, 2, 3]})
SETTINGS = InfraValidationConfig(requests=20, latency_limit_ms=60_000.0)


def save(folder, *, shift=0.0, column="age", factor=1.0):
    """A model of one number and one text; ``shift`` makes its two signatures differ."""
    import tensorflow as tf

    specs = {column: tf.io.VarLenFeature(tf.float32), "work": tf.io.VarLenFeature(tf.string)}

    def score(number, work):
        known = tf.where(tf.math.is_nan(number), 0.0, number)
        length = tf.cast(tf.strings.length(work), tf.float32)
        return {"scores": tf.reshape(factor * (known / 100.0 + length / 1000.0), [-1, 1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def by_examples(examples):
        found = tf.io.parse_example(examples, specs)
        number = tf.sparse.to_dense(tf.sparse.reset_shape(found[column], [tf.shape(examples)[0], 1]))[:, 0]
        work = tf.sparse.to_dense(tf.sparse.reset_shape(found["work"], [tf.shape(examples)[0], 1]))[:, 0]
        return score(number + shift, work)

    spec = {column: tf.TensorSpec([None], tf.float32, column), "work": tf.TensorSpec([None], tf.string, "work")}
    by_columns = tf.function(lambda **raw: score(raw[column], raw["work"])).get_concrete_function(**spec)
    signatures = {"serving_default": by_examples.get_concrete_function(), "predict_columns": by_columns}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    return folder


@pytest.fixture
def in_process(monkeypatch):
    @contextlib.contextmanager
    def start(options):
        with EmbeddedServer(options) as server:
            yield replace(options, port=server.port, rest_api_port=server.rest_api_port)

    monkeypatch.setattr(infra_validation, "start_server", start)


def validate(folder, settings=SETTINGS, rows=ROWS):
    return infra_validation.validate(folder, rows, subject=SUBJECT, settings=settings)


def test_a_model_that_can_be_served_is_measured(in_process, tmp_path):
    report = validate(save(tmp_path / "model"))
    assert report.status == "complete", report.reasons
    latency, size = report.findings
    # As the gate looks for them: tests/platform/test_gate_serving.py.
    assert [entry.id for entry in report.findings] == [
        "serving/serving_latency_p95_ms/overall",
        "serving/model_size_bytes/overall",
    ]
    assert latency.metric == "serving_latency_p95_ms"
    assert latency.estimate.n == 20
    assert latency.estimate.lower <= latency.estimate.value <= latency.estimate.upper
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert size.estimate.value == sum(len(path.read_bytes()) for path in files)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shift": 1.0}, "its two signatures differ"),
        ({"column": "height"}, "columns that the data does not have: height"),
        ({"factor": float("inf")}, "not finite"),
    ],
)
def test_a_model_that_cannot_be_served_fails_with_the_reason(in_process, tmp_path, changes, reason):
    report = validate(save(tmp_path / "model", **changes))
    assert report.status == "failed"
    assert reason in report.reasons[0]


def test_what_is_no_model_fails(in_process, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    report = validate(tmp_path)
    assert report.status == "failed"
    assert "cannot be loaded" in report.reasons[0]


def test_a_model_slower_than_the_limit_fails(in_process, tmp_path):
    report = validate(save(tmp_path / "model"), InfraValidationConfig(requests=20, latency_limit_ms=1e-6))
    assert report.status == "failed"
    assert "95th percentile" in report.reasons[0]


def test_no_rows_prove_nothing(in_process, tmp_path):
    assert validate(save(tmp_path / "model"), rows=ROWS.slice(0, 0)).status == "failed"


def test_the_interval_of_the_latency_covers_the_true_percentile():
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        estimate = infra_validation._latency(generator.exponential(1.0, 200).tolist()).estimate
        covered += estimate.lower <= -np.log(0.05) <= estimate.upper
    assert covered >= 0.9 * 200  # at least 95 % but for the luck of 200 draws


@pytest.mark.heavy
def test_a_clean_process_serves_the_candidate(tmp_path):
    report = validate(save(tmp_path / "model"))
    assert report.status == "complete", report.reasons
