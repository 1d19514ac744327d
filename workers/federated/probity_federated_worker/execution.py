"""Where rounds are executed: on this machine, or on TensorFlow Federated workers elsewhere.

A remote worker that dies takes its call with it: gRPC reports it as something to try again, and TensorFlow Federated
then tries for ever. So each round has a deadline here, hosts are looked at while it lasts, and a round that is lost is
executed again, with the same clients, on the hosts that are left.

A host is looked at by a gRPC handshake, not by a TCP connection: the near end of a tunnel accepts connections whatever
became of the worker behind it, and so does the kernel for a process that is stopped.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import tensorflow_federated as tff
from probity_worker_contract.messages import WorkerFailure
from tensorflow_federated.python.core.backends.native import compiler
from tensorflow_federated.python.core.environments.tensorflow_frontend import tensorflow_computation
from tensorflow_federated.python.core.impl.execution_contexts import async_execution_context
from tensorflow_federated.python.core.impl.executors import remote_executor, remote_executor_grpc_stub

from probity_federated_worker.request import Request

__all__ = ["Execution"]

_MESSAGE_BYTES = 2_000_000_000
_DIRECT = ("grpc.enable_http_proxy", 0)  # a proxy of the environment would be asked for loopback addresses as well
_CHANNEL = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    _DIRECT,
]
_FRESH_CHANNEL = [("grpc.use_local_subchannel_pool", 1), _DIRECT]  # not the connection of the call that may be stuck
_LOOK_SECONDS = 0.5
_HANDSHAKE_SECONDS = 4.0
_LOCAL_CALLS = 2


class Execution:
    """Executes calls of TensorFlow Federated.

    Args:
        request: Names the remote workers and the form of the sum.

    Raises:
        WorkerFailure: If not one of the remote workers answers.
    """

    def __init__(self, request: Request) -> None:
        self._deadline_seconds = request.client_deadline_seconds
        self.lost: list[str] = []
        self._hosts = list(request.remote_workers)
        self._remote: Any = None
        if self._hosts:
            self._leave_out_silent_hosts()
            return
        calls = max(_LOCAL_CALLS, os.cpu_count() or 1)
        if request.secure:
            # The secure sum's arithmetic, in the clear: the only form in which TensorFlow Federated executes it.
            tff.backends.test.set_sync_test_cpp_execution_context(max_concurrent_computation_calls=calls)
        else:
            tff.backends.native.set_sync_local_cpp_execution_context(max_concurrent_computation_calls=calls)

    def run(self, call: Callable[[], Any]) -> Any:
        """Returns what the call returns; on remote workers it is repeated without those that were lost meanwhile.

        Raises:
            WorkerFailure: If no remote worker is left, or one that answers does not finish in time.
        """
        if not self._hosts:
            return call()
        while True:
            attempt = _Attempt(call, context=self._remote)
            in_time = attempt.ended(self._deadline_seconds, meanwhile=self._all_answer)
            if in_time and attempt.error is None:
                return attempt.result
            before = len(self._hosts)
            self._leave_out_silent_hosts()
            if len(self._hosts) == before:
                raise WorkerFailure(
                    "remote_round", "a round failed or took too long on remote workers that all answer; see the log"
                ) from attempt.error

    def _all_answer(self) -> bool:
        return all(_answers(host) or _answers(host) for host in self._hosts)  # a busy one gets a second chance

    def _leave_out_silent_hosts(self) -> None:
        silent = [host for host in self._hosts if not _answers(host)]
        self.lost += silent
        self._hosts = [host for host in self._hosts if host not in silent]
        if not self._hosts:
            raise WorkerFailure(
                "remote_workers", f"none of {len(self.lost)} remote workers answers: {', '.join(self.lost)}"
            )
        contexts = [_context(host) for host in self._hosts]
        self._remote = tff.backends.native.create_mergeable_comp_execution_context(contexts)


class _Attempt:
    """A call in a thread that can be given up."""

    def __init__(self, call: Callable[[], Any], *, context: Any) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=[call, context], daemon=True)
        self._thread.start()

    def ended(self, deadline_seconds: float, *, meanwhile: Callable[[], bool]) -> bool:
        """Waits; returns whether it ended before the deadline and before ``meanwhile`` said no."""
        until = time.monotonic() + deadline_seconds
        while time.monotonic() < until:
            self._thread.join(_LOOK_SECONDS)
            if not self._thread.is_alive():
                return True
            if not meanwhile():
                return False
        return False

    def _run(self, call: Callable[[], Any], context: Any) -> None:
        try:
            with tff.framework.get_context_stack().install(context):  # each thread has a stack of its own
                self.result = call()
        except Exception as error:
            self.error = error


def _context(host: str) -> async_execution_context.AsyncExecutionContext:
    stub = remote_executor_grpc_stub.RemoteExecutorGrpcStub(grpc.insecure_channel(host, _CHANNEL))

    def executor(cardinalities: Any) -> Any:
        made = remote_executor.RemoteExecutor(stub)
        made.set_cardinalities({tff.CLIENTS: 0, **cardinalities})
        return made

    return async_execution_context.AsyncExecutionContext(
        executor_fn=tff.framework.ResourceManagingExecutorFactory(executor),
        compiler_fn=compiler.desugar_and_transform_to_native,
        transform_args=tensorflow_computation.transform_args,
        transform_result=tensorflow_computation.transform_result,
    )


def _answers(host: str) -> bool:
    """Whether a gRPC server greets a new connection in time."""
    with grpc.insecure_channel(host, _FRESH_CHANNEL) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_HANDSHAKE_SECONDS)
        except grpc.FutureTimeoutError:
            return False
    return True
