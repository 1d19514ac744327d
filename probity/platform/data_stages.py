"""The stages that read data and say what they are: rows, statistics, schema, anomalies, and cases chosen by hand."""

from __future__ import annotations

from pathlib import Path

from probity import runs
from probity.digest import digest_file
from probity.platform import ingest, profile, schema
from probity.platform.edge_cases import read_edge_cases
from probity.platform.plan import Plan
from probity.platform.stages import Progress, Stages, subfolder
from probity.storage import write_record

__all__ = ["CASES", "DATA_STAGES", "read_data"]

CASES = "cases"
"""Stage that reads the edge cases, before anything is trained."""

DATA_STAGES = ("ingest", "statistics", "schema", "anomalies", CASES)
"""In this order; the last one only in a run that names cases."""


def read_data(plan: Plan, stages: Stages) -> None:
    """Performs the stages up to the anomalies, and to the edge cases if the plan has some.

    Raises:
        DataError: If the data cannot be read or break the schema.
    """
    _read_rows(plan, stages)
    _describe(stages)
    _make_schema(plan, stages)
    _validate(stages)
    schema.require_valid(stages.folder.anomalies())
    if plan.edge_cases is not None:
        _read_cases(plan, stages, path=plan.edge_cases)


def _read_rows(plan: Plan, stages: Stages) -> None:
    config, curated = plan.config, plan.curated_schema
    texts = schema.text_columns(curated) if curated else frozenset()
    domain = schema.reviewed_domain(curated, config.data.label.column) if curated else None

    def read(out: Path, report: Progress) -> None:
        target = subfolder(out, runs.EXAMPLES)
        dataset, examples = ingest.ingest(
            config.data, name=config.name, root=plan.root, out=target, text_columns=texts, label_domain=domain
        )
        runs.write_splits(target, examples.files)
        write_record(out / runs.DATASET, dataset)

    settings: dict[str, object] = {
        "data": config.data.to_json(),
        "name": config.name,
        "source": ingest.source_digest(config.data, root=plan.root),
        "texts": sorted(texts),
    }
    if config.data.task == "multiclass":
        settings["domain"] = domain
    stages.perform("ingest", produce=read, settings=settings)


def _describe(stages: Stages) -> None:
    dataset, examples = stages.folder.dataset(), stages.folder.examples()

    def describe(out: Path, report: Progress) -> None:
        target = subfolder(out, runs.STATISTICS)
        write_record(target / "statistics.json", profile.profile(examples, dataset, out=target))

    stages.perform("statistics", produce=describe, inputs=("ingest",))


def _make_schema(plan: Plan, stages: Stages) -> None:
    folder, curated = stages.folder, plan.curated_schema

    def make(out: Path, report: Progress) -> None:
        made = schema.make_schema(
            folder.statistics(),
            folder.dataset(),
            folder=folder.path / runs.STATISTICS,
            curated=curated,
            out=out / runs.SCHEMA,
        )
        write_record(out / runs.SCHEMA_RECORD, made)

    settings = {"curated": digest_file(curated) if curated else None}
    stages.perform("schema", produce=make, settings=settings, inputs=("ingest", "statistics"))


def _validate(stages: Stages) -> None:
    folder = stages.folder

    def validate(out: Path, report: Progress) -> None:
        found = schema.validate(
            folder.statistics(),
            folder.schema(),
            folder.dataset(),
            folder=folder.path / runs.STATISTICS,
            schema_path=folder.path / runs.SCHEMA,
        )
        write_record(out / runs.ANOMALIES, found)

    stages.perform("anomalies", produce=validate, inputs=("ingest", "statistics", "schema"))


def _read_cases(plan: Plan, stages: Stages, *, path: Path) -> None:
    folder, missing = stages.folder, plan.config.data.missing_values

    def read(out: Path, report: Progress) -> None:
        found = read_edge_cases(path, dataset=folder.dataset(), schema=folder.schema(), missing_values=missing)
        found.write(out / runs.EDGE_CASES)

    settings = {"cases": digest_file(path), "name": path.name, "missing": missing}
    stages.perform(CASES, produce=read, settings=settings, inputs=("ingest", "schema"))
