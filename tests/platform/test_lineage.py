"""Lineage, checked with ML Metadata's own reader on the file it wrote."""

from __future__ import annotations

import subprocess
import sys

import pytest

from probity.errors import TrackingError
from probity.platform.lineage import Lineage
from probity.platform.lineage_artifacts import FLOW, ArtifactRef, Word, outputs_of
from probity.run_reviews import evidence_digest
from tests.platform.conftest import digest_of

CHAIN = [
    "Release",
    "GateDecision",
    "ModelCard",
    "AuditReport",
    "AuditReport",
    "ScoredRows",
    "TrainedModel",
    "Transform",
    "Anomalies",
    "Schema",
    "Statistics",
    "Examples",
    "Dataset",
    "DataFile",
]


def record(run, *, until="release", reused=(), lineage=None):
    """Performs the stages of a run and records each, as the pipeline does."""
    lineage = lineage or Lineage(run.workspace.metadata)
    writer = lineage.run(run.folder.id, run.config.name)
    receipts = {}
    for stage, inputs in run.stages.items():
        execution = writer.start(stage, inputs=[receipts[name] for name in inputs])
        receipts[stage] = run.perform(stage, reused_from="an-earlier-run" if stage in reused else None)
        execution.finish(receipts[stage])
        if stage == until:
            break
    return lineage


def reader(run):
    """The library's own view of the file."""
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as pb

    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(run.workspace.metadata)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
    return metadata_store.MetadataStore(config)


@pytest.fixture
def run(make_run):
    return make_run()


# --- what is written ------------------------------------------------------------------------------------------------


def test_stages_are_typed_executions_with_typed_artifacts_in_contexts(run):
    from ml_metadata.proto import metadata_store_pb2 as pb

    record(run)
    store = reader(run)
    executions = store.get_executions()
    assert [entry.type for entry in executions] == list(run.stages)
    assert {entry.last_known_state for entry in executions} == {pb.Execution.COMPLETE}
    assert {entry.type for entry in store.get_artifacts()} == set(CHAIN)
    [context] = store.get_contexts_by_type("Run")
    assert context.name == run.folder.id
    assert [parent.name for parent in store.get_parent_contexts_by_context(context.id)] == [run.config.name]
    assert len(store.get_executions_by_context(context.id)) == len(run.stages)
    assert len(store.get_artifacts_by_context(context.id)) == len(CHAIN)
    for entry in store.get_artifacts():
        assert entry.name == entry.properties["digest"].string_value
        assert not entry.uri.startswith("/")


def test_inputs_and_outputs_are_events(run):
    from ml_metadata.proto import metadata_store_pb2 as pb

    record(run)
    store = reader(run)
    names = {entry.id: entry.type for entry in store.get_artifacts()}
    [train] = [entry for entry in store.get_executions() if entry.type == "train"]
    events = [(event.type, names[event.artifact_id]) for event in store.get_events_by_execution_ids([train.id])]
    assert sorted(events) == sorted(
        [(pb.Event.INPUT, name) for name in ("Dataset", "Examples", "Transform")] + [(pb.Event.OUTPUT, "TrainedModel")]
    )
    [ingest] = [entry for entry in store.get_executions() if entry.type == "ingest"]
    events = {(event.type, names[event.artifact_id]) for event in store.get_events_by_execution_ids([ingest.id])}
    assert (pb.Event.INPUT, "DataFile") in events


def test_digests_are_those_by_which_the_nouns_are_cited(run):
    record(run)
    by_type = {entry.type: entry.name for entry in reader(run).get_artifacts() if entry.type != "AuditReport"}
    folder = run.folder
    assert by_type["DataFile"] == folder.dataset().source_digest
    assert by_type["Dataset"] == folder.release().dataset
    assert by_type["Schema"] == folder.schema().digest
    assert by_type["Transform"] == folder.model().transform
    assert by_type["TrainedModel"] == folder.release().model
    assert by_type["ModelCard"] == folder.release().card == folder.decision().card
    assert by_type["GateDecision"] == folder.release().decision


def test_the_audit_trail_has_verdict_epsilon_fairness_and_card(make_run):
    rules = [{"name": "four fifths", "metric": "selection_rate", "across": "sex", "ratio_at_least": 0.8}]
    run = make_run(gate={"rules": rules})
    record(run, until="gate")
    store = reader(run)
    [context] = store.get_contexts_by_type("Run")
    facts = {name: value.string_value for name, value in context.custom_properties.items()}
    assert facts["verdict"] == "hold"
    assert facts["fairness"] == "fail"
    assert facts["epsilon"] == "Infinity"
    assert facts["card"] == run.folder.decision().card
    [decision] = store.get_artifacts_by_type("GateDecision")
    assert decision.custom_properties["check: four fifths"].string_value == "fail"
    assert decision.custom_properties["check: floor"].string_value == "pass"
    [model] = store.get_artifacts_by_type("TrainedModel")
    assert '"epochs": 2' in model.custom_properties["settings"].string_value
    assert model.custom_properties["seed"].int_value == 7
    [anomalies] = store.get_artifacts_by_type("Anomalies")
    assert (anomalies.custom_properties["errors"].int_value, anomalies.custom_properties["warnings"].int_value) == (
        0,
        1,
    )


def test_no_data_value_is_written(run):
    record(run)
    content = run.workspace.metadata.read_bytes()
    assert b"Female" not in content
    assert b">50K" not in content


def test_failed_and_reused_stages_say_so(make_run):
    from ml_metadata.proto import metadata_store_pb2 as pb

    run = make_run()
    lineage = record(run, until="transform", reused=("ingest", "schema"))
    lineage.run(run.folder.id, "a").start("train").fail("TrainingError")
    states = {entry.type: entry for entry in reader(run).get_executions()}
    assert states["ingest"].last_known_state == pb.Execution.CACHED
    assert states["ingest"].custom_properties["reused_from"].string_value == "an-earlier-run"
    assert states["statistics"].last_known_state == pb.Execution.COMPLETE
    assert states["train"].last_known_state == pb.Execution.FAILED
    assert states["train"].custom_properties["error"].string_value == "TrainingError"


def test_a_stage_that_was_running_when_its_process_died_is_cancelled_when_the_run_goes_on(run):
    from ml_metadata.proto import metadata_store_pb2 as pb

    Lineage(run.workspace.metadata).run(run.folder.id, "a").start("ingest")
    assert [entry.last_known_state for entry in reader(run).get_executions()] == [pb.Execution.RUNNING]
    Lineage(run.workspace.metadata).run(run.folder.id, "a")
    assert [entry.last_known_state for entry in reader(run).get_executions()] == [pb.Execution.CANCELED]


# --- what is read ---------------------------------------------------------------------------------------------------


def test_the_chain_leads_from_the_release_to_the_data_file(run):
    chain = record(run).chain(run.folder.id)
    assert [link["type"] for link in chain] == CHAIN
    assert chain[0]["digest"] == run.folder.release().record_digest()
    assert chain[-1]["digest"] == run.folder.dataset().source_digest
    assert (chain[-1]["uri"], chain[-1]["stage"]) == ("a.csv", None)
    for link in chain[:-1]:
        assert (run.workspace.root / link["uri"]).exists()
        assert (link["run"], link["state"]) == (run.folder.id, "COMPLETE")


def test_a_run_that_stopped_early_has_a_shorter_chain(run):
    assert [link["type"] for link in record(run, until="train").chain(run.folder.id)] == [
        "TrainedModel",
        "Transform",
        "Schema",
        "Statistics",
        "Examples",
        "Dataset",
        "DataFile",
    ]


def test_an_unknown_run_has_none(run):
    record(run, until="ingest")
    assert Lineage(run.workspace.metadata).chain("nobody") == []
    assert Lineage(run.workspace.metadata).chain("") == []


def test_the_chain_of_a_run_stays_in_that_run_even_where_it_shares_bytes(make_run):
    one, other = make_run(data="one"), make_run(data="other")
    lineage = record(one)
    record(other, lineage=lineage, reused=("schema",))  # equal schema files: one artifact, made from two data sets
    assert one.folder.schema().digest == other.folder.schema().digest
    for run in (one, other):
        chain = lineage.chain(run.folder.id)
        assert [link["digest"] for link in chain if link["type"] == "Dataset"] == [run.folder.dataset().content_digest]
        assert all(run.folder.id in link["uri"] for link in chain if link["type"] != "DataFile")
    states = {link["type"]: link["state"] for link in lineage.chain(other.folder.id)}
    assert (states["Schema"], states["TrainedModel"]) == ("CACHED", "COMPLETE")


def test_ancestors_and_descendants_cross_runs(make_run):
    one, other = make_run(seed=1), make_run(seed=2)
    lineage = record(one)
    record(other, lineage=lineage, reused=("ingest", "statistics", "schema", "anomalies", "transform"))
    dataset, release = one.folder.dataset(), other.folder.release()

    below = lineage.descendants(dataset.source_digest)
    assert [link["type"] for link in below].count("TrainedModel") == 2
    assert [link["type"] for link in below].count("Dataset") == 1  # equal rows are one artifact
    assert [link["type"] for link in below].count("Release") == 2

    above = lineage.ancestors(release.record_digest())
    assert [link["type"] for link in above] == CHAIN[1:]
    assert [link["digest"] for link in above if link["type"] == "TrainedModel"] == [release.model]
    assert above[-1]["digest"] == dataset.source_digest
    assert lineage.ancestors(dataset.source_digest) == []
    assert lineage.descendants(release.record_digest()) == []
    assert lineage.ancestors("sha256:nothing") == []


def test_two_models_can_be_compared(make_run):
    one, other = make_run(seed=1), make_run(seed=2)
    lineage = record(one)
    record(other, lineage=lineage)
    differing = lineage.compare(one.folder.model().digest, other.folder.model().digest)
    assert differing == {"seed": (1, 2)}
    assert lineage.compare(one.folder.model().digest, one.folder.model().digest) == {}
    with pytest.raises(TrackingError, match="no artifact"):
        lineage.compare(one.folder.model().digest, "sha256:nothing")


def test_a_file_that_nobody_knows_is_an_artifact_too(run):
    receipt = run.perform("ingest")
    (run.folder.path / "99_more").mkdir()
    more = receipt.model_copy(update={"stage": "more", "outputs": {"99_more/a": "sha256:" + "0" * 64}})
    [reference] = outputs_of(run.folder, more)
    assert (reference.type, reference.uri) == ("Output", f"runs/{run.folder.id}/99_more")
    assert reference.type in FLOW


# --- what is said about a run afterwards ----------------------------------------------------------------------------


def word(reference, *, about=("card", "gate"), stage="review", reused_from=None):
    return Word(stage=stage, reference=reference, about=about, reused_from=reused_from)


def review_of(run, *, by="kim", outcome="approved", evidence=None, why="looked at it"):
    facts = {"by": by, "outcome": outcome, "why": why, "evidence": evidence or evidence_digest(run.folder)}
    return ArtifactRef(type="Review", digest=digest_of(f"{by} {outcome}"), uri="m.history.jsonl#1", facts=facts)


def test_a_release_is_made_from_the_approvals_of_exactly_its_evidence(run):
    from ml_metadata.proto import metadata_store_pb2 as pb

    lineage = record(run, until="gate")
    counting, void = review_of(run), review_of(run, by="lee", evidence=digest_of("evidence as it was before"))
    against = review_of(run, by="ada", outcome="rejected")
    words = [word(counting), word(void), word(against)]
    lineage.add(run.folder.id, "a", words)
    lineage.add(run.folder.id, "a", words)  # a word is kept once
    writer = lineage.run(run.folder.id, "a")
    execution = writer.start("release", inputs=[run.folder.receipt(name) for name in ("train", "card", "gate")])
    execution.finish(run.perform("release"))

    store = reader(run)
    names = {entry.id: entry.name for entry in store.get_artifacts()}
    assert len(store.get_executions_by_type("review")) == 3
    [made] = store.get_executions_by_type("release")
    events = store.get_events_by_execution_ids([made.id])
    read = {names[event.artifact_id] for event in events if event.type == pb.Event.INPUT}
    assert counting.digest in read
    assert not {void.digest, against.digest} & read

    release = run.folder.release().record_digest()
    assert [link["facts"]["by"] for link in lineage.ancestors(release) if link["type"] == "Review"] == ["kim"]
    chain = lineage.chain(run.folder.id)
    assert [link["type"] for link in chain] == ["Release", *["Review"] * 3, *CHAIN[1:]]
    [kim] = [link for link in chain if link["digest"] == counting.digest]
    assert (kim["stage"], kim["state"], kim["facts"]["why"]) == ("review", "COMPLETE", "looked at it")
    below = [link["digest"] for link in lineage.descendants(run.folder.decision().record_digest())]
    assert {counting.digest, release} <= set(below)


def test_a_run_that_was_rejected_shows_by_whom_though_it_has_no_release(run):
    lineage = record(run, until="gate")
    lineage.add(run.folder.id, "a", [word(review_of(run, outcome="rejected")), word(review_of(run, by="lee"))])
    chain = lineage.chain(run.folder.id)
    assert [link["type"] for link in chain] == ["Review", "Review", *CHAIN[1:]]


def test_evidence_that_expired_lies_below_the_release(run):
    lineage = record(run)
    facts = {"by": "monitor", "why": "drift of age: 0.3, limit 0.1"}
    expiry = ArtifactRef(type="EvidenceExpiry", digest=digest_of("expiry"), uri="m.history.jsonl#7", facts=facts)
    lineage.add(run.folder.id, "a", [word(expiry, about=("release",), stage="monitor")])
    for digest in (run.folder.release().record_digest(), run.folder.dataset().source_digest):
        below = [link for link in lineage.descendants(digest) if link["type"] == "EvidenceExpiry"]
        assert [link["facts"]["why"] for link in below] == ["drift of age: 0.3, limit 0.1"]
    assert [link["type"] for link in lineage.chain(run.folder.id)] == ["EvidenceExpiry", *CHAIN]


def test_why_a_decision_holds_is_on_record_without_group_names(make_run):
    rules = [{"name": "four fifths", "metric": "selection_rate", "across": "sex", "ratio_at_least": 0.8}]
    run = make_run(gate={"rules": rules})
    record(run, until="gate")
    [decision] = reader(run).get_artifacts_by_type("GateDecision")
    facts = {name: value.string_value for name, value in decision.custom_properties.items()}
    assert facts["held_by"] == "four fifths"
    assert facts["reason: four fifths"] == "ratio >= 0.8; observed 0.3"
    assert "reason: floor" not in facts


# --- when things go wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_broken_file_is_one_message_and_is_left_alone(run, content):
    run.workspace.root.mkdir(exist_ok=True)
    run.workspace.metadata.write_bytes(content)
    with pytest.raises(TrackingError, match=r"metadata\.sqlite") as caught:
        Lineage(run.workspace.metadata).run(run.folder.id, "a")
    assert caught.value.exit_code == 2
    assert "SELECT" not in str(caught.value)
    assert run.workspace.metadata.read_bytes() == content


def test_a_failure_that_cannot_be_recorded_does_not_hide_its_cause(run, monkeypatch):
    lineage = Lineage(run.workspace.metadata)
    execution = lineage.run(run.folder.id, "a").start("ingest")

    def full(*_, **__):
        raise RuntimeError("database or disk is full")

    monkeypatch.setattr(type(lineage._store._store), "put_executions", full)
    execution.fail("TrainingError")


def test_a_folder_in_place_of_the_file_is_one_message(run):
    run.workspace.metadata.mkdir(parents=True)
    with pytest.raises(TrackingError):
        Lineage(run.workspace.metadata).chain(run.folder.id)


CHILD = """
import sys
from pathlib import Path
from probity.platform.lineage import Lineage
from probity.runs import RunFolder
root, run_id, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
receipt = RunFolder(root / "runs" / run_id).receipt("ingest")
lineage = Lineage(root / "metadata.sqlite").run(run_id, "a")
for _ in range(times):
    lineage.start("ingest").finish(receipt)
print("tensorflow" in sys.modules)
"""


def test_several_processes_write_at_once(make_run):
    made = [make_run() for _ in range(3)]
    for run in made:
        run.perform("ingest")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(run.workspace.root), run.folder.id, "5"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for run in made
    ]
    outputs = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], outputs
    assert [output.strip() for output, _ in outputs] == ["False"] * 3
    store = reader(made[0])
    assert len(store.get_executions()) == 15
    assert len(store.get_artifacts_by_type("Dataset")) == 1
    assert len(store.get_contexts_by_type("Run")) == 3
    assert len(store.get_contexts_by_type("Project")) == 1
