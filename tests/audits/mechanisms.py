"""Mechanisms for tests of what is said about them."""

from probity.model import DpSgd


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
