"""The stages that end a run: the card that tells what was found, and the gate's decision on it."""

from __future__ import annotations

from pathlib import Path

from probity import runs
from probity.model_cards import render
from probity.model_cards.compose import compose
from probity.model_cards.publication import Publication
from probity.platform.audit_stages import BASELINE, SERVING
from probity.platform.plan import Plan
from probity.platform.run_budget import cumulative_spending
from probity.platform.stages import Progress, Stages, subfolder
from probity.platform.training_stages import TRAINED
from probity.platform.verdict import decide
from probity.run_publication import waived_in
from probity.storage import write_atomically, write_record

__all__ = ["DECISION_STAGES", "decide_on_model"]

DECISION_STAGES = ("card", "gate")
"""In this order."""


def decide_on_model(plan: Plan, stages: Stages, *, made_by: tuple[str, ...] = TRAINED) -> None:
    """Composes the card and lets the gate decide.

    Args:
        plan: What to run.
        stages: Of the run.
        made_by: The stages that the model was made by, its own last.
    """
    served = (SERVING,) if stages.folder.receipt(SERVING) else ()
    reports = (BASELINE, *plan.audits, *served)
    _write_card(plan, stages, inputs=("ingest", "schema", "anomalies", *made_by, *reports))

    def write_decision(out: Path, report: Progress) -> None:
        write_record(out / runs.DECISION, decide(stages.folder))

    stages.perform("gate", produce=write_decision, inputs=("ingest", made_by[-1], "card", *reports), cached=False)


def _write_card(plan: Plan, stages: Stages, *, inputs: tuple[str, ...]) -> None:
    folder = stages.folder

    def write(out: Path, report: Progress) -> None:
        dataset, model = folder.dataset(), folder.model()
        card = compose(
            run=folder.id,
            created_at=folder.created_at,
            config=plan.config,
            dataset=dataset,
            split_rows={split: entry.num_rows for split, entry in folder.examples().files.items()},
            schema=folder.schema(),
            anomalies=folder.anomalies(),
            transform=folder.transform(),
            model=model,
            reports={name: report for name, report in folder.reports().items() if report is not None},
            canaries=folder.canaries(),
            cumulative=cumulative_spending(plan.config, stages.workspace, dataset, model),
        )
        target = subfolder(out, runs.CARD)
        write_record(target / "card.json", card)
        printed = Publication(card=card, waived=waived_in(folder), pictures=folder.pictures())
        write_atomically(target / "card.md", render.to_markdown(printed).encode())
        write_atomically(target / "card.html", render.to_html(printed).encode())

    stages.perform("card", produce=write, inputs=inputs, cached=False)
