"""What a ledger refuses: more than the cap, what cannot be composed, and old rows under a new name."""

from __future__ import annotations

from collections.abc import Sequence

from probity.audits.accounting import unaccountable
from probity.audits.privacy_events import Spent
from probity.errors import BudgetError, BudgetExceededError
from probity.model import DpFedAvg, DpFtrl, DpSgd
from probity.platform.budget.balance import Accountant, Standing, composed, private
from probity.platform.budget.entries import Account, Entry, Granted, Refunded, Reserved

__all__ = ["covers", "require_allowed", "require_same_account", "short"]


def require_allowed(
    standing: Standing,
    account: Account,
    asked: Sequence[Spent],
    *,
    accountant: Accountant,
    quick: Accountant | None = None,
) -> None:
    """Raises unless the cap allows all that was asked, together with everything that counts already.

    Args:
        standing: Where the account stands.
        account: Whose budget it is.
        asked: What somebody is about to spend.
        accountant: Composes what counts; its word is final.
        quick: A cheaper accountant whose epsilons are bounds as well. What it allows is allowed: far from the cap,
            nobody has to wait for the tighter one.

    Raises:
        BudgetExceededError: If the cap would be passed, or forbids trainings without differential privacy.
        BudgetError: If some of it has no epsilon per unit of the cap.
    """
    cap = standing.cap
    if cap is None:
        return
    wanted = private(asked)
    if cap.forbid_non_private and len(wanted) < len(asked):
        raise BudgetExceededError(
            f"privacy budget of {short(account.id)}",
            seen="a training without differential privacy: its epsilon is infinite",
            allowed="differentially private training only, as the owner of the budget decided",
            remedy="use a private trainer, for example --trainer dp_sgd",
        )
    if not wanted:
        return
    _require_composable(standing, cap, account, wanted)

    def epsilon(*spent: Spent, by: Accountant = accountant) -> float:
        return composed(spent, unit=cap.unit, delta=cap.delta, accountant=by)

    if quick is not None and epsilon(*standing.counted, *wanted, by=quick) <= cap.epsilon:
        return
    total = epsilon(*standing.counted, *wanted)
    if not total <= cap.epsilon:
        counted, alone = epsilon(*standing.counted), epsilon(*wanted)
        waiting = f" (of which {len(standing.open)} open reservations)" if standing.open else ""
        raise BudgetExceededError(
            f"privacy budget of {short(account.id)}",
            seen=f"asked epsilon {alone:.4g}, spent or reserved {counted:.4g}{waiting}; "
            f"together {total:.4g}, composed at delta {cap.delta:g}",
            allowed=f"{cap.epsilon:.4g} in all; {max(cap.epsilon - counted, 0.0):.4g} left",
            remedy="ask for less with trainer.target_epsilon, resolve reservations that ended without a model "
            "(probity budget show), or let the owner grant more",
        )


def _require_composable(standing: Standing, cap: Granted, account: Account, asked: Sequence[Spent]) -> None:
    for reason in filter(None, (unaccountable(entry, unit=cap.unit) for entry in asked)):
        raise BudgetError(
            f"privacy budget of {short(account.id)}",
            seen=reason,
            allowed=f"mechanisms whose epsilon per {cap.unit} an accountant can state",
            remedy="change the settings, or let the owner of the budget grant one for this unit",
        )
    for reason in filter(None, (unaccountable(entry, unit=cap.unit) for entry in private(standing.counted))):
        raise BudgetError(
            f"privacy budget of {short(account.id)}",
            seen=f"the account holds something that no epsilon per {cap.unit} bounds: {reason}",
            allowed=f"an account that was spent per {cap.unit} only",
            remedy="let the owner of the budget grant one for the unit that was spent on, or resolve it if it is open",
        )


def require_same_account(entries: Sequence[Entry], account: Account) -> None:
    """Raises if these very rows belong to another account: a new name does not make their privacy new.

    Rows belong to the account that something private was charged to, or is reserved on, for them; and to the account
    of their own digest if a cap was granted on that.

    Raises:
        BudgetError: If they do.
    """
    refunded = {entry.event.reservation for entry in entries if isinstance(entry.event, Refunded)}
    others = sorted(
        {
            entry.account
            for entry in entries
            if entry.account != account.id and _binds(entry, account.content, refunded=refunded)
        }
    )
    if others:
        raise BudgetError(
            "data.budget_id",
            seen=f"{short(account.id)}, but these very rows belong to {', '.join(map(short, others))}",
            allowed="one account for one set of rows",
            remedy="keep the earlier budget_id (or none, if there was none)",
        )


def _binds(entry: Entry, content: str, *, refunded: set[str]) -> bool:
    event = entry.event
    if isinstance(event, Granted):
        return entry.account == content
    return (
        isinstance(event, Reserved)
        and event.content == content
        and event.reservation not in refunded
        and bool(private([event.spending]))
    )


def covers(reserved: Spent, executed: Spent) -> bool:
    """Whether what was executed is what was reserved, or less of it."""
    if isinstance(reserved, DpSgd) and isinstance(executed, DpSgd):
        same = executed.model_copy(update={"steps": reserved.steps, "engine": reserved.engine})
        return same == reserved and executed.steps <= reserved.steps
    if isinstance(reserved, DpFedAvg | DpFtrl) and isinstance(executed, DpFedAvg | DpFtrl):
        fewer = executed.model_copy(update={"rounds": reserved.rounds, "engine": reserved.engine})
        return fewer == reserved and executed.rounds <= reserved.rounds
    return executed == reserved


def short(account: str) -> str:
    """Returns an account's id as it is shown: a name, or the beginning of a digest."""
    return account[:19] if account.startswith("sha256:") else account
