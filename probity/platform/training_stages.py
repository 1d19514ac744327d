"""The stages that make a model: transform, canaries, training, shadow models; or the adoption of one made elsewhere.

What the stages share is settled once, before the first of them, as :class:`Terms`. Nothing here looks at which trainer
was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from probity import runs
from probity.canaries import Coins
from probity.digest import digest_tree
from probity.model import Mechanism
from probity.platform import adopt, canaries, shadows, training, transform
from probity.platform.checkpoints import checkpoint_folder
from probity.platform.live_rounds import LiveRounds
from probity.platform.plan import Plan
from probity.platform.run_budget import RunBudget
from probity.platform.stages import Progress, Stages, environment, subfolder
from probity.runs import RunFolder
from probity.storage import write_record
from probity.trainers.base import Population, TrainingRequest, Uncalibrated

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ADOPTED", "TRAINED", "TRAINING_STAGES", "adopt_model", "train_model"]

TRAINING_STAGES = ("transform", "canaries", "train", "shadows")
"""In this order; canaries and shadows only in a run that asks for them."""

TRAINED = ("transform", "train")
"""The stages that a trained model is made by, the model's own last."""

ADOPTED = ("adopt",)
"""The stage in their place for a model that was trained elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is settled before anything is trained.

    Attributes:
        units: The protected unit of each training row; ``None`` where a row is a unit.
        clients: The client of each training row; ``None`` where no column names the clients.
        coins: Which canaries are planted.
        population: The training rows as a mechanism sees them, the canaries among them.
        proposal: What the trainer means to execute.
        budget: What pays for it.
    """

    units: npt.NDArray[np.int64] | None
    clients: npt.NDArray[np.int64] | None
    coins: Coins
    population: Population
    proposal: Mechanism | Uncalibrated
    budget: RunBudget

    @property
    def is_private(self) -> bool:
        """Whether noise is to be added at all."""
        return training.is_private(self.proposal)


def train_model(plan: Plan, stages: Stages) -> None:
    """Performs the stages from the transform to the model, and to the shadow models if the plan has some.

    Raises:
        BudgetError: If the budget does not allow the training; nothing was trained then.
        ConfigError: If what is asked cannot be trained.
        TrainingError: If the training failed.
    """
    terms = _settle(plan, stages)
    _transform(plan, stages, terms=terms)
    if plan.config.audits.canaries is not None:
        _plant(plan, stages, coins=terms.coins)
    _train(plan, stages, terms=terms)
    if plan.config.audits.shadow_models:
        _train_shadows(plan, stages, terms=terms)


def _settle(plan: Plan, stages: Stages) -> Terms:
    config, settings = plan.config, plan.settings
    examples, dataset = stages.folder.examples(), stages.folder.dataset()
    units = training.units_of(dataset, examples)
    coins = canaries.coins_for(config.audits.canaries, plants_gradients=plan.plants_gradients, seed=config.seed)
    clients = training.clients_of(dataset, examples, settings)
    population = training.population_of(
        dataset, examples, units, planted=coins.planted, settings=settings, clients=clients
    )
    proposal = plan.trainer.propose(settings, population)
    if config.audits.shadow_models:
        shadows.require_trainable(plan.trainer, settings, dataset, examples)
    budget = RunBudget(
        config,
        stages.workspace,
        dataset,
        population,
        run=stages.folder.id,
        target_delta=training.target_delta(proposal),
    )
    return Terms(units=units, clients=clients, coins=coins, population=population, proposal=proposal, budget=budget)


def _transform(plan: Plan, stages: Stages, *, terms: Terms) -> None:
    folder, config = stages.folder, plan.config.transform
    public_first = terms.is_private or plan.settings.public_preprocessing

    def prepare(out: Path, report: Progress) -> None:
        target = subfolder(out, runs.TRANSFORM)
        dataset, schema, planned = folder.dataset(), folder.schema(), None
        if terms.is_private:
            own_units = terms.population.num_units - terms.coins.planted
            planned = transform.planned_private_statistics(config, dataset, schema, own_units)
        with terms.budget.pay_for_statistics(planned):
            made, transformed = transform.transform(
                folder.examples(),
                dataset,
                schema,
                config,
                root=plan.root,
                out=target,
                public_first=public_first,
                units=terms.units,
            )
        write_record(target / "transform.json", made)
        runs.write_splits(target / "examples", transformed.files)

    settings = {
        "transform": config.to_json(),
        "module": plan.module_digest(config.module),
        "public_first": public_first,
    }
    stages.perform("transform", produce=prepare, settings=settings, inputs=("ingest", "schema"))


def _plant(plan: Plan, stages: Stages, *, coins: Coins) -> None:
    folder = stages.folder

    def plant(out: Path, report: Progress) -> None:
        canaries.plant(
            coins,
            schema=folder.schema(),
            dataset=folder.dataset(),
            transform=folder.transform(),
            transform_folder=folder.path / runs.TRANSFORM,
            transformed=folder.transformed(),
            seed=plan.config.seed,
            out=subfolder(out, runs.CANARIES),
        )

    settings = {"rows": len(coins.rows), "gradients": len(coins.gradients), "seed": plan.config.seed}
    stages.perform("canaries", produce=plant, settings=settings, inputs=("ingest", "schema", "transform"))


def _train(plan: Plan, stages: Stages, *, terms: Terms) -> None:
    config, asked = plan.config, _asked(plan)
    inputs = ("ingest", "transform", *(("canaries",) if config.audits.canaries is not None else ()))

    def train(out: Path, report: Progress) -> None:
        key = stages.key("train", settings=asked, inputs=inputs)
        target = subfolder(out, runs.MODEL)
        request, delta = _request(plan, stages.folder, terms=terms), terms.budget.delta
        with LiveRounds(config, stages.folder, stages.workspace, mechanism=request.mechanism, delta=delta) as rounds:
            told = replace(request, rounds=rounds)
            model = terms.budget.pay_for_training(plan.trainer, told, key=key, workdir=target, report=report)
        write_record(target / "model.json", model)

    stages.perform("train", produce=train, settings=asked, inputs=inputs)


def _asked(plan: Plan) -> dict[str, object]:
    """Returns everything beside data and transform that decides the model."""
    config = plan.config
    asked: dict[str, object] = {
        "trainer": config.trainer.name,
        "settings": plan.settings.to_json(),
        "model": config.model.to_json(),
        "module": plan.module_digest(config.model.module),
        "seed": config.seed,
    }
    if (code := getattr(plan.trainer, "code", None)) is not None:
        asked["worker"] = code
    if plan.settings.across:
        asked["decision_threshold"] = config.audits.decision_threshold
    return asked


def _request(plan: Plan, folder: RunFolder, *, terms: Terms) -> TrainingRequest:
    config, settings, dataset = plan.config, plan.settings, folder.dataset()
    graph, planted = folder.transform(), int(terms.coins.rows.sum())
    return TrainingRequest(
        examples=folder.planted(),
        transform=graph,
        transform_folder=folder.path / runs.TRANSFORM,
        dataset=dataset,
        model=config.model,
        root=plan.root,
        settings=settings,
        seed=config.seed,
        mechanism=training.settle(terms.proposal, delta=terms.budget.delta, statistics=graph.private_statistics),
        groups=training.groups_of(dataset, folder.examples(), settings.across, planted=planted),
        decision_threshold=config.audits.decision_threshold,
        units=training.planted_units(terms.units, planted=planted),
        gradient_canaries=terms.coins.gradients if len(terms.coins.gradients) else None,
        clients=terms.clients,
    )


def _train_shadows(plan: Plan, stages: Stages, *, terms: Terms) -> None:
    folder, number = stages.folder, plan.config.audits.shadow_models
    settings, inputs = {**_asked(plan), "number": number}, ("ingest", "transform")
    request = replace(_request(plan, folder, terms=terms), examples=folder.transformed())

    def train(out: Path, report: Progress) -> None:
        key = stages.key("shadows", settings=settings, inputs=inputs)
        place = stages.workspace.root / "checkpoints" / key.removeprefix("sha256:")
        with checkpoint_folder(place) as kept:
            shadows.train_shadows(
                plan.trainer,
                request,
                raw=folder.examples(),
                number=number,
                kept=kept,
                out=subfolder(out, runs.SHADOWS),
                report=report,
            )

    stages.perform("shadows", produce=train, settings=settings, inputs=inputs)


def adopt_model(model: Path, stages: Stages, *, members_known: bool) -> None:
    """Takes a SavedModel that was trained elsewhere in the place of a trained one.

    Args:
        model: Folder of the SavedModel.
        stages: Of the run that audits it.
        members_known: Whether the training split holds the rows that it was trained on.

    Raises:
        ConfigError: If the model cannot be asked for scores of these rows.
    """
    dataset, examples = stages.folder.dataset(), stages.folder.examples()

    def take(out: Path, report: Progress) -> None:
        target = subfolder(out, runs.MODEL)
        units = training.units_of(dataset, examples)
        adopted = adopt.adopt(
            model,
            dataset=dataset,
            examples=examples,
            num_units=training.population_of(dataset, examples, units).num_units,
            members_known=members_known,
            environment=environment(),
            out=target,
        )
        write_record(target / "model.json", adopted)
        transform_folder = subfolder(out, runs.TRANSFORM)
        write_record(transform_folder / "transform.json", adopt.empty_transform(adopted, dataset))
        runs.write_splits(subfolder(transform_folder, "examples"), {})

    settings = {"model": digest_tree(model), "members_known": members_known}
    stages.perform("adopt", produce=take, settings=settings, inputs=("ingest",))
