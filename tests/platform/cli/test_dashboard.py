import pytest
from typer.testing import CliRunner

from probity.errors import ConfigError
from probity.platform.cli import app, dashboard

runner = CliRunner()


@pytest.fixture
def started(monkeypatch):
    """What would have been given to Streamlit."""
    calls = []

    class Bootstrap:
        @staticmethod
        def load_config_options(options):
            calls.append(options)

        @staticmethod
        def run(script, is_hello, arguments, options):
            calls.append((script, arguments))

    monkeypatch.setattr(dashboard, "_streamlit", lambda: Bootstrap)
    return calls


def test_it_listens_on_this_machine_and_sends_nothing_elsewhere(started, tmp_path):
    assert runner.invoke(app, ["dashboard", "--workspace", str(tmp_path)]).exit_code == 0
    options, (script, arguments) = started
    assert options["server.address"] == "127.0.0.1"
    assert options["server.port"] == 8601
    assert options["browser.gatherUsageStats"] is False
    assert options["client.showErrorDetails"] == "none"
    assert script.endswith("dashboards/app.py")
    assert arguments == ["--workspace", str(tmp_path), "--mode", "local"]


@pytest.mark.parametrize(("option", "mode"), [("--public", "public"), ("--login", "login")])
def test_other_addresses_need_a_mode_that_is_safe_there(started, tmp_path, option, mode):
    given = ["dashboard", "--address", "0.0.0.0", "--workspace", str(tmp_path)]  # noqa: S104
    refused = runner.invoke(app, given)
    assert isinstance(refused.exception, ConfigError)
    assert not started
    assert runner.invoke(app, [*given, option]).exit_code == 0
    assert started[1][1][-1] == mode


def test_public_and_login_exclude_each_other(started, tmp_path):
    refused = runner.invoke(app, ["dashboard", "--public", "--login", "--workspace", str(tmp_path)])
    assert isinstance(refused.exception, ConfigError)
    assert not started
