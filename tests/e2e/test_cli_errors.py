"""What goes wrong at the command line ends in one message without a traceback or a data value, and exit code 2."""

from __future__ import annotations

import pytest
import typer
import yaml
from typer.testing import CliRunner

from probity.__main__ import main
from probity.errors import ProbityError
from probity.platform.cli import app

CONFIG = {
    "name": "broken",
    "data": {"source": "data.csv", "label": {"column": "y", "positive": "1"}, "sensitive": ["sex"]},
    "model": {"kind": "logistic"},
    "serving": {"model_name": "broken"},
}


def invoke(folder, *arguments):
    """Runs the command line in this process and returns the expected error."""
    result = CliRunner().invoke(app, [*arguments])
    assert isinstance(result.exception, ProbityError), result.exception
    assert result.exception.exit_code == 2
    return str(result.exception)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        value = {**CONFIG, **changes}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(value))
        (tmp_path / "data.csv").write_text("y,sex,x\n" + "1,F,3\n0,M,4\n" * 20)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("changes", "arguments", "expected"),
    [
        ({"daat": 1}, (), "did you mean 'data'"),
        ({"serving": {"model_name": "../up"}}, (), "serving.model_name"),
        ({"model": {"module": "../../etc/passwd"}}, (), "model.module"),
        ({"model": {"module": "missing.py"}}, (), "model.module"),
        ({"transform": {"module": "/etc/passwd"}}, (), "transform.module"),
        ({"trainer": {"name": "plan"}}, (), "plain"),
        ({"trainer": {"name": "plain", "epoch": 3}}, (), "did you mean 'epochs'"),
        ({"schema": "missing.pbtxt"}, (), "schema"),
        ({}, ("--set", "seed=abc"), "seed"),
        ({}, ("--set", "seed"), "--set"),
        ({}, ("--set", "name.sub=1"), "--set name.sub"),
        ({}, ("--until", "trane"), "--until"),
        ({}, ("--trainer", "nobody"), "plain"),
    ],
)
def test_a_wrong_config_or_argument_is_refused_before_anything_runs(project, changes, arguments, expected):
    folder = project(**changes)
    assert expected in invoke(folder, "run", "c.yaml", *arguments)
    assert not (folder / ".probity/runs").exists()


@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["plain", "debug"])
def test_an_expected_error_ends_with_its_own_code_also_where_a_traceback_is_shown(project, monkeypatch, capsys, debug):
    project(seed="abc")
    monkeypatch.setattr("sys.argv", ["probity", *debug, "run", "c.yaml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert ("Traceback" in capsys.readouterr().err) == bool(debug)


@pytest.mark.parametrize("text", ["- a\n- b\n", "", "a: [", "\x00", "just text"])
def test_a_file_that_is_no_mapping_is_refused(project, text):
    folder = project()
    (folder / "c.yaml").write_text(text)
    assert "c.yaml" in invoke(folder, "run", "c.yaml")


def test_a_missing_config_names_init(project):
    assert "probity init" in invoke(project(), "run", "nowhere.yaml")


def test_extends_in_a_circle_is_refused(project):
    folder = project()
    (folder / "c.yaml").write_text("extends: d.yaml\n")
    (folder / "d.yaml").write_text("extends: c.yaml\n")
    assert "circle" in invoke(folder, "run", "c.yaml")


def test_init_writes_a_project_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["init", "new"])
    assert result.exit_code == 0
    assert (tmp_path / "new/probity.yaml").is_file()
    assert (tmp_path / "new/schema.pbtxt").is_file()
    assert "exists already" in invoke(tmp_path, "init", "new")


def commands(group, path=()):
    """Yields the words of every command below a group, and of every group that does something by itself."""
    for name, command in group.commands.items():
        words = (*path, name)
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield words
        if hasattr(command, "commands"):
            yield from commands(command, words)


COMMANDS = sorted(commands(typer.main.get_command(app)))
SHORT = {("card", "print"): ("card",)}  # probity card RUN is what people type


def test_the_commands_of_the_contract_are_there():
    words = {" ".join(command) for command in COMMANDS}
    single = "init run compare runs show gate approve reject release rollback releases verify serve dashboard doctor"
    promised = {*single.split(), "schema", "card print", "budget grant", "workers sync", "key create"}
    assert promised <= words


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(command):
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0
    examples = result.output[result.output.index("Example: ") :]
    assert f"probity {' '.join(SHORT.get(command, command))} " in f"{examples} "


@pytest.mark.parametrize("kind", ["config", "report", "decision", "card"])
def test_schemas_are_valid_json_schema(kind):
    import json

    import jsonschema

    result = CliRunner().invoke(app, ["schema", kind])
    jsonschema.Draft202012Validator.check_schema(json.loads(result.output))


def test_the_example_configs_fit_the_config_schema():
    import json
    from pathlib import Path

    import jsonschema

    from probity.config_file import load_config

    schema = json.loads(CliRunner().invoke(app, ["schema", "config"]).output)
    examples = Path(__file__).parents[2] / "examples/adult_income"
    jsonschema.validate(yaml.safe_load((examples / "probity.yaml").read_text()), schema)
    for path in examples.glob("*.yaml"):
        if path.name != "card.yaml":  # a part of a config, not one
            load_config(path)
