"""A worker in all its moods: a process that succeeds, fails, crashes, hangs or lies, as ``body.mood`` says."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "workers" / "contract"))

from probity_worker_contract import Outcome, Task, WorkerFailure
from probity_worker_contract.harness import main
from probity_worker_contract.messages import PROBE, RESULT, WEIGHTS


def work(task: Task) -> Outcome:
    mood = task.body["mood"]
    for name, content in task.body.get("files", {}).items():
        (task.folder / name).write_bytes(bytes.fromhex(content))
    MOODS[mood](task)
    return Outcome(body={"rounds": task.body.get("rounds", 1)}, environment={"fake": "1"}, warnings=())


def succeed(task):
    for number in (1, 2, 3):
        task.report({"round": number, "loss": 1.0 / number})


def fail(task):
    raise WorkerFailure("no_clients", "no client has any rows")


def stumble(task):
    raise RuntimeError("a text that quotes Mallory, aged 42")


def crash(task):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(task):
    os._exit(0)


def hang(task):
    (task.folder / "pid").write_text(str(os.getpid()))
    time.sleep(600)


def hang_with_a_child(task):
    """Leaves a child in the session whose end nobody waits for, as TensorFlow Federated's executor does."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
    (task.folder / "child").write_text(str(child.pid))
    hang(task)


def leave_a_child(task):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (task.folder / "child").write_text(str(child.pid))


def interrupt_a_child(task):
    """Ends a child as TensorFlow Federated ends its executor."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stderr=subprocess.DEVNULL)
    while b"time.sleep" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    child.wait(10)


def babble(task):
    with open(task.folder / "progress.jsonl", "a", encoding="utf-8") as file:
        file.write('{"loss": NaN}\n')
    time.sleep(600)


def _answer_instead(task, text, code=0):
    (task.folder / RESULT).write_text(text)
    os._exit(code)


def _honest(task, **changes):
    from probity_worker_contract.messages import digest_file

    files = {name: digest_file(task.folder / name) for name in (WEIGHTS, PROBE)}
    answer = {"contract_version": 1, "status": "ok", "request": task.digest, "files": files, "body": {"rounds": 1}}
    return json.dumps({**answer, "environment": {}, "warnings": [], **changes})


def truncate(task):
    _answer_instead(task, _honest(task)[:40])


def speak_another_version(task):
    _answer_instead(task, _honest(task, contract_version=2))


def answer_another_request(task):
    _answer_instead(task, _honest(task, request="sha256:" + "0" * 64))


def say_nan(task):
    _answer_instead(task, _honest(task, body={"loss": float("nan")}))


def contradict(task):
    _answer_instead(task, _honest(task), code=3)


def change_afterwards(task):
    text = _honest(task)
    content = BytesIO()
    zipfile.ZipFile(content, "w").close()
    (task.folder / WEIGHTS).write_bytes(content.getvalue())
    _answer_instead(task, text)


MOODS = {
    mood.__name__: mood
    for mood in (succeed, fail, stumble, crash, leave, hang, hang_with_a_child, leave_a_child, interrupt_a_child,
                 babble, truncate, speak_another_version, answer_another_request, say_nan, contradict,
                 change_afterwards)
}  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(main(work, worker="fake"))
