"""The server as processes: started, killed, stopped; and the real server's place, taken by a stand-in."""

import http.client
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from probity.errors import ConfigError
from probity.platform.serving import Client, launcher
from probity.platform.serving.options import ModelSource
from tests.platform.serving.toy_models import half_plus


def eventually(check, *, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def test_a_port_that_somebody_shares_is_not_joined():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(ConfigError, match="--port"),
            launcher._reserved("127.0.0.1", taken.getsockname()[1], "--port"),
        ):
            pass


def test_a_reserved_port_is_the_one_that_was_asked_for():
    with launcher._reserved("127.0.0.1", 0, "--port") as port, socket.socket() as other:
        assert port > 0
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))  # what a process of ours does


STAND_IN = """
    #!{python}
    import os, pathlib, re, signal, sys, time
    config = next(word.partition("=")[2] for word in sys.argv if word.startswith("--model_config_file="))
    base = pathlib.Path(re.search('base_path: "(.*)"', pathlib.Path(config).read_text())[1])
    out = pathlib.Path({out!r})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    while True:
        (out / "seen.new").write_text(" ".join(sorted(path.name for path in base.glob("[0-9]*"))))
        (out / "seen.new").rename(out / "seen")
        time.sleep(0.05)
"""


LAUNCH = """
    import pathlib, shutil, sys
    from probity.platform.serving import launcher
    from probity.platform.serving.options import ModelSource, ServerOptions

    def admit_the_first(path, place):
        if place.name != "1":
            raise launcher.ServingError(launcher.Code.FAILED_PRECONDITION, "not signed")
        return pathlib.Path(shutil.copytree(path, place))

    launcher.admission = lambda options: admit_the_first
    source = ModelSource(name="m", base_path=pathlib.Path({base!r}))
    sys.exit(launcher.serve_real(ServerOptions(models=(source,), poll_seconds=0.1), binary={binary!r}))
"""


def test_the_real_server_sees_only_what_was_admitted_and_hears_the_end(tmp_path):
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text(textwrap.dedent(STAND_IN.format(python=sys.executable, out=str(tmp_path))).lstrip())
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    for number in ("1", "2"):
        (tmp_path / "base" / number).mkdir(parents=True)
    code = textwrap.dedent(LAUNCH.format(base=str(tmp_path / "base"), binary=str(binary)))
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        eventually(lambda: (tmp_path / "seen").exists())
        assert (tmp_path / "seen").read_text() == "1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 7


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes") / "m"
    half_plus(folder / "1", plus=1.0)
    return folder


@pytest.fixture(scope="module")
def served(base):
    """The command, with two processes."""
    command = [
        sys.executable, "-m", "probity", "serve", "--model-name", "m", "--model-base-path", str(base), "--port", "0",
        "--rest-api-port", "0", "--processes", "2", "--no-require-verified", "--file-system-poll-wait-seconds", "0.2",
    ]  # fmt: skip
    environment = {name: text for name, text in os.environ.items() if name != "TENSORFLOW_MODEL_SERVER"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        line = process.stdout.readline()
        rest, grpc = (int(part.rpartition(":")[2]) for part in line.strip().split(", "))
        yield process, rest, grpc
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def children(process):
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "spawn_main" in line]


def answer(rest):
    with Client(rest_api_port=rest) as client:
        return client.predict("m", {"x": [2.0]}).output.tolist()


@pytest.mark.heavy
def test_several_processes_answer_on_one_port_over_both_wires(served):
    process, rest, grpc = served
    assert len(children(process)) == 2
    assert [answer(rest) for _ in range(20)] == [[2.0]] * 20
    with Client(port=grpc) as client:
        assert client.predict("m", {"x": [2.0]}).output.tolist() == [2.0]


@pytest.mark.heavy
def test_metrics_are_those_of_all_processes(served):
    _, rest, _ = served
    for _ in range(20):
        answer(rest)
    pages = set()
    for _ in range(10):
        connection = http.client.HTTPConnection("127.0.0.1", rest, timeout=20)
        connection.request("GET", "/monitoring/prometheus/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        pages |= {
            line for line in text.splitlines() if line.startswith(':tensorflow:serving:request_count{model_name="m"')
        }
    assert len(pages) == 1
    assert float(pages.pop().rpartition(" ")[2]) >= 20
    assert ':saved_model:load_attempt_count{model_path="m/1",status="success"} 2.0' in text  # each of the two
    assert 'probity_loaded_versions{model_name="m"} 1.0' in text
    (resident,) = [line for line in text.splitlines() if line.startswith("process_resident_memory_bytes ")]
    pages = sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in children(served[0]))
    assert float(resident.rpartition(" ")[2]) == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.1)


@pytest.mark.heavy
def test_all_processes_go_over_to_a_new_version(served, base):
    _, rest, _ = served
    half_plus(base.parent / "new", plus=2.0)
    (base.parent / "new").rename(base / "2")
    eventually(lambda: answer(rest) == [3.0])
    assert [answer(rest) for _ in range(20)] == [[3.0]] * 20
    shutil.rmtree(base / "2")
    eventually(lambda: answer(rest) == [2.0])


@pytest.mark.heavy
def test_reload_reaches_all_processes(served, base):
    _, rest, grpc = served
    with Client(port=grpc) as client:
        client.reload([ModelSource(name="m", base_path=base), ModelSource(name="again", base_path=base)])
        with Client(rest_api_port=rest) as other:
            for _ in range(20):
                assert other.predict("again", {"x": [2.0]}).output.tolist() == [2.0]


@pytest.mark.heavy
def test_a_process_that_is_killed_is_replaced(served):
    process, rest, _ = served
    before = children(process)
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(set(children(process)) - set(before)) == 1)
    with Client(rest_api_port=rest) as client:
        client.wait_until_available("m")
    eventually(lambda: len(children(process)) == 2)
    assert answer(rest) == [2.0]


@pytest.mark.heavy
def test_workers_end_with_a_launcher_that_is_killed(base):
    code = textwrap.dedent(
        f"""
        import pathlib, sys, time
        from probity.platform.serving.launcher import start_server
        from probity.platform.serving.options import ModelSource, ServerOptions
        if __name__ == "__main__":
            source = ModelSource(name="m", base_path=pathlib.Path({str(base)!r}))
            with start_server(ServerOptions(models=(source,), port=None, rest_api_port=0, require_verified=False)):
                print("up", flush=True)
                time.sleep(600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        (worker,) = children(process)
        process.kill()
    eventually(lambda: not os.path.exists(f"/proc/{worker}"))
