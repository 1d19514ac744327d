"""Mechanisms for tests of what is said about them."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import norm

from probity.data import PrivateStatistics
from probity.model import DpFedAvg, DpFtrl, DpSgd, FixedClipping


def dp_sgd(noise_multiplier, sampling_prob=1.0, steps=1, **changes):
    values = {
        "sampling": "poisson",
        "l2_clip_norm": 1.0,
        "noise_source": "os_entropy",
        "expected_batch_size": 100,
        "normalization": "expected_batch_size",
        "unit": "row",
        "engine": "book_keeping",
        **changes,
    }
    return DpSgd(noise_multiplier=noise_multiplier, sampling_prob=sampling_prob, steps=steps, **values)


def dp_fedavg(noise_multiplier, sampling_prob=0.02, rounds=100, **changes):
    values = {
        "clipping": FixedClipping(l2_clip_norm=1.0),
        "sampling": "poisson",
        "noise_source": "os_entropy",
        "expected_clients_per_round": 20.0,
        "unit": "client",
        "secure_aggregation": "none",
        "engine": "tensorflow_federated",
        **changes,
    }
    return DpFedAvg(noise_multiplier=noise_multiplier, sampling_prob=sampling_prob, rounds=rounds, **values)


def dp_ftrl(noise_multiplier, rounds=50, rounds_per_tree=50, **changes):
    values = {
        "l2_clip_norm": 1.0,
        "sampling": "shuffled",
        "noise_source": "os_entropy",
        "expected_clients_per_round": 20.0,
        "unit": "client",
        "secure_aggregation": "none",
        "engine": "tensorflow_federated",
        **changes,
    }
    return DpFtrl(noise_multiplier=noise_multiplier, rounds=rounds, rounds_per_tree=rounds_per_tree, **values)


def analytic_gaussian(sigma, delta):
    """Balle and Wang 2018, theorem 8, for sensitivity 1."""

    def gap(epsilon):
        a, b = 1 / (2 * sigma), epsilon * sigma
        return norm.cdf(a - b) - math.exp(epsilon) * norm.cdf(-a - b) - delta

    return brentq(gap, 0, 50)


def statistics(epsilon, delta=0.0):
    return PrivateStatistics(epsilon=epsilon, delta=delta, unit="row", mechanisms=("bounds of age",))
