"""What a request can end in, in TensorFlow Serving's words: a canonical code, and what HTTP and gRPC call it."""

from __future__ import annotations

import enum

__all__ = ["Code", "ServingError"]


class Code(enum.Enum):
    """The canonical codes of gRPC that this server gives, with the HTTP status that TensorFlow Serving maps each to.

    References: ``ToHTTPStatusCode`` in ``tensorflow_serving/model_servers/http_server.cc``. 408, 411 and 413 are said
    by the HTTP layer itself, before there is a request to speak of.
    """

    OK = (0, 200)
    CANCELLED = (1, 499)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    @property
    def number(self) -> int:
        """The code's number on the wire."""
        return self.value[0]

    @property
    def http(self) -> int:
        """The HTTP status."""
        return self.value[1]


class ServingError(Exception):
    """A request that is answered with an error.

    Not one of :mod:`probity.errors`: it is the protocol's, and goes to the client and not to the user of ``probity``.
    Guarantees: the message names keys, columns, shapes and types of the request and none of its values, so that it
    may be logged on either side. (TensorFlow Serving's own messages quote values.)
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:
        return (ServingError, (self.code, self.message))
