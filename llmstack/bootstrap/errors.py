"""What stops a bootstrap. A person reads the message as it is: one line, the thing and the remedy."""

from __future__ import annotations


class BootstrapError(Exception):
    """The project cannot be prepared."""


class UsageError(BootstrapError):
    """The command line asks for what cannot be: found before any call."""


class RefusedError(BootstrapError):
    """Google answered that the caller lacks a permission (403)."""


class BadRequestError(BootstrapError):
    """Google answered that the request is wrong (400)."""


class NotYetError(BootstrapError):
    """The same step may succeed in a while: what it needs is on its way."""


class BusyError(NotYetError):
    """Google could not be reached, or asked to come again later."""


class ApiDisabledError(NotYetError):
    """The API is not enabled, or was enabled a moment ago."""


class ConflictError(NotYetError):
    """Somebody else made or changed the thing at the same time (409, 412)."""
