"""Serving: TensorFlow Serving's API over released versions, by the real server or by the embedded one.

::

    options      what was asked: ports, models, limits, batching, TLS          ServerOptions, ModelSource
    watcher      base path -> versions that should be live; verified, loaded, published, unloaded
    catalogue    the versions that one process has loaded, and what a request may see of them
    saved_model  a SavedModel behind a TensorFlow session                      LoadedModel
    batching     requests that wait together run together
    inference    predict, classify, regress, several at once                   independent of the wire
    rest, json_tensors, json_answers, grpc_services                            the two wires
    server       one process that answers; launcher: several, on one port
    client       the other side of both wires
    tls          keys and certificates, for both sides of both wires
    infra_validation                                                           can the candidate be served at all?

The embedded server is for a laptop, tests and demonstrations; production runs ``tensorflow_model_server``, which
:mod:`probity.platform.serving.launcher` starts when it is installed.
"""

from probity.platform.serving.client import Client

__all__ = ["Client"]
