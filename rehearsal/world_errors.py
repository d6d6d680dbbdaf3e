"""What the rehearsed cloud answers when it cannot do what was asked, in Google's own terms.

Each error carries the HTTP code and the canonical status, so that the REST face and the stand-in
plugins report the same thing.
"""

from __future__ import annotations


class WorldError(Exception):
    """A refusal of the rehearsed cloud.

    Args:
        message: One line for a person.
        code: HTTP code.
        status: Canonical status, for instance `NOT_FOUND`.
    """

    code = 500
    status = "INTERNAL"

    def __init__(self, message: str, *, code: int | None = None, status: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.code if code is None else code
        self.status = self.status if status is None else status


class NotFound(WorldError):  # noqa: N818 - Google's own name for it
    """Nothing of that name exists."""

    code = 404
    status = "NOT_FOUND"


class AlreadyExists(WorldError):  # noqa: N818
    """Something of that name exists already."""

    code = 409
    status = "ALREADY_EXISTS"


class PreconditionFailed(WorldError):  # noqa: N818
    """The object's generation is not the one that was asked for."""

    code = 412
    status = "FAILED_PRECONDITION"


class InvalidArgument(WorldError):  # noqa: N818
    """The request itself is wrong."""

    code = 400
    status = "INVALID_ARGUMENT"


class InjectedFault(WorldError):  # noqa: N818
    """A fault that somebody asked for; `kind` is the kind that was injected."""

    def __init__(self, kind: str, message: str, *, code: int, status: str) -> None:
        super().__init__(message, code=code, status=status)
        self.kind = kind
