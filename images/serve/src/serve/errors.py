"""What can go wrong, each with what a person or client is told."""

from __future__ import annotations

from enum import IntEnum

OPENAI_CODES = {"prompt_too_long": "context_length_exceeded", "context_exceeded": "context_length_exceeded"}
"""Codes that clients of OpenAI's API look for by OpenAI's name."""
CLIENT_LEFT = 499
"""Status that is counted where none could be sent because the client was gone; the number that nginx uses."""


class Exit(IntEnum):
    """Exit status of the process."""

    OK = 0
    """Told to stop (SIGTERM, SIGINT), and every answer under way was finished or refused."""
    PORT = 1
    """The port cannot be listened on."""
    SETTINGS = 2
    """An environment variable is missing or wrong."""
    MODEL_FILES = 13
    """The model's folder has no manifest, or a file is missing or of the wrong size."""
    MODEL_LOAD = 14
    """The files are complete, but the model did not load or did not answer the first prompt."""


class StartupError(Exception):
    """The server cannot start.

    Args:
        code: the process's exit status.
        message: one line that names what is wrong and what would be right.
    """

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        code: a short name that programs can compare.
        message: one line for a person; never holds prompt text.
        retry_after: seconds after which asking again makes sense; None where it does not.
        param: the field that is wrong, where there is exactly one.
    """

    def __init__(
        self, status: int, code: str, message: str, retry_after: int | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def body(self) -> dict[str, dict[str, str]]:
        """The JSON that the client gets."""
        return {"error": {"code": self.code, "message": self.message}}

    def openai_body(self) -> dict[str, dict[str, str | None]]:
        """The JSON that a client of OpenAI's API gets: the same code and message, in that API's object.

        See https://platform.openai.com/docs/guides/error-codes.
        """
        code = OPENAI_CODES.get(self.code, self.code)
        kind = self._openai_type()
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": code}}

    @property
    def openai_status(self) -> int:
        """The HTTP status on OpenAI's routes, where a wrong value is 400."""
        return 400 if self.status == 422 else self.status

    def _openai_type(self) -> str:
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 499 else "server_error"
