"""What one layer's weights contribute to each row's gradient, kept in the form in which it is cheapest.

The gradient of a row with respect to a weight is rarely needed itself: only its squared norm, and afterwards the sum
over rows with a coefficient each. For most layers both follow from the layer's inputs and the gradients of its
outputs.

===============  =================================  ======================================  ========================
form             gradient of row ``i``              squared norm                            weighted sum
===============  =================================  ======================================  ========================
:class:`Outer`   ``sum_t a[i,t] (x) g[i,t]``        ``||a||^2 ||g||^2`` for one position;   one matrix product
                                                    else ghost norm or instantiation
:class:`Lookup`  ``g[i,t]`` added at ``ids[i,t]``   equal ids of a row added first          one scatter
:class:`Direct`  itself                             itself                                  one matrix-vector product
===============  =================================  ======================================  ========================

References:
    Goodfellow (2015), Efficient Per-Example Gradient Computations.
    Li et al. (2022), Large Language Models Can Be Strong Differentially Private Learners, section 4 (ghost clipping).
    Bu et al. (2022), Scalable and Efficient Training of Large Convolutional Neural Networks with Differential Privacy.
    Bu et al. (2023), Differentially Private Optimization on Large Model at Small Cost (book-keeping).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

__all__ = ["Contribution", "Direct", "Lookup", "Outer", "joined"]


class Contribution(Protocol):
    """The gradients of all rows of a batch with respect to one weight."""

    def squared_norms(self) -> Any:
        """Returns the squared L2 norm of each row's gradient, of shape (rows,)."""
        ...

    def weighted_sum(self, coefficients: Any) -> Any:
        """Returns the sum over rows of coefficient times gradient, of the weight's shape.

        Args:
            coefficients: One per row, of shape (rows,).
        """
        ...

    def only(self, rows: Any) -> Contribution:
        """Returns the same with zeros in all other rows.

        Args:
            rows: Which rows to keep, booleans of shape (rows,).
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Sums of outer products over positions: the gradient of a matrix that multiplies each position of a row.

    Attributes:
        inputs: What the matrix was applied to, of shape (rows, p), or (rows, positions, p).
        gradients: Gradients of the outputs, of shape (rows, q), or (rows, positions, q).
        shape: Shape in which the axes of (p, q) are to be read; ``None``: as they are.
        order: Where the weight has these axes: its axis ``i`` is axis ``order[i]`` of ``shape``.
    """

    inputs: Any
    gradients: Any
    shape: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None

    def squared_norms(self) -> Any:
        """See :class:`Contribution`."""
        import tensorflow as tf

        if self.inputs.shape.rank == 2:
            return _squares(self.inputs) * _squares(self.gradients)
        if self._instantiates:
            return _squares(tf.matmul(self.inputs, self.gradients, transpose_a=True))
        # ||sum_t a_t (x) g_t||^2 = sum_{t,s} <a_t, a_s> <g_t, g_s>: positions squared instead of the matrix's size.
        of_inputs = tf.matmul(self.inputs, self.inputs, transpose_b=True)
        of_gradients = tf.matmul(self.gradients, self.gradients, transpose_b=True)
        # Rounding may leave a sum of squares just below zero.
        return tf.maximum(tf.reduce_sum(of_inputs * of_gradients, axis=[1, 2]), 0.0)

    def weighted_sum(self, coefficients: Any) -> Any:
        """See :class:`Contribution`; of shape (p, q), or ``shape`` in ``order``."""
        import tensorflow as tf

        if self.inputs.shape.rank == 2:
            found = tf.matmul(self.inputs, self.gradients * coefficients[:, None], transpose_a=True)
        else:
            weighted = self.gradients * coefficients[:, None, None]
            flat = [tf.reshape(tensor, [-1, tensor.shape[-1]]) for tensor in (self.inputs, weighted)]
            found = tf.matmul(*flat, transpose_a=True)
        return found if self.shape is None else tf.transpose(tf.reshape(found, self.shape), self.order)

    def only(self, rows: Any) -> Outer:
        """See :class:`Contribution`."""
        return replace(self, inputs=_kept(self.inputs, rows), gradients=_kept(self.gradients, rows))

    @property
    def _instantiates(self) -> bool:
        """Whether the rows' gradients take less work than the two Gram matrices (Bu et al. 2022, section 3.3)."""
        positions, p, q = self.inputs.shape[1], self.inputs.shape[2], self.gradients.shape[2]
        # Without a fixed number of positions the Gram matrices' size is unknown; a gradient's is not.
        return positions is None or p * q <= positions * (p + q)

    def at_positions(self) -> Outer:
        """Returns the same with an axis of positions."""
        if self.inputs.shape.rank == 3:
            return self
        return replace(self, inputs=self.inputs[:, None, :], gradients=self.gradients[:, None, :])


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Rows of a table that were looked up: the gradient of an embedding.

    Attributes:
        ids: Row of the table by position, int64 of shape (rows, positions).
        gradients: Gradients of what was looked up, of shape (rows, positions, q).
        size: Number of rows of the table.
    """

    ids: Any
    gradients: Any
    size: int

    def squared_norms(self) -> Any:
        """See :class:`Contribution`."""
        import tensorflow as tf

        rows = tf.shape(self.ids, tf.int64)[0]
        # One key per row and id, so that what a row looked up twice is added before it is squared.
        keys = tf.range(rows)[:, None] * self.size + self.ids
        different, places = tf.unique(tf.reshape(keys, [-1]), tf.int64)
        gradients = tf.reshape(self.gradients, [-1, self.gradients.shape[-1]])
        added = tf.math.unsorted_segment_sum(gradients, places, tf.size(different, tf.int64))
        return tf.math.unsorted_segment_sum(_squares(added), different // self.size, rows)

    def weighted_sum(self, coefficients: Any) -> Any:
        """See :class:`Contribution`; of shape (size, q)."""
        import tensorflow as tf

        weighted = tf.reshape(self.gradients * coefficients[:, None, None], [-1, self.gradients.shape[-1]])
        return tf.math.unsorted_segment_sum(weighted, tf.reshape(self.ids, [-1]), self.size)

    def only(self, rows: Any) -> Lookup:
        """See :class:`Contribution`."""
        return replace(self, gradients=_kept(self.gradients, rows))


@dataclass(frozen=True, kw_only=True)
class Direct:
    """The rows' gradients themselves, for weights that are small.

    Attributes:
        gradients: Of shape (rows, ...), the rest being the weight's shape.
    """

    gradients: Any

    def squared_norms(self) -> Any:
        """See :class:`Contribution`."""
        return _squares(self.gradients)

    def weighted_sum(self, coefficients: Any) -> Any:
        """See :class:`Contribution`."""
        import tensorflow as tf

        return tf.tensordot(coefficients, self.gradients, 1)

    def only(self, rows: Any) -> Direct:
        """See :class:`Contribution`."""
        return Direct(gradients=_kept(self.gradients, rows))


def joined(calls: Sequence[Contribution]) -> Contribution:
    """Returns the contribution of all calls of one layer together.

    A row's gradient is the sum over the calls, and the norm of a sum is not the sum of norms: positions of all calls
    stand side by side, so that the products between calls are counted.
    """
    import tensorflow as tf

    if len(calls) == 1:
        return calls[0]
    outer = [call.at_positions() for call in calls if isinstance(call, Outer)]
    if len(outer) == len(calls):
        return replace(
            outer[0],
            inputs=tf.concat([call.inputs for call in outer], 1),
            gradients=tf.concat([call.gradients for call in outer], 1),
        )
    lookups = [call for call in calls if isinstance(call, Lookup)]
    if len(lookups) == len(calls):
        return Lookup(
            ids=tf.concat([call.ids for call in lookups], 1),
            gradients=tf.concat([call.gradients for call in lookups], 1),
            size=lookups[0].size,
        )
    direct = [call for call in calls if isinstance(call, Direct)]
    if len(direct) != len(calls):
        raise AssertionError("calls of one layer contribute in one form")
    return Direct(gradients=tf.add_n([call.gradients for call in direct]))


def _kept(tensor: Any, rows: Any) -> Any:
    """Returns a tensor of shape (rows, ...) with zeros where a row is not to be kept, whatever it held."""
    import tensorflow as tf

    return tf.where(tf.reshape(rows, [-1] + [1] * (tensor.shape.rank - 1)), tensor, tf.zeros_like(tensor))


def _squares(tensor: Any) -> Any:
    """Returns the sum of squares of each entry of the first axis."""
    import tensorflow as tf

    return tf.reduce_sum(tf.square(tensor), axis=list(range(1, tensor.shape.rank)))
