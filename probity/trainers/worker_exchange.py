"""One question to a training worker and its answer, which is believed no more than a stranger's.

The folder of the exchange holds what the worker may know: the caller writes the files, :func:`ask` the request that
names them all, and nothing else lies there. What comes back is checked in this order: exit code, form and version, that
it answers this very request, digests, the number and shapes of the weights, that everything is finite, and that the
model which the parent rebuilt gives the scores that the worker saw.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from probity.digest import digest_file
from probity.errors import (
    WorkerContractError,
    WorkerCrashError,
    WorkerNotReadyError,
    WorkerReportedError,
    WorkerTimeoutError,
)
from probity.storage import write_record
from probity.trainers.worker import Runner, run_worker
from probity.trainers.worker_environments import WorkerEnvironment
from probity.trainers.worker_messages import (
    LOG,
    PROBE,
    PROGRESS,
    REQUEST,
    RESULT,
    WEIGHTS,
    WorkerFailed,
    WorkerFinished,
    WorkerRequest,
    WorkerResult,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Exchange", "OnProgress"]

OnProgress = Callable[[dict[str, Any]], None]
"""Called with each line of progress, a JSON object of the worker's own kind, in order and as it comes."""

_LARGEST_RESULT_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A worker and the folder that is shared with it.

    Attributes:
        environment: The worker.
        folder: Holds the files that the worker may read, and later what it left.
        runner: How processes are run.
    """

    environment: WorkerEnvironment
    folder: Path
    runner: Runner = run_worker

    def ask(
        self,
        body: Mapping[str, Any],
        *,
        seed: int,
        deadline_seconds: float,
        checkpoints: Path | None,
        on_progress: OnProgress,
    ) -> WorkerFinished:
        """Writes the request, runs the worker to its end and reads the result.

        Args:
            body: What is asked, in the words of this kind of worker.
            seed: As in :class:`~probity.trainers.worker_messages.WorkerRequest`.
            deadline_seconds: Time that the worker has.
            checkpoints: As in the request.
            on_progress: Told of each round or epoch.

        Returns:
            The result; its files have the digests that it names.

        Raises:
            WorkerNotReadyError: If the environment is not what its lock says, or the worker's program is not in it.
            WorkerTimeoutError: If the deadline passed.
            WorkerCrashError: If the worker ended without a result, or with an exit code that contradicts it.
            WorkerContractError: If what came back does not follow the contract.
            WorkerReportedError: If the worker says that it could not do it.
        """
        self.environment.require_ready()
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        request = WorkerRequest(
            worker=self.environment.name,
            seed=seed,
            deadline_seconds=deadline_seconds,
            files={path.relative_to(self.folder).as_posix(): digest_file(path) for path in files},
            checkpoints=None if checkpoints is None else str(checkpoints.resolve()),
            body=dict(body),
        )
        write_record(self.folder / REQUEST, request)
        tail = _Tail(self.folder / PROGRESS, on_progress, worker=self.environment.name)
        code = self.runner(
            self.environment.command(str(self.folder.resolve())),
            log=self.folder / LOG,
            deadline_seconds=deadline_seconds,
            watch=tail.read,
        )
        return self._answer(code, deadline_seconds=deadline_seconds)

    def weights(self, result: WorkerFinished, *, shapes: Sequence[tuple[int, ...]]) -> list[npt.NDArray[np.float32]]:
        """Returns the trained weights in the order of Keras's ``get_weights()``.

        Args:
            result: What :meth:`ask` returned.
            shapes: The shapes that the architecture asks for.

        Raises:
            WorkerContractError: If their number or a shape is another, or a weight is not finite.
        """
        import numpy as np

        arrays = self._arrays(result, WEIGHTS)
        names = [f"w{i:04d}" for i in range(len(shapes))]
        if sorted(arrays) != names or any(
            arrays[name].shape != shape for name, shape in zip(names, shapes, strict=True)
        ):
            raise self._contract(
                f"{WEIGHTS} holds {len(arrays)} arrays whose number or shapes are not those of the architecture",
                allowed=f"{len(shapes)} arrays, shaped as Keras's get_weights() gives them",
            )
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise self._contract(f"{WEIGHTS} holds numbers that are not finite", allowed="finite weights")
        return [arrays[name].astype(np.float32) for name in names]

    def require_probe(self, result: WorkerFinished, scores: npt.NDArray[np.float32], *, tolerance: float) -> None:
        """Raises unless the rebuilt model's scores are those that the worker saw: the same model came back.

        Args:
            result: What :meth:`ask` returned.
            scores: The rebuilt model's scores of the probe rows, of shape (rows,).
            tolerance: Largest absolute difference.

        Raises:
            WorkerContractError: If a score differs by more.
        """
        import numpy as np

        arrays = self._arrays(result, PROBE)
        given = arrays.get("scores")
        if given is None or given.shape != scores.shape or not np.isfinite(given).all():
            raise self._contract(
                f"{PROBE} does not hold one finite score per probe row", allowed="the scores of all rows"
            )
        difference = float(np.abs(given - scores).max(initial=0.0))
        if difference > tolerance:
            raise self._contract(
                f"the weights give scores that differ by up to {difference:.3g} from those that the worker saw",
                allowed=f"a difference of at most {tolerance:g}",
            )

    def _answer(self, code: int | None, *, deadline_seconds: float) -> WorkerFinished:
        if code is None:
            raise WorkerTimeoutError(
                f"worker {self.environment.name}",
                seen=f"no result within {deadline_seconds:g} seconds; it was ended",
                allowed="a training that ends before its deadline",
                remedy="raise deadline_seconds, train less, or see what it did in " + self._log,
            )
        path = self.folder / RESULT
        if not path.is_file():
            raise self._without_result(code)
        result = self._parsed(path)
        if (code == 0) != isinstance(result, WorkerFinished):
            raise WorkerCrashError(
                f"worker {self.environment.name}",
                seen=f"exit code {code} with a result that says {result.status}",
                allowed="exit code 0 with ok, 1 with error",
                remedy="see what it did in " + self._log,
            )
        if isinstance(result, WorkerFailed):
            raise WorkerReportedError(
                f"worker {self.environment.name}",
                seen=f"it reports {result.code}: {result.message}",
                allowed="a training that the worker can do",
                remedy="mend what it reports; details are in " + self._log,
            )
        self._require_own(result)
        return result

    def _parsed(self, path: Path) -> WorkerFinished | WorkerFailed:
        try:
            if path.stat().st_size > _LARGEST_RESULT_BYTES:
                raise ValueError("too large to be a result")
            found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
            parser: TypeAdapter[WorkerFinished | WorkerFailed] = TypeAdapter(WorkerResult)
            return parser.validate_python(found)
        except (OSError, ValueError, ValidationError) as error:
            raise self._contract(
                f"{RESULT} is not one of this contract version ({type(error).__name__})",
                allowed="a result as workers/contract writes it",
            ) from error

    def _require_own(self, result: WorkerFinished) -> None:
        if result.request != digest_file(self.folder / REQUEST):
            raise self._contract("a result that answers another request", allowed="the answer to this request")
        found = {name: digest_file(self.folder / name) for name in (WEIGHTS, PROBE) if (self.folder / name).is_file()}
        if found != result.files:
            raise self._contract(
                f"{WEIGHTS} or {PROBE} is missing or not the file that {RESULT} names", allowed="both, unchanged"
            )

    def _arrays(self, result: WorkerFinished, name: str) -> dict[str, npt.NDArray[Any]]:
        import numpy as np

        if result.files.get(name) != digest_file(self.folder / name):
            raise self._contract(f"{name} changed after it was reported", allowed="the file that was reported")
        try:
            with np.load(self.folder / name, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise self._contract(f"{name} cannot be read ({type(error).__name__})", allowed="arrays as npz") from error
        if not all(np.issubdtype(array.dtype, np.floating) for array in arrays.values()):
            raise self._contract(f"{name} holds something else than real numbers", allowed="floating-point arrays")
        return arrays

    def _without_result(self, code: int) -> WorkerCrashError | WorkerNotReadyError:
        if code == 1:  # what Python itself answers when the worker's package is not there or does not import
            return WorkerNotReadyError(
                f"worker {self.environment.name}",
                seen="its program did not start: exit code 1 without a result; see " + self._log,
                allowed="an environment in which the worker's package can be imported",
                remedy=f"run: probity workers sync {self.environment.name}",
            )
        ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return WorkerCrashError(
            f"worker {self.environment.name}",
            seen=f"it ended with {ending} and without a result",
            allowed="a worker that leaves a result, whatever happens",
            remedy="see what it did in " + self._log + "; a signal 9 often means that memory ran out",
        )

    @property
    def _log(self) -> str:
        return str(self.folder / LOG)

    def _contract(self, seen: str, *, allowed: str) -> WorkerContractError:
        return WorkerContractError(
            f"worker {self.environment.name}",
            seen=seen,
            allowed=allowed,
            remedy=f"run: probity workers sync {self.environment.name}; details are in {self._log}",
        )


class _Tail:
    """Reads what is appended to a file of JSON lines; half a line waits for its other half."""

    def __init__(self, path: Path, on_progress: OnProgress, *, worker: str) -> None:
        self._path = path
        self._on_progress = on_progress
        self._worker = worker
        self._offset = 0

    def read(self) -> None:
        """Hands on every complete line that is new.

        Raises:
            WorkerContractError: If a line is no JSON object of finite numbers.
        """
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            appended = file.read()
        whole = appended[: appended.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._on_progress(self._parsed(line))

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line, parse_constant=_no_number)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise WorkerContractError(
                f"worker {self._worker}",
                seen=f"a line of {PROGRESS} that is no JSON object of finite numbers",
                allowed="one JSON object per finished round or epoch",
                remedy=f"run: probity workers sync {self._worker}",
            )
        return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON has")
