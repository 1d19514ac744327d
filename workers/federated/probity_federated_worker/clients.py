"""The clients' rows, read when they are needed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from probity_worker_contract.messages import WorkerFailure

from probity_federated_worker.request import Request

__all__ = ["ClientRows"]

_KEPT = 256


class ClientRows:
    """Reads a client's file.

    Guarantees: no client's rows are joined with another's, and at most the 256 clients read last are in memory, so that
    memory does not grow with the number of clients.

    Args:
        folder: The worker folder.
        request: The training.
    """

    def __init__(self, folder: Path, request: Request) -> None:
        self._folder = folder
        self._request = request
        self.read = lru_cache(maxsize=_KEPT)(self._read)

    def _read(self, client: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns features of shape (n, d) and labels of shape (n,), float32.

        Raises:
            WorkerFailure: If the file is not what the request says.
        """
        with np.load(self._folder / self._request.clients[client].file, allow_pickle=False) as arrays:
            features, label = arrays["features"].astype(np.float32), arrays["label"].astype(np.float32)
        if (
            features.ndim != 2
            or label.shape != (self._request.clients[client].num_examples,)
            or len(features) != len(label)
        ):
            raise WorkerFailure("client_rows", f"the file of client number {client} has another shape than announced")
        return features, label
