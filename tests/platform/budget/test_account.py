"""A word on the command line means one account, or nothing."""

from __future__ import annotations

import pytest
import yaml

from probity import runs
from probity.digest import digest_bytes
from probity.errors import ConfigError
from probity.platform import ingest
from probity.platform.budget.account import account_named, unit_named
from probity.platform.budget.entries import Account
from probity.platform.budget.ledger import ledger_at
from probity.storage import write_atomically, write_record
from probity.workspace import Workspace
from tests.platform.budget.test_ledger import ACCOUNT, DATA, RUN, costs


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / ".probity")


@pytest.fixture
def named(workspace):
    """Looks a word up in the workspace's ledger."""

    def look_up(name, **options):
        return account_named(name, ledger=ledger_at(None, workspace), workspace=workspace, **options)

    return look_up


def config_file(folder, **data):
    """Writes a config and its rows, and returns its path."""
    (folder / "rows.csv").write_text("y,x,person\n" + "".join(f"{i % 2},{i},{i // 3}\n" for i in range(60)))
    value = {
        "name": "small",
        "data": {"source": "rows.csv", "label": {"column": "y", "positive": "1"}, **data},
        "model": {"kind": "logistic"},
        "serving": {"model_name": "small"},
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def finished_run(path, workspace):
    """Writes what the first stage of a run of a config leaves."""
    from probity.config_file import load_config

    config = load_config(path)
    run = workspace.new_run(config.name)
    out = run.path / runs.EXAMPLES
    out.mkdir()
    dataset, _ = ingest.ingest(config.data, name=config.name, root=path.parent, out=out)
    text = yaml.safe_dump({"config": config.to_json()})
    write_atomically(run.path / runs.CONFIG, text.encode())
    write_record(run.path / runs.DATASET, dataset)
    return run, dataset


def test_nothing_means_the_only_account_there_is(named, workspace):
    with pytest.raises(ConfigError, match="0 accounts"):
        named(None)
    ledger = ledger_at(None, workspace)
    ledger.grant("panel", epsilon=1.0, delta=1e-5)
    assert named(None) == "panel"
    ledger.grant("other", epsilon=1.0, delta=1e-5)
    with pytest.raises(ConfigError, match=r"2 accounts.*panel, other"):
        named(None)


def test_a_digest_may_be_shortened_and_a_budget_id_may_not(named, workspace):
    ledger = ledger_at(None, workspace)
    ledger.reserve(ACCOUNT, costs(0.1), **RUN)
    ledger.grant("panel-2", epsilon=1.0, delta=1e-5)
    for name in (DATA, DATA[:12], DATA.removeprefix("sha256:")[:8]):
        assert named(name) == DATA
    with pytest.raises(ConfigError, match="no such account"):
        named("panel")
    assert named("panel", new=True) == "panel"
    with pytest.raises(ConfigError, match="no such account"):
        named("no/name", new=True)


def test_the_beginning_of_two_digests_means_neither(named, workspace):
    ledger = ledger_at(None, workspace)
    for start in ("aa", "ab"):
        ledger.grant(f"sha256:{start}{'0' * 62}", epsilon=1.0, delta=1e-5)
    assert named("aa") == f"sha256:aa{'0' * 62}"
    with pytest.raises(ConfigError, match="2 accounts fit"):
        named("a", new=True)


def test_the_digest_of_rows_means_the_account_they_were_charged_to(named, workspace):
    content = digest_bytes(b"January")
    ledger_at(None, workspace).reserve(Account(id="panel", content=content, unit="row"), costs(0.1), **RUN)
    assert named(content[:15]) == "panel"


def test_a_config_means_its_budget_id_or_its_rows(named, workspace, tmp_path):
    assert named(str(config_file(tmp_path, budget_id="panel"))) == "panel"
    path = config_file(tmp_path)
    _, dataset = finished_run(path, Workspace(tmp_path / "elsewhere"))
    assert named(str(path)) == dataset.content_digest


def test_rows_that_a_run_has_read_are_not_read_again(named, workspace, tmp_path, monkeypatch):
    path = config_file(tmp_path)
    run, dataset = finished_run(path, workspace)

    def read(*arguments, **options):
        raise AssertionError("the rows were read")

    monkeypatch.setattr(ingest, "ingest", read)
    assert named(str(path)) == named(run.id[:20]) == named("latest") == dataset.content_digest
    for change in (lambda: config_file(tmp_path, missing_values=["?"]), lambda: appended(tmp_path / "rows.csv")):
        change()
        with pytest.raises(AssertionError, match="were read"):
            named(str(path))
        config_file(tmp_path)


def appended(path):
    path.write_text(path.read_text() + "1,61,20\n")


def test_the_unit_is_the_one_that_a_config_or_a_run_declares(workspace, tmp_path):
    path = config_file(tmp_path, privacy_unit={"column": "person"})
    run, _ = finished_run(path, workspace)
    assert unit_named(str(path), workspace=workspace) == "person"
    assert unit_named(run.id, workspace=workspace) == "person"
    assert unit_named("panel", workspace=workspace) is None
    assert unit_named(str(config_file(tmp_path)), workspace=workspace) == "row"
