"""The likelihood-ratio attack: is a row's score more like that of models that saw the row, or of models that did not?

For each row, shadow models (:mod:`probity.platform.shadows`) give scores with and without it in training. On the scale
of logits both are close to normal; the attack is the ratio of the two densities at the score of the model under attack.
Means are the row's own; the two variances are common to all rows, as is advised below 64 shadow models.

References:
    Carlini et al. (2022), Membership Inference Attacks From First Principles, section V.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["NAME", "SHADOWS", "confidence_logits", "likelihood_ratio"]

NAME = "likelihood_ratio"
SHADOWS = "shadows.npz"
"""File in which the shadow models' scores are kept."""
_LOWEST = 1e-6


def confidence_logits(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Returns ``log(p / (1 - p))`` with ``p`` the score of the row's own label, of the shape of ``scores``."""
    p = np.clip(np.where(labels, scores, 1.0 - scores), _LOWEST, 1.0 - _LOWEST)
    found: npt.NDArray[np.float64] = np.log(p) - np.log1p(-p)
    return found


def likelihood_ratio(
    target: npt.NDArray[np.float64],
    shadows: npt.NDArray[np.float64],
    trained_on: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Returns the log-likelihood ratio of each row: higher where it looks more like a member.

    Args:
        target: Confidence logits under the model that is attacked, of shape (rows,).
        shadows: The same under the shadow models, of shape (models, rows).
        trained_on: Whether a shadow model was trained on a row, of the same shape.

    Returns:
        Of shape (rows,); 0 for a row that all shadow models saw, or none: nothing is known of it.
    """
    inside, outside = _normal(shadows, trained_on), _normal(shadows, ~trained_on)
    ratio = _log_density(target, *inside) - _log_density(target, *outside)
    known = trained_on.any(axis=0) & (~trained_on).any(axis=0)
    found: npt.NDArray[np.float64] = np.where(known, ratio, 0.0)
    return found


def _normal(logits: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], float]:
    """Returns each row's mean over the chosen models, and the variance around it that all rows have in common."""
    counts = chosen.sum(axis=0)
    means = np.where(chosen, logits, 0.0).sum(axis=0) / np.maximum(counts, 1)
    squares = np.where(chosen, (logits - means) ** 2, 0.0).sum()
    freedom = int((counts - 1).clip(min=0).sum())
    return means, float(squares / max(freedom, 1)) + 1e-12


def _log_density(
    values: npt.NDArray[np.float64], means: npt.NDArray[np.float64], variance: float
) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = -0.5 * ((values - means) ** 2 / variance + np.log(variance))
    return found
