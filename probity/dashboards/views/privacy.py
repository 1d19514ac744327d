"""Privacy: what may be claimed, what it cost, what attacks could show, and who sees what."""

from __future__ import annotations

from collections.abc import Sequence

from probity.budget import BudgetStatement, budget_statements
from probity.card import CardNumber, CumulativeSpending
from probity.dashboards.drawing import Point, Series, bars, intervals, lines
from probity.dashboards.exhibit import exhibit, facts, heading, not_assessed, notes, table
from probity.dashboards.numbers_shown import number_rows, point
from probity.dashboards.pitfalls import answers
from probity.dashboards.report import Report
from probity.dashboards.words import moment, plain, sentence, short_number
from probity.findings import PrivacyStatement
from probity.model_cards.wording import ABSENT, group_label

__all__ = ["render"]

_SIGNS = {"fine": "\N{CHECK MARK} fine", "look": "? look at it", "not applicable": ABSENT}


def render(report: Report) -> None:
    """Shows statement, budget, attacks and trust."""
    _statement(report)
    _budget(report)
    _by_epoch(report)
    _attacks(report)
    _trust(report)
    _pitfalls(report)


def _stated(report: Report) -> PrivacyStatement | None:
    card = report.card()
    if report.public:
        found = card.privacy.statement if card is not None else None
        return found if isinstance(found, PrivacyStatement) else None
    audited = report.statement()
    return None if audited is None else audited.privacy_statement


def _statement(report: Report) -> None:
    import streamlit as st

    heading("What may be claimed")
    statement = _stated(report)
    if statement is None:
        if not not_assessed(report.audited("privacy")):
            st.info("The report has no privacy statement.")
        return
    st.markdown(f"> {plain(statement.text)}")
    facts(
        [
            ("epsilon", short_number(statement.epsilon)),
            ("delta", f"{statement.delta:g}"),
            ("protected unit", statement.unit),
            ("neighbouring data sets", statement.neighbouring_relation),
            ("accountant", statement.accountant),
            ("second opinion", f"{statement.second_accountant}: {short_number(statement.second_epsilon)}"),
            ("sampling", statement.sampling),
            ("composed of", sentence(statement.composed)),
        ],
        name="statement",
    )
    table([{"assumed": text} for text in statement.assumptions], name="assumptions", title="On these assumptions")
    table([{"not covered": text} for text in statement.not_covered], name="not_covered", title="Not covered")


def _budget(report: Report) -> None:
    heading("Budget of the data set", about="What all trainings on the same rows reveal together, composed.")
    _cumulative(report)
    if report.public:
        return
    dataset, config = report.dataset(), report.config()
    account = (config.data.budget_id if config else None) or (dataset.content_digest if dataset else None)
    found = next((entry for entry in budget_statements(report.workspace.root) if entry.account == account), None)
    if found is None:
        table([], name="budget", empty="no statement of the ledger in this workspace: see probity budget show")
        return
    _standing(report, found)
    table(
        [
            {
                "entry": str(line.number),
                "when (UTC)": moment(line.at),
                "who": line.by,
                "what": line.kind,
                "of": line.what,
                "run": line.run or ABSENT,
                "comment": line.comment or "",
            }
            for line in found.lines
        ],
        name="budget_history",
        title="History of the budget",
    )


def _cumulative(report: Report) -> None:
    import streamlit as st

    card = report.card()
    if card is None:
        return
    spent = card.privacy.cumulative
    if isinstance(spent, CumulativeSpending):
        st.markdown(
            plain(
                f"When this card was written: epsilon {short_number(spent.epsilon)} at delta {spent.delta:g} per "
                f"{spent.unit}, composed of {spent.mechanisms} mechanisms; {spent.non_private} trainings without "
                f"differential privacy, {spent.open_reservations} open reservations."
            )
        )
    else:
        st.info(f"Not assessed: {plain(spent.reason)}")


def _standing(report: Report, found: BudgetStatement) -> None:
    parts = [("granted", found.granted), ("spent", found.spent), ("reserved", found.reserved), ("left", found.left)]
    drawn = [(name, Point(x=0, y=value)) for name, value in parts if value is not None]
    exhibit(
        report,
        lambda dark: bars(drawn, title=f"epsilon per {found.unit}", x="epsilon", dark=dark),
        [
            {"": name, "epsilon": "no cap" if value is None else short_number(value), "per": found.unit,
             "at delta": ABSENT if found.delta is None else f"{found.delta:g}"}
            for name, value in parts
        ],
        title="Where the budget stands",
        name="budget",
        about=f"As of entry {found.lines[-1].number if found.lines else 0} of the ledger; {found.payments} mechanisms "
        f"were executed, and {found.non_private} trainings that no epsilon bounds.",
    )  # fmt: skip


def _by_epoch(report: Report) -> None:
    found = None if report.public else report.epsilon_by_epoch()
    if found is None:
        return
    points = tuple(Point(x=float(epoch), y=value) for epoch, value in zip(found.epochs, found.epsilon, strict=True))
    exhibit(
        report,
        lambda dark: lines(
            [Series(label="epsilon", points=(Point(x=0.0, y=0.0), *points))],
            title=f"epsilon after each epoch, at delta {found.delta:g}",
            x="epoch",
            y="epsilon",
            dark=dark,
        ),
        [{"epoch": f"{p.x:g}", "epsilon": short_number(p.y)} for p in points],
        title="Epsilon over the training",
        name="epsilon_by_epoch",
    )


def _attacks(report: Report) -> None:
    found = report.audited("attacks")
    heading("What attacks could show", about="Bounds the leak from below, and never from above.")
    if not_assessed(found):
        return
    strengths = [n for n in found.numbers if n.metric == "membership_auc" and not n.slice]
    _attack_chart(report, strengths, title="Membership inference, by attack", name="attacks", groups=False)
    exposed = [n for n in found.numbers if n.metric == "membership_auc" and len(n.slice) == 1]
    if exposed:
        _attack_chart(report, exposed, title="Membership inference, by group", name="attacks_by_group", groups=True)
    bounds = [n for n in found.numbers if n.metric == "audited_epsilon_lower_bound"]
    rest = [n for n in found.numbers if n not in strengths and n not in exposed and n not in bounds and not n.slice]
    table(number_rows(bounds), name="lower_bounds", title="Epsilon from below, canaries included")
    table(number_rows(rest), name="attack_numbers", title="Other numbers of the attacks")
    notes(found)


def _attack_chart(report: Report, numbers: Sequence[CardNumber], *, title: str, name: str, groups: bool) -> None:
    names = [_of_attack(number, groups=groups) for number in numbers]
    rows = [{"attack or group": name} | row for name, row in zip(names, number_rows(numbers), strict=True)]
    exhibit(
        report,
        lambda dark: intervals(
            list(zip(names, map(point, numbers), strict=True)),
            title="How often the attack picks the member; dotted: guessing",
            x="AUC",
            dark=dark,
            reference=0.5,
        ),
        rows,
        title=title,
        name=name,
    )


def _of_attack(number: CardNumber, *, groups: bool) -> str:
    return group_label(number.slice) if groups else (number.attack or "strongest").replace("_", " ")


def _trust(report: Report) -> None:
    card = report.card()
    table(
        [
            {"who": row.party, "rows in the clear": "yes" if row.sees_raw_rows else "no", "sees": row.sees}
            for row in (card.privacy.trust if card else ())
        ],
        name="trust",
        title="Who sees what",
        empty="not assessed: the run did not come as far as its card",
    )


def _pitfalls(report: Report) -> None:
    model = None if report.public else report.model()
    if model is None:
        return
    table(
        [
            {"pitfall": found.question, "state": _SIGNS[found.state], "the records say": found.found}
            for found in answers(model, _stated(report))
        ],
        name="pitfalls",
        title="Pitfalls, looked up in the records",
    )
