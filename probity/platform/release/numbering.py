"""Release numbers: what changed since the last release of a model, in one look.

``pipeline.major.minor``. Other data raise the minor number, other hyper-parameters (layers and their widths among them)
the major one, and another architecture starts a new pipeline (Hapke and Nelson 2020, "Building Machine Learning
Pipelines", chapter 15, "Thoughts on Model Release Management").
"""

from __future__ import annotations

from probity.decision import Recipe, Release

__all__ = ["next_number"]


def next_number(recipe: Recipe, *, after: Release | None) -> str:
    """Returns the number of a release.

    Args:
        recipe: What its model was made of.
        after: The release before it; ``None`` for the first one, which is 1.0.0.
    """
    if after is None or after.number is None or after.recipe is None:
        return "1.0.0"
    pipeline, major, minor = (int(part) for part in after.number.split("."))
    if recipe.architecture != after.recipe.architecture:
        return f"{pipeline + 1}.0.0"
    if recipe.hyperparameters != after.recipe.hyperparameters:
        return f"{pipeline}.{major + 1}.0"
    # Other data, or the same recipe again with other code or another seed: another model in any case.
    return f"{pipeline}.{major}.{minor + 1}"
