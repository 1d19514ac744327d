"""Differentially private stochastic gradient descent: sampling, clipping, noise, and the loop that executes them.

``trainer.py`` is the whole in order; ``book_keeping.py`` and ``tensorflow_privacy.py`` are the engines that sum clipped
gradients.
"""
