"""TensorFlow Serving's configuration files, and that what is written for the real server reads back as it was."""

import pytest

from probity.errors import ConfigError
from probity.platform.serving import model_config, real_server
from probity.platform.serving.messages import config_message
from probity.platform.serving.options import All, Batching, Latest, ModelSource, ServerOptions, Specific, Tls
from probity.platform.serving.status import ServingError


def write(folder, text):
    path = folder / "file.config"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_documented_model_config_is_read(tmp_path):
    text = """
    model_config_list {
      config { name: 'a' base_path: '/models/a' model_platform: 'tensorflow' }
      config { name: 'b' base_path: '/models/b'
        model_version_policy { specific { versions: 42 versions: 43 } }
        version_labels { key: 'stable' value: 42 } version_labels { key: 'canary' value: 43 } }
      config { name: 'c' base_path: '/models/c' model_version_policy { latest { num_versions: 2 } } }
      config { name: 'd' base_path: '/models/d' model_version_policy { all {} } }
    }
    """
    a, b, c, d = model_config.read_models(write(tmp_path, text))
    assert (a.name, str(a.base_path), a.policy) == ("a", "/models/a", Latest())
    assert (b.policy, b.labels) == (Specific(versions=(42, 43)), {"stable": 42, "canary": 43})
    assert (c.policy, d.policy) == (Latest(num_versions=2), All())


@pytest.mark.parametrize(
    "text",
    [
        "", "model_config_list {}", "nonsense", "model_config_list { config { name: 'a' } }",
        "model_config_list { config { base_path: '/a' } }",
        "model_config_list { config { name: 'a' base_path: '/a' } config { name: 'a' base_path: '/b' } }",
        "model_config_list { config { name: 'a' base_path: '/a' model_platform: 'other' } }",
        "model_config_list { config { name: 'a' base_path: '/a' model_version_policy { specific {} } } }",
    ],
)  # fmt: skip
def test_model_configs_that_cannot_be_served_are_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="--model-config-file"):
        model_config.read_models(write(tmp_path, text))


def test_models_survive_the_way_through_the_message(tmp_path):
    models = (
        ModelSource(name="a", base_path=tmp_path, policy=Latest(num_versions=3)),
        ModelSource(name="b", base_path=tmp_path, policy=All(), labels={"stable": 1}),
        ModelSource(name="c", base_path=tmp_path, policy=Specific(versions=(1, 5))),
    )
    assert model_config.sources_of(config_message(models)) == models
    with pytest.raises(ServingError):
        model_config.sources_of(config_message(()))


def test_the_documented_batching_parameters_are_read(tmp_path):
    text = "max_batch_size { value: 128 }\nbatch_timeout_micros { value: 0 }\nmax_enqueued_batches { value: 1000000 }\n"
    found = model_config.read_batching(write(tmp_path, text + "num_batch_threads { value: 8 }"))
    assert found == Batching(
        max_batch_size=128, batch_timeout_micros=0, max_enqueued_batches=1_000_000, num_batch_threads=8
    )
    assert model_config.read_batching(write(tmp_path, "")) == Batching()


@pytest.mark.parametrize(
    "text",
    ["max_batch_size { value: 0 }", "pad_variable_length_inputs: true", "batch_timeout_micros { value: -1 }", "x"],
)
def test_batching_parameters_that_mean_nothing_here_are_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="--batching-parameters-file"):
        model_config.read_batching(write(tmp_path, text))


@pytest.mark.parametrize("text", ["", 'server_key: "k"', 'server_key: "k" server_cert: "c" client_verify: true'])
def test_an_incomplete_ssl_config_is_refused_without_being_quoted(tmp_path, text):
    with pytest.raises(ConfigError, match="--ssl-config-file") as caught:
        model_config.read_tls(write(tmp_path, text))
    assert '"k"' not in str(caught.value)


def test_monitoring(tmp_path):
    assert model_config.read_monitoring_path(write(tmp_path, "prometheus_config { enable: true path: '/m' }")) == "/m"
    assert model_config.read_monitoring_path(write(tmp_path, "")) is None


def test_a_file_that_is_not_there_is_an_error_of_the_arguments(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        model_config.read_models(tmp_path / "none")


def test_the_real_server_is_told_what_was_asked(tmp_path):
    tls = Tls(server_key='k\n"1"', server_cert="c\n2", custom_ca="ca", client_verify=True)
    batching = Batching(max_batch_size=7, batch_timeout_micros=9)
    model = ModelSource(name="a", base_path=tmp_path / "a", policy=All(), labels={"stable": 1})
    options = ServerOptions(models=(model,), port=1, rest_api_port=2, tls=tls, batching=batching, poll_seconds=0.2)
    words = real_server.command(options, binary="server", folder=tmp_path)
    files = dict(word.removeprefix("--").split("=", 1) for word in words[1:])
    assert words[0] == "server"
    assert (files["port"], files["rest_api_port"], files["file_system_poll_wait_seconds"]) == ("1", "2", "1")

    def read(key):
        return tmp_path / files[key].rpartition("/")[2]

    assert model_config.read_models(read("model_config_file")) == (model,)
    assert model_config.read_batching(read("batching_parameters_file")) == batching
    assert model_config.read_tls(read("ssl_config_file")) == tls
    assert read("ssl_config_file").stat().st_mode & 0o077 == 0
    assert model_config.read_monitoring_path(read("monitoring_config_file")) == options.monitoring_path


def test_the_docker_command_names_the_model_and_its_folder(tmp_path):
    options = ServerOptions(models=(ModelSource(name="a", base_path=tmp_path),), port=1, rest_api_port=2)
    words = real_server.docker_command(options)
    assert f"{tmp_path}:/models/a:ro" in words
    assert "MODEL_NAME=a" in words


def test_the_mirror_shows_the_real_server_whole_versions_only(tmp_path):
    copy = tmp_path / "copies" / "a" / "3"
    copy.mkdir(parents=True)
    (copy / "saved_model.pb").write_bytes(b"x")
    mirror = real_server.Mirror(tmp_path / "mirror")
    mirror.load("a", 3, copy)
    assert (tmp_path / "mirror/a/3/saved_model.pb").read_bytes() == b"x"
    assert mirror.sources([ModelSource(name="a", base_path=tmp_path)])[0].base_path == tmp_path / "mirror/a"
    mirror.unload("a", 3)
    assert list((tmp_path / "mirror/a").iterdir()) == []
