"""What can go wrong, each with what a person or client is told."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit status of the start; TorchServe's own follow once it runs."""

    SETTINGS = 2
    """An environment variable is missing or wrong, or Java is not there."""
    MODEL_FILES = 13
    """The model cannot be downloaded or has no archive, or a file is missing or of the wrong size."""


class StartupError(Exception):
    """TorchServe cannot be started, or a worker cannot load the model.

    Args:
        code: the process's exit status.
        message: one line that names what is wrong and what would be right.
    """

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


class RequestError(Exception):
    """A request that is refused, alone: others in its batch are answered.

    Args:
        status: HTTP status.
        code: a short name that programs can compare.
        message: one line for a person; never holds prompt text.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, dict[str, str]]:
        """The JSON that the client gets."""
        return {"error": {"code": self.code, "message": self.message}}
