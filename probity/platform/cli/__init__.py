"""The command line: one module per command group, no logic of its own.

Nothing heavy is imported before a command needs it, so that ``probity --help`` answers at once.
"""

from __future__ import annotations

import typer

from probity.platform.cli import (
    auditing,
    budget,
    cards,
    check,
    compare,
    dashboard,
    diff,
    inspect,
    keys,
    monitor,
    predict,
    project,
    releasing,
    rollout,
    running,
    serving,
    thresholds,
    whatif,
    workers,
)

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, audit, gate and release models that must be shown to be private and fair. "
    "Exit codes: 0 done or released, 2 wrong config, data or arguments, 3 held by the gate, 4 privacy budget, 5 "
    "worker environment not ready, 1 unexpected. "
    "Add --debug to any command for tracebacks.",
)
app.command("init")(project.init)
app.command("run")(running.run)
app.command("audit")(auditing.audit)
app.command("compare")(compare.compare)
app.command("diff")(diff.diff)
app.command("runs")(inspect.runs)
app.command("show")(inspect.show)
app.command("gate")(running.gate)
app.command("approve")(releasing.approve)
app.command("reject")(releasing.reject)
app.command("waive")(releasing.waive)
app.command("release")(running.release)
app.command("serve")(serving.serve)
app.command("rollout")(rollout.rollout)
app.command("monitor")(monitor.monitor)
app.command("feedback")(monitor.feedback)
app.command("rollback")(releasing.rollback)
app.command("releases")(releasing.releases)
app.command("verify")(releasing.verify)
app.add_typer(keys.app, name="key")
app.add_typer(cards.app, name="card")
app.command("predict")(predict.predict)
app.command("whatif")(whatif.whatif)
app.command("thresholds")(thresholds.thresholds)
app.command("dashboard")(dashboard.dashboard)
app.add_typer(budget.app, name="budget")
app.add_typer(workers.app, name="workers")
app.command("doctor")(check.doctor)
app.command("schema")(check.schema)
