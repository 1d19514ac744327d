from probity.budget import BudgetStatement, budget_statements, statement_path
from probity.digest import digest_bytes
from probity.storage import write_record

STATEMENT = BudgetStatement(
    account="census", unit="row", delta=1e-5, granted=3.0, spent=1.0, reserved=0.0, left=2.0, payments=1, non_private=0,
    lines=(), ledger=digest_bytes(b"entry"),
)  # fmt: skip


def test_statements_are_found_again_one_per_account(tmp_path):
    other = STATEMENT.model_copy(update={"account": "../elsewhere"})
    for statement in (STATEMENT, other):
        path = statement_path(tmp_path, statement.account)
        assert path.parent == tmp_path / "budget"
        write_record(path, statement)
    assert {entry.account for entry in budget_statements(tmp_path)} == {"census", "../elsewhere"}


def test_an_unreadable_statement_hides_no_other(tmp_path):
    write_record(statement_path(tmp_path, "census"), STATEMENT)
    statement_path(tmp_path, "other").write_text("{", encoding="utf-8")
    assert budget_statements(tmp_path) == (STATEMENT,)


def test_a_workspace_without_a_ledger_has_none(tmp_path):
    assert budget_statements(tmp_path) == ()
