"""What can go wrong, sorted by what has to happen next."""

from weights.contract import contract

_LONGEST = 1200  # characters of a message


class Failure(Exception):  # noqa: N818 - it is the end of a run, not an error to handle
    """The run ends here, with one line for the person who reads it.

    Args:
        kind: An outcome named in the contract's exit codes.
        message: What failed and what to do about it; one line, without secrets.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(_one_line(message))
        self.kind = kind
        self.exit_code = contract().exit_codes[kind]


def _one_line(message: str) -> str:
    """Names from a checkpoint may be long, and hold line breaks or a terminal's control characters."""
    line = " ".join(message.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )


class Interrupted(BaseException):
    """SIGTERM or SIGINT came; not an ``Exception``, so that no handler on the way swallows it."""


class TransientError(Exception):
    """One attempt failed in a way that another attempt may not.

    Args:
        message: What happened, without secrets (no signed URL).
        retry_after: Seconds the server asked to wait, if it did.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(" ".join(message.split()))
        self.retry_after = retry_after


class DeniedError(TransientError):
    """Cloud Storage said 401 or 403: for some minutes that may only mean that a grant has not arrived yet."""


class ConflictError(Exception):
    """The object is no longer of the generation that this run saw: somebody else wrote it."""


class SessionLostError(Exception):
    """The store no longer knows an upload session; the file has to start again."""
