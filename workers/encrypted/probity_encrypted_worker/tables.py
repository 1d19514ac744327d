"""All owners' rows as shares that the servers keep: dealt once, and gathered from in every step.

Dealing the rows of each batch anew would hide nothing more, as every product is masked anew and which rows stand in
which batch is public; it would draw, encode and send every row once per epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probity_encrypted_worker.owners import Shard
from probity_encrypted_worker.sharing import gathered, tracing

__all__ = ["Tables"]


class Tables:
    """The joined rows and labels, as shares in variables of the servers.

    Args:
        protocol: TF Encrypted's protocol.
        shards: The owners' rows.
        by: ``rows``: the owners' rows stand below one another; ``columns``: their columns stand side by side.
    """

    def __init__(self, protocol: Any, shards: Sequence[Shard], *, by: str) -> None:
        self._protocol, self._by = protocol, by
        self._first_rows = np.cumsum([0, *(int(shard.features.shape[0]) for shard in shards[:-1])])
        axis = 0 if by == "rows" else 1
        self._features = self._dealt([(shard.player, shard.features) for shard in shards], axis=axis)
        self._labels = self._dealt([(s.player, s.label) for s in shards if s.label is not None], axis=0)

    def positions(self, own: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
        """Returns where the rows of a step stand here, given each owner's positions among its own rows."""
        if self._by == "columns":
            return own[0]
        return np.concatenate([rows + first for rows, first in zip(own, self._first_rows, strict=True)]).astype(
            np.int32
        )

    def batch(self, positions: Any) -> tuple[Any, Any]:
        """Returns shares of the features and labels of some rows; each server takes them from what it holds."""
        return tuple(
            gathered(self._protocol, table.read_value(), positions) for table in (self._features, self._labels)
        )

    def _dealt(self, parts: Sequence[tuple[Any, Any]], *, axis: int) -> Any:
        """Has each owner's device deal shares of its part, and keeps their concatenation."""
        import tf_encrypted as tfe

        with tracing(self._protocol):
            dealt = [tfe.define_private_input(player, lambda part=part: part) for player, part in parts]
            whole = tfe.concat(dealt, axis=axis) if len(dealt) > 1 else dealt[0]
            return self._protocol.define_private_variable(whole)
