"""What ends a recovery."""


class RecoveryError(Exception):
    """A recovery cannot go on; the message says why and what to do, for a person."""
