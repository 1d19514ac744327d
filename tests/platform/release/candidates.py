"""A candidate for release made of small true files: model, card, reports, decision, and what is attested about them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from probity.claims import AuditClaim, CardClaim, DatasetClaim, DecisionClaim, TrainingClaim
from probity.decision import Check, GateDecision, Recipe
from probity.digest import digest_bytes, digest_file, digest_json, digest_tree
from probity.platform.release.evidence import Evidence
from probity.platform.release.keys import ReleaseKeys, project_keys
from probity.release_policy import SigningConfig

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
DATASET, EXAMPLES, REPORT = digest_bytes(b"data"), digest_bytes(b"test rows"), digest_bytes(b"performance")
POLICY = '{"rules":["floor"]}'


def make_model(folder: Path, *, content: bytes = b"weights") -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(content)
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "assets" / "vocabulary").write_bytes(b"a\nb\n")
    return folder


def make_card(folder: Path, *, model: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    card = {"reports": {"performance": REPORT}, "subject": {"model": model, "examples": EXAMPLES}}
    (folder / "card.json").write_text(json.dumps(card))
    for name in ("card.md", "card.html"):
        (folder / name).write_text(name)
    return folder


def decide(model: Path, card: Path, *, verdict: str = "release", checks: tuple[Check, ...] = ()) -> GateDecision:
    outcome = "pass" if verdict == "release" else "fail"
    check = Check(rule="floor", outcome=outcome, required="auc >= 0", evidence=("performance/auc",), reason="so")
    return GateDecision(
        verdict=verdict,
        model=digest_tree(model),
        policy=digest_bytes(POLICY.encode()),
        card=digest_file(card / "card.json"),
        checks=(check, *checks),
    )


def attest(
    card: Path, decision: GateDecision, *, run: str, claims=(), expires_at=None, approval=None, recipe=None
) -> Evidence:
    stated = (
        DatasetClaim(name="a", content=DATASET, source=DATASET, num_rows=9, splits={"test": EXAMPLES}),
        TrainingClaim(
            run=run,
            started_by="sam",
            config=DATASET,
            model=DATASET,
            trainer="plain",
            mechanism={"kind": "non_private"},
            weights=DATASET,
            train_examples=DATASET,
            transform=DATASET,
        ),
        AuditClaim(
            audit="performance",
            status="complete",
            report=REPORT,
            examples=EXAMPLES,
            num_findings=1,
            audited_at=NOON.isoformat(),
            expires_at=expires_at,
        ),
        CardClaim(
            files={name: digest_file(card / name) for name in ("card.json", "card.md", "card.html")},
            reports={"performance": REPORT},
        ),
        DecisionClaim(
            decision=decision.record_digest(),
            verdict=decision.verdict,
            policy=POLICY,
            evidence=digest_json(files_of(decision)),
            files=files_of(decision),
            approval=approval,
        ),
        *claims,
    )
    made = recipe or Recipe(architecture="mlp", hyperparameters=DATASET, data=DATASET)
    return Evidence(claims=stated, recipe=made, expires_at=expires_at)


def files_of(decision: GateDecision) -> dict[str, str]:
    return {"07_model/saved_model": str(decision.model), "09_card/card.json": str(decision.card)}


def keys_at(root: Path) -> ReleaseKeys:
    """Returns the project's keys; the first call makes them."""
    return project_keys(SigningConfig(), root=root)


class Candidate:
    """A finished run's model, card and decision."""

    def __init__(self, root: Path, *, content: bytes = b"weights", run: str = "run-1"):
        self.root, self.run = root, run
        self.model = make_model(root / "saved_model", content=content)
        self.card = make_card(root / "card", model=digest_tree(self.model))
        self.decision = decide(self.model, self.card)

    def push_arguments(self, **changes) -> dict:
        decision = changes.get("decision", self.decision)
        whole = all((self.card / name).is_file() for name in ("card.json", "card.md", "card.html"))
        values = {
            "card_folder": self.card,
            "decision": decision,
            "run": self.run,
            "model_name": "m",
            "base_label": "serving",
            "dataset": DATASET,
            "now": lambda: NOON,
            **({"evidence": attest(self.card, decision, run=self.run)} if whole else {"evidence": None}),
        }
        return {**values, **changes}
