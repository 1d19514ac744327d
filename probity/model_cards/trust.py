"""Who sees what of the data: the table of the card's privacy section."""

from __future__ import annotations

from collections.abc import Iterator

from probity.card import TrustRow
from probity.data import Transform
from probity.model import DpFedAvg, DpFtrl, Encrypted, Federated, TrainedModel

__all__ = ["trust_rows"]


def trust_rows(model: TrainedModel, transform: Transform) -> Iterator[TrustRow]:
    """Says who sees what when training runs in the pipeline's own process, on secret shares, or ran elsewhere."""
    yield TrustRow(
        party="whoever operates the pipeline's machine",
        sees_raw_rows=True,
        sees="all rows in the clear, sensitive columns included, and every file of the run folder",
    )
    elsewhere = model.mechanism.kind == "unknown"
    if isinstance(model.mechanism, Encrypted):
        yield from _share_rows(model.mechanism)
    elif isinstance(model.mechanism, Federated | DpFedAvg | DpFtrl):
        yield from _federated_rows(model, model.mechanism)
    else:
        yield TrustRow(
            party="the trainer",
            sees_raw_rows=True,
            sees="not known: the model was trained elsewhere"
            if elsewhere
            else "the transformed features and labels of the training and evaluation rows in the clear; "
            + _groups(model),
        )
    yield TrustRow(
        party="the audits",
        sees_raw_rows=True,
        sees="training and test rows in the clear, sensitive columns of the test rows included",
    )
    if elsewhere:
        bound = "nobody here knows of anything that bounds what they reveal about a training row"
    elif model.mechanism.kind in ("non_private", "federated", "encrypted"):
        bound = "nothing bounds what the weights reveal about a training row"
    else:
        bound = "the privacy statement bounds what the weights reveal, on its assumptions"
    constants = "whatever preprocessing it holds" if elsewhere else f"the transform's {_constants(transform)}"
    yield TrustRow(
        party="whoever holds the released model files",
        sees_raw_rows=False,
        sees=f"the weights ({bound}) and {constants}",
    )
    yield TrustRow(
        party="whoever operates the serving host",
        sees_raw_rows=False,
        sees="the model files and every request in the clear" + _in_requests(model),
    )
    yield TrustRow(
        party="whoever reads this card or the experiment tracker",
        sees_raw_rows=False,
        sees="numbers about groups of rows, and settings; no row",
    )


def _share_rows(mechanism: Encrypted) -> Iterator[TrustRow]:
    """Says what each kind of party to a training on shares saw."""
    what = "rows" if mechanism.data_split == "rows" else "columns"
    for party in mechanism.parties:
        if party.role == "data_owner":
            yield TrustRow(
                party=f"data owner {party.name}", sees_raw_rows=True, sees=f"its own {what} in the clear, no other's"
            )
    servers = ", ".join(party.name for party in mechanism.parties if party.role == "server")
    if mechanism.execution == "simulated":
        seen = "everything: one process simulated all parties, so that this run hid nothing from whoever ran it"
    elif mechanism.same_operator:
        seen = "one share each, which says nothing by itself; one operator started all of them and could join these"
    else:
        seen = f"one share each, which says nothing by itself; {mechanism.threat_model}"
    yield TrustRow(party=f"the servers {servers}", sees_raw_rows=mechanism.execution == "simulated", sees=seen)
    for party in mechanism.parties:
        if party.role == "model_owner":
            revealed = ", ".join(entry.what for entry in mechanism.revealed if entry.to == party.name)
            yield TrustRow(
                party=f"model owner {party.name}",
                sees_raw_rows=False,
                sees=f"{revealed}; it builds the computation for all parties, who have to trust or check what it built",
            )


def _federated_rows(model: TrainedModel, mechanism: Federated | DpFedAvg | DpFtrl) -> Iterator[TrustRow]:
    """Says who sees what of a federation, and that one operator held all of this one."""
    remote = bool(model.settings.get("engine", {}).get("workers"))
    yield TrustRow(
        party="each client",
        sees_raw_rows=True,
        sees="its own rows, and the model of each round that it takes part in",
    )
    yield TrustRow(
        party="the server of the federation",
        sees_raw_rows=False,
        sees="each client's update in the clear"
        + ("; the secure sum that would hide it was simulated" if mechanism.secure_aggregation == "simulated" else "")
        + ("" if isinstance(mechanism, Federated) else "; it clips them and adds the noise, and is trusted to do so"),
    )
    yield TrustRow(
        party="whoever operates the machines that the federation ran on" if remote else "the machine it all ran on",
        sees_raw_rows=True,
        sees="the transformed features and labels of all clients, one file each: clients and server were processes of "
        "one operator" + ("; each remote worker was sent its clients' rows" if remote else ""),
    )


def _groups(model: TrainedModel) -> str:
    """Says which sensitive columns the trainer saw beside the features."""
    if model.mitigation is None:
        return "no column that is only audited"
    return f"the groups of {', '.join(model.mitigation.across)} in these rows, and no other column that is only audited"


def _in_requests(model: TrainedModel) -> str:
    served = () if model.mitigation is None else model.mitigation.served_columns
    return f", {', '.join(served)} of every person included, which the decision depends on" if served else ""


def _constants(transform: Transform) -> str:
    """Says where the numbers and words inside the transform graph came from."""
    if transform.depends_on_private_data:
        return "vocabularies and boundaries, computed from training rows without noise"
    sources = {constant.source for constant in transform.constants}
    if "private statistics" in sources:
        return "constants, which are public facts or were computed from training rows with noise"
    if "config" in sources:
        return "constants, which the curated schema and the config state"
    return "constants, which come from the curated schema"
