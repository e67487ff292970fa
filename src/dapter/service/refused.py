"""Refusing a request: one exception with its HTTP status, and what gRPC calls the same."""

from dapter.errors import DapterError

GRPC_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""For each HTTP status, gRPC's name of the same; INTERNAL for any other."""


class Refused(DapterError):
    """A request that is not answered.

    Attributes:
        status: the HTTP status, a key of GRPC_CODES or 500.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    @property
    def grpc_code(self) -> str:
        """The name of the gRPC status."""
        return GRPC_CODES.get(self.status, "INTERNAL")


def refusal(error: Exception) -> Refused:
    """What to tell the sender about an error; nothing of what went wrong inside the server."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, TimeoutError):
        return Refused(504, "this took too long. Cure: send fewer or smaller images")
    if isinstance(error, DapterError):
        return Refused(400, str(error))
    return Refused(500, "the server failed. Cure: tell whoever runs it")
