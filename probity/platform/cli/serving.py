"""``serve``: a model server over released versions."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from probity.platform.cli.options import quiet
from probity.platform.cli.serving_options import (
    BasePathOption,
    BatchingFileOption,
    BatchingOption,
    ConsentedOption,
    Engine,
    EngineOption,
    HostOption,
    InterOpThreadsOption,
    IntraOpThreadsOption,
    KeyOption,
    LogInputsOption,
    MaxRequestBytesOption,
    ModelConfigFileOption,
    ModelNameOption,
    MonitoringFileOption,
    PollSecondsOption,
    PortOption,
    PredictionLogOption,
    ProcessesOption,
    RequireVerifiedOption,
    RestPortOption,
    SslConfigFileOption,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from probity.platform.serving.options import Batching, ModelSource, ServerOptions
    from probity.platform.serving.prediction_log import PredictionLog

__all__ = ["serve"]

_WHERE = {Engine.REAL: "itself", Engine.DOCKER: "as this command starts its image"}


def serve(
    model_name: ModelNameOption = None,
    model_base_path: BasePathOption = None,
    model_config_file: ModelConfigFileOption = None,
    host: HostOption = None,
    port: PortOption = 8500,
    rest_api_port: RestPortOption = 8501,
    processes: ProcessesOption = 1,
    require_verified: RequireVerifiedOption = True,
    key: KeyOption = None,
    poll_seconds: PollSecondsOption = 1.0,
    enable_batching: BatchingOption = True,
    batching_parameters_file: BatchingFileOption = None,
    intra_op_threads: IntraOpThreadsOption = 0,
    inter_op_threads: InterOpThreadsOption = 0,
    max_request_bytes: MaxRequestBytesOption = 16 << 20,
    ssl_config_file: SslConfigFileOption = None,
    prediction_log: PredictionLogOption = None,
    log_inputs: LogInputsOption = "none",
    consented: ConsentedOption = None,
    monitoring_config_file: MonitoringFileOption = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Serve released versions through TensorFlow Serving's REST and gRPC API.

    Runs tensorflow_model_server if it is on the PATH (or TENSORFLOW_MODEL_SERVER names it) and can do all that the
    options ask for, else the embedded server. There is no authentication: keep it on 127.0.0.1, behind a proxy, or ask
    for client certificates.

    Example: probity serve --model-name adult_income --model-base-path serving/adult_income
    """
    from probity.platform.serving import model_config
    from probity.platform.serving.options import Limits, ServerOptions

    quiet()
    options = ServerOptions(
        models=_models(model_name, model_base_path, model_config_file),
        host=host or "127.0.0.1",
        port=port,
        rest_api_port=rest_api_port,
        processes=processes,
        require_verified=require_verified,
        trusted_keys=tuple(key or (Path("keys"),)),
        poll_seconds=poll_seconds,
        batching=_batching(enable_batching, batching_parameters_file),
        intra_op_threads=intra_op_threads,
        inter_op_threads=inter_op_threads,
        limits=Limits(max_request_bytes=max_request_bytes),
        tls=None if ssl_config_file is None else model_config.read_tls(ssl_config_file),
        prediction_log=_log(prediction_log, log_inputs, consented),
    )
    if monitoring_config_file is not None:
        options = replace(options, monitoring_path=model_config.read_monitoring_path(monitoring_config_file))
    _start(options, engine, host=host)


def _start(options: ServerOptions, engine: Engine, *, host: str | None) -> None:
    from probity.errors import ConfigError
    from probity.platform.serving import launcher, real_server

    binary = real_server.find_binary()
    lacking = real_server.not_by_binary(options, host=host)
    if engine is Engine.DOCKER:
        _require_able(engine, real_server.not_by_image(options))
        typer.echo("the container loads whatever lies there; check it before with: probity verify", err=True)
        typer.echo(shlex.join(real_server.docker_command(options)))
    elif engine is Engine.REAL and binary is None:
        raise ConfigError(
            "--engine",
            seen="real, and no tensorflow_model_server on the PATH or in TENSORFLOW_MODEL_SERVER",
            allowed="real where TensorFlow Serving is installed, embedded, docker",
            remedy="install it, or see the command for its image with: probity serve ... --engine docker",
        )
    elif engine is Engine.REAL or (engine is Engine.AUTO and binary and not (lacking or options.tls)):
        _require_able(engine, lacking)
        typer.echo(f"{binary}; it listens on all interfaces{_tls_note(options)}", err=True)
        raise typer.Exit(launcher.serve_real(options, binary=str(binary)))
    else:
        if binary and engine is Engine.AUTO:
            reasons = [*lacking, *(["--ssl-config-file for REST"] if options.tls else [])]
            typer.echo(f"the embedded server answers: {binary} has nothing for {', '.join(reasons)}", err=True)
        launcher.serve(options, ready=_say)


def _tls_note(options: ServerOptions) -> str:
    return "" if options.tls is None else ", REST without TLS: it has TLS for gRPC only"


def _require_able(engine: Engine, lacking: tuple[str, ...]) -> None:
    from probity.errors import ConfigError

    if lacking:
        raise ConfigError(
            "--engine",
            seen=f"with {', '.join(lacking)}, for which TensorFlow Serving {_WHERE[engine]} has nothing",
            allowed="options that this server can do; it would run as if they had not been given",
            remedy="leave them out, or take --engine embedded, which can do them",
        )


def _models(name: str | None, base_path: Path | None, config_file: Path | None) -> tuple[ModelSource, ...]:
    from probity.errors import ConfigError
    from probity.platform.serving.model_config import read_models
    from probity.platform.serving.options import ModelSource

    if config_file is not None and name is None and base_path is None:
        return read_models(config_file)
    if config_file is not None or name is None or base_path is None:
        raise ConfigError(
            "--model-name",
            seen="neither a model nor a list of models, or both",
            allowed="--model-name with --model-base-path, or --model-config-file",
            remedy="give one of the two",
        )
    return (ModelSource(name=name, base_path=base_path.resolve()),)


def _batching(enabled: bool, file: Path | None) -> Batching | None:
    from probity.platform.serving.model_config import read_batching
    from probity.platform.serving.options import Batching

    if not enabled:
        return None
    return Batching() if file is None else read_batching(file)


def _say(options: ServerOptions) -> None:
    typer.echo(f"REST on {options.host}:{options.rest_api_port}, gRPC on {options.host}:{options.port}")
    for model in options.models:
        typer.echo(f"model {model.name} from {model.base_path}")


def _log(folder: Path | None, inputs: str, consented: Path | None) -> Callable[[], PredictionLog] | None:
    from functools import partial

    from probity.errors import ConfigError
    from probity.platform.monitoring.prediction_log import POLICIES, ParquetLog

    if folder is None:
        return None
    policy = next((entry for entry in POLICIES if entry == inputs), None)
    if policy is None or (policy == "consented") != (consented is not None):
        raise ConfigError(
            "--log-inputs",
            seen=f"{inputs!r}, {'with' if consented else 'without'} a list of who consented",
            allowed=f"{', '.join(POLICIES)}; consented needs --consented FILE, and nothing else takes it",
            remedy="choose what the law and those who are asked allow",
        )
    return partial(ParquetLog, folder.resolve(), inputs=policy, consented=consented)
