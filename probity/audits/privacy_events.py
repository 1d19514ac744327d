"""What was executed on the rows, as the event of ``dp_accounting`` that it was.

==================  =====================================================  =====================================
what was executed   event                                                  neighbouring relation
==================  =====================================================  =====================================
no noise, secret    non-private: epsilon is infinite
shares
Poisson sampling    Poisson-sampled Gaussian, composed over the steps      add or remove one unit
shuffled batches    Gaussian, composed over one unit's participations      replace one unit by nothing (zero-out)
DP-FedAvg           as Poisson sampling, with clients for units            add or remove one client
DP-FTRL             Gaussian, once per tree, over a client's nodes in it   replace one client by nothing (zero-out)
private statistics  (epsilon, delta), as reported by their own mechanisms  add or remove one unit
==================  =====================================================  =====================================

Shuffled batches get no amplification: what is proven about them is that within one pass a unit touches one batch, so a
pass is one Gaussian mechanism under zero-out neighbours (Kairouz et al. 2021, section 2). The gap to Poisson sampling
is real, not an artefact of the proof (Chua et al. 2024).

With adaptive clipping a round of DP-FedAvg releases a sum and a count. With noise of ``z_delta * clip norm`` on the sum
and of ``sigma_b`` on the count (which one client changes by at most a half, about its middle), both together are one
Gaussian mechanism of noise multiplier ``(z_delta**-2 + (2 * sigma_b)**-2) ** -0.5``, and that is what is on record
(Andrew et al. 2021, theorem 1). A tree over ``n`` rounds has ``n.bit_length()`` nodes above any one round at most, so
a client that takes part in one round of it moves the vector of all nodes by ``sqrt(n.bit_length())`` clip norms
(Kairouz et al. 2021, theorem 4.1).

References:
    Abadi et al. (2016), Deep Learning with Differential Privacy, algorithm 1.
    Kairouz et al. (2021), Practical and Private (Deep) Learning without Sampling or Shuffling.
    Andrew et al. (2021), Differentially Private Learning with Adaptive Clipping.
    Chua et al. (2024), How Private are DP-SGD Implementations?
"""

from __future__ import annotations

import math
from typing import Any

from probity.data import PrivateStatistics
from probity.model import DpFedAvg, DpFtrl, DpSgd, Encrypted, Federated, NonPrivate

__all__ = ["Noiseless", "Noisy", "Spent", "event_of"]

Noisy = DpSgd | DpFedAvg | DpFtrl
"""What a training can add noise by."""

Noiseless = NonPrivate | Federated | Encrypted
"""What adds none: epsilon is infinite."""

Spent = Noisy | Noiseless | PrivateStatistics
"""What a unit's privacy can be spent on."""


def event_of(spent: Noisy | Noiseless) -> Any:
    """Translates what was executed into the event that it was."""
    import dp_accounting

    if isinstance(spent, Noiseless):
        return dp_accounting.NonPrivateDpEvent()
    if isinstance(spent, DpFedAvg):
        return _federated_event(spent)
    if isinstance(spent, DpFtrl):
        return _tree_event(spent)
    if spent.steps == 0 or spent.max_participations == 0:
        return dp_accounting.NoOpDpEvent()
    if spent.noise_multiplier == 0.0 or math.isinf(spent.l2_clip_norm):
        return dp_accounting.NonPrivateDpEvent()
    gaussian = dp_accounting.GaussianDpEvent(spent.noise_multiplier)
    if spent.max_participations is not None:
        return dp_accounting.SelfComposedDpEvent(gaussian, spent.max_participations)
    return dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(spent.sampling_prob, gaussian), spent.steps
    )


def _federated_event(spent: DpFedAvg) -> Any:
    import dp_accounting

    if spent.rounds == 0:
        return dp_accounting.NoOpDpEvent()
    if spent.noise_multiplier == 0.0:
        return dp_accounting.NonPrivateDpEvent()
    gaussian = dp_accounting.GaussianDpEvent(spent.noise_multiplier)
    return dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(spent.sampling_prob, gaussian), spent.rounds
    )


def _tree_event(spent: DpFtrl) -> Any:
    """Returns one Gaussian mechanism per tree; the last tree may be smaller than the others."""
    import dp_accounting

    if spent.rounds == 0:
        return dp_accounting.NoOpDpEvent()
    if spent.noise_multiplier == 0.0:
        return dp_accounting.NonPrivateDpEvent()
    whole, rest = divmod(spent.rounds, spent.rounds_per_tree)
    trees = [(spent.rounds_per_tree, whole), (rest, 1 if rest else 0)]
    return dp_accounting.ComposedDpEvent(
        [
            dp_accounting.SelfComposedDpEvent(
                dp_accounting.GaussianDpEvent(spent.noise_multiplier / math.sqrt(size.bit_length())), count
            )
            for size, count in trees
            if count
        ]
    )
