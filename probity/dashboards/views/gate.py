"""Gate and approval: every check, what would have to change, and how a person decides - on their own machine."""

from __future__ import annotations

from collections.abc import Sequence

from probity.dashboards.evidence import published
from probity.dashboards.exhibit import heading, table
from probity.dashboards.report import Report
from probity.dashboards.signed_history import attested, history_rows, known_history, words_on_run
from probity.dashboards.words import OUTCOMES, digest_text, moment, plain
from probity.decision import Check, GateDecision
from probity.model_cards.wording import ABSENT, value_text

__all__ = ["render"]

EVIDENCE = "evidence:"


def render(report: Report) -> None:
    """Shows the decision of the gate on the run."""
    import streamlit as st

    decision = report.decision()
    if decision is None:
        st.info("The gate did not decide about this run: it did not come that far, or its decision cannot be read.")
        return
    _verdict(decision)
    _blocking(report, decision.blocking)
    rules = [check for check in decision.checks if not check.rule.startswith(EVIDENCE)]
    table([_row(report, check) for check in rules], name="rules", title="Rules")
    table(
        [_row(report, check) for check in decision.checks if check.rule.startswith(EVIDENCE)],
        name="evidence",
        title="Evidence",
        about="Every report has to be there, complete, unchanged, and about this model and these test rows.",
    )
    if not report.public:
        _to_do(report, decision)


def _verdict(decision: GateDecision) -> None:
    import streamlit as st

    passed = sum(check.outcome == "pass" for check in decision.checks)
    words = f"{passed} of {len(decision.checks)} checks passed"
    if decision.verdict == "release":
        st.success(f"**Release.** {words}.")
    else:
        st.error(f"**Hold.** {words}; one that does not pass is enough.")
    st.caption(f"model {digest_text(decision.model)}, card {digest_text(decision.card)}, policy "
               f"{digest_text(decision.policy)}")  # fmt: skip


def _blocking(report: Report, blocking: Sequence[Check]) -> None:
    if not blocking:
        return
    table(
        [
            {
                "rule": check.rule,
                "came out as": OUTCOMES[check.outcome],
                "what would have to change": check.reason if _shown(report, check) else "see the run's owner",
            }
            for check in blocking
        ],
        name="blocking",
        title="What would have to change",
    )


def _row(report: Report, check: Check) -> dict[str, str]:
    shown = _shown(report, check)
    interval = f"{value_text(check.lower)} to {value_text(check.upper)}" if check.lower is not None and shown else ""
    return {
        "rule": check.rule,
        "outcome": OUTCOMES[check.outcome],
        "required": check.required,
        "observed": value_text(check.observed) if shown else ("withheld" if check.observed is not None else ABSENT),
        "interval": interval,
        "evidence": ", ".join(check.evidence) or ABSENT,
    }


def _shown(report: Report, check: Check) -> bool:
    """Whether a reader may see what was observed: the public, where the card publishes every finding behind it."""
    return not report.public or check.observed is None or published(report.card(), check.evidence)


def _to_do(report: Report, decision: GateDecision) -> None:
    """Says which command comes next. This page holds no key and decides nothing."""
    import streamlit as st

    run, config, history = report.folder.id, report.config(), known_history(report)
    needed = config.gate.approval.required if config else "never"
    heading("Approval", about=f"This policy asks for a person's approval: {needed.replace('_', ' ')}.")
    for problem in history.problems:
        st.error(plain(f"The signed history cannot be followed further: {problem}"))
    table(
        history_rows(words_on_run(history, run), public=report.public),
        name="reviews",
        about="By the signed history, verified with the public keys of the reviewers.",
        title="What reviewers said",
        empty="nobody has approved or rejected this run",
    )
    table(
        [
            {
                "reviewer": sealed.review.reviewer,
                "word": sealed.review.outcome,
                "when (UTC)": moment(sealed.review.at),
                "comment": sealed.review.comment,
                "key": sealed.keyid,
            }
            for sealed in report.reviews()
        ],
        name="counting_reviews",
        title="Which of that counts now",
        about="Signatures verified, and the evidence is still byte for byte what the reviewer looked at. Whether it "
        "is enough - how many are needed, and that one of them did not start the run - is what probity gate says.",
        empty="no review counts for this evidence",
    )
    _attested(report)
    st.caption(
        "An approval is signed with the reviewer's own key on the reviewer's own machine. This page holds no keys and "
        "changes nothing; whoever decides types one of these."
    )
    st.code("\n".join(_commands(report, decision, reviewed=needed != "never")), language="bash")


def _commands(report: Report, decision: GateDecision, *, reviewed: bool) -> list[str]:
    """Returns what whoever decides may type next."""
    run = report.folder.id
    commands = [f"probity gate {run}", f"probity verify {report.folder.path}"]
    if reviewed:
        commands += [
            f"probity approve {run} --key FILE --comment TEXT",
            f"probity reject {run} --key FILE --comment TEXT",
        ]
    if decision.verdict == "release" and report.release() is None:
        commands.append(f"probity release {run}")
    return commands


def _attested(report: Report) -> None:
    """Shows what was signed at the release, and whether the files are still those that it is about."""
    import streamlit as st

    found = attested(report)
    heading("Attested at the release", about="Signed line by line, verified with the release keys beside the config.")
    if found is None:
        st.caption("nothing is attested about a run that was not released")
        return
    for problem in found.problems:
        st.error(plain(f"The attestations cannot be followed further: {problem}"))
    if found.changed:
        st.error(plain(f"Not what was decided on any more: {', '.join(found.changed)}"))
    elif not found.problems:
        st.success("Every file that was decided on is still byte for byte what was signed.")
    table(
        [
            {
                "line": str(line.number),
                "states": line.kind,
                "about": str(line.facts.get("audit", "")),
                "key": line.keyid,
            }
            for line in found.lines
        ],
        name="attested",
    )
