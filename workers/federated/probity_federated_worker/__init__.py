"""Federated training with TensorFlow Federated, in an environment of its own.

Only :mod:`probity_federated_worker.training` and what it uses import TensorFlow; requests, participation and noise are
plain Python and numpy.
"""
