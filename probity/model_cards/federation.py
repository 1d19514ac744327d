"""How a model was trained over clients: the facts for the card, and the section that prints them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from probity.card import ModelCard, Numbers
from probity.data import Transform
from probity.federation import FederationFacts
from probity.model import DpFedAvg, DpFtrl, Federated, TrainedModel
from probity.model_cards.blocks import Block, Facts, Subheading
from probity.model_cards.measured import notes
from probity.model_cards.tables import plain_table

__all__ = ["federation_blocks", "federation_facts", "federation_words"]

_SAMPLING = {
    "uniform_without_replacement": "exactly as many in each round, drawn uniformly without replacement",
    "poisson": "each client in each round independently of all others, absences included",
    "shuffled": "each client once per pass over all clients",
}
_SEEN = "The server sees each client's update in the clear, and rows can be reconstructed from an update"
_SIMULATED = (
    "Simulated: the arithmetic of a secure sum (clipping to a range, quantisation, modular addition) was executed in "
    "the clear by one process and hid nothing. A real one (Bonawitz et al. 2017) would hide single updates from a "
    "server that follows the protocol, as long as too few clients collude with it; it would not hide their sum, and it "
    "is no differential privacy."
)
_SEPARATE = (
    "the training rows of each client were in a file of its own; no name of a client, raw column or column that is "
    "only audited was in it, and no row in what came back",
    "each client's local training saw the rows of that client and the weights of the round, nothing else",
)
_TOGETHER = (
    "one operator read all rows, split them, and ran the transform on them before they were dealt out to clients",
    "server and clients were processes of one operator",
    "the audits, this card's numbers and the attacks used pooled test and training rows",
)


def federation_facts(model: TrainedModel, transform: Transform) -> FederationFacts | None:
    """Returns how a model was trained over clients, or ``None`` if it was not."""
    mechanism = model.mechanism
    if not isinstance(mechanism, Federated | DpFedAvg | DpFtrl):
        return None
    settings = model.settings
    column = settings.get("clients", {}).get("by")
    server = settings.get("server", {})
    clients = mechanism.num_clients if isinstance(mechanism, Federated) else model.num_train_units
    return FederationFacts(
        clients=f"the values of {column}" if column else f"{clients} simulated clients, {_partition(settings)}",
        simulated=column is None,
        num_clients=clients,
        clients_per_round=_asked(mechanism),
        sampling=_SAMPLING[mechanism.sampling],
        rounds=mechanism.rounds,
        algorithm=str(server.get("optimizer", "not stated")),
        server=_server(server),
        local=_local(settings.get("local", {}), whole=server.get("optimizer") == "fedsgd"),
        compression=str(settings.get("compression", "none")),
        secure_aggregation=mechanism.secure_aggregation,
        threat_model=_threat_model(mechanism),
        preprocessing=_preprocessing(transform),
        separate=_SEPARATE,
        together=_TOGETHER if column else ("who the clients are was made up", *_TOGETHER),
    )


def federation_blocks(card: ModelCard) -> Iterator[Block]:
    """Yields the section on training over clients; of a model that was trained otherwise, that it was."""
    if card.federation is not None:
        yield from _facts(card.federation)
        yield Subheading(text="Clients in numbers")
    if isinstance(card.clients, Numbers):
        yield plain_table(card.clients.numbers, caption="Clients, who took part, and whom the model serves worst")
    yield from notes(card.clients)


def federation_words(facts: FederationFacts) -> str:
    """Returns the facts in one paragraph, for forms of the card without a place for them."""
    return (
        f"Trained over {facts.num_clients:,} clients ({facts.clients}) in {facts.rounds:,} rounds of "
        f"{facts.clients_per_round:g} clients by {facts.algorithm}. Secure aggregation: {facts.secure_aggregation}. "
        f"{facts.threat_model} Preprocessing: {facts.preprocessing}."
    )


def _facts(facts: FederationFacts) -> Iterator[Block]:
    yield Facts(
        pairs=(
            ("Clients", (facts.clients,)),
            ("Number of clients", (f"{facts.num_clients:,}",)),
            ("Rounds", (f"{facts.rounds:,}",)),
            ("Clients per round", (f"{facts.clients_per_round:g}: {facts.sampling}",)),
            ("Algorithm", (f"{facts.algorithm}; {facts.server}",)),
            ("Local training", (facts.local,)),
            ("Compression of updates", (facts.compression,)),
            ("Secure aggregation", (facts.secure_aggregation,)),
            ("Threat model of the aggregation", (facts.threat_model,)),
            ("Preprocessing", (facts.preprocessing,)),
            ("Really separate", facts.separate),
            ("Not separate in this training", facts.together),
        )
    )


def _partition(settings: dict[str, Any]) -> str:
    clients = settings.get("clients", {})
    if clients.get("partition") == "dirichlet":
        return f"each with label shares of its own, Dirichlet with concentration {clients.get('alpha'):g}"
    return "rows dealt out at random in equal parts"


def _asked(mechanism: Federated | DpFedAvg | DpFtrl) -> float:
    if isinstance(mechanism, Federated):
        return float(mechanism.clients_per_round)
    return mechanism.expected_clients_per_round


def _server(server: dict[str, Any]) -> str:
    rate = f"step of {server.get('learning_rate', 1.0):g} along the mean update"
    if server.get("optimizer") == "fedprox":
        return f"{rate}; clients are held near its weights with strength {server.get('proximal_strength'):g}"
    return rate


def _local(local: dict[str, Any], *, whole: bool) -> str:
    if whole:
        return "one gradient of the mean loss over all of its rows"
    epochs = local.get("epochs", 1)
    passes = "1 pass" if epochs == 1 else f"{epochs} passes"
    return f"{passes} over its rows in batches of {local.get('batch_size')}, learning rate {local.get('learning_rate')}"


def _threat_model(mechanism: Federated | DpFedAvg | DpFtrl) -> str:
    if mechanism.secure_aggregation == "simulated":
        return _SIMULATED
    if isinstance(mechanism, Federated):
        return f"None. {_SEEN}; nothing bounds what the model reveals about a client."
    return (
        f"Central. {_SEEN}: the server clips it, adds the noise to the sum, and is trusted to do so. The privacy "
        f"statement bounds what everybody else learns from the model about one {mechanism.unit}."
    )


def _preprocessing(transform: Transform) -> str:
    """Says what the constants of the transform rest on."""
    pooled = sorted({entry.feature for entry in transform.constants if entry.source == "training data"})
    noisy = sorted({entry.feature for entry in transform.constants if entry.source == "private statistics"})
    own = "the owner's own preprocessing function; " if transform.module is not None else ""
    if pooled:
        return (
            f"{own}pooled: constants of {', '.join(pooled)} were computed from the rows of all clients together, as "
            "the owner allowed"
        )
    if noisy:
        columns = ", ".join(noisy)
        return f"{own}constants of {columns} were computed from pooled rows with noise; the others are public facts"
    return f"{own}public facts of the schema and the config; no row of any client was read for a constant"
