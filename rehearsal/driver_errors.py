"""What can go wrong before a rehearsal begins."""

from __future__ import annotations


class RehearsalError(Exception):
    """A rehearsal that cannot be prepared; one line that names the thing and the remedy."""
