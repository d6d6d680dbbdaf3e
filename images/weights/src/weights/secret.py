"""The Hub token where the platform hands no secret to a container: the job reads it from Secret Manager.

One version's payload, by the API that secretmanager.googleapis.com/$discovery/rest?version=v1 describes, as
whoever the job runs as.
"""

import base64
import binascii
from typing import Any

import google.auth.exceptions
import google.auth.transport.requests
import msgspec
import requests

from weights.credentials import PLATFORM, find_credentials
from weights.errors import DeniedError, Failure, TransientError
from weights.settings import Settings, check_token
from weights.transport import (
    TIMEOUT,
    TRANSIENT_STATUS,
    Patience,
    network_errors,
    new_session,
    retry_after,
)

ROLE = "roles/secretmanager.secretAccessor"
_PURPOSE = "the Hub token is read from it (HF_TOKEN_SECRET)"


class _Payload(msgspec.Struct):
    data: str


class _Version(msgspec.Struct):
    payload: _Payload


def hub_token(settings: Settings, patience: Patience) -> str | None:
    """The Hub token: ``HF_TOKEN``, else what the secret's version holds that ``HF_TOKEN_SECRET`` names.

    Raises:
        Failure: ``secret``, if the version cannot be read or holds no token; ``unavailable``, if Secret
            Manager stays silent.
    """
    if settings.token or not settings.token_secret:
        return settings.token
    name = settings.token_secret
    try:
        credentials = find_credentials(False, PLATFORM)
        return _token(name, patience.run(lambda: _access(settings, credentials, name)))
    except Failure as failure:
        if failure.kind != "permission":
            raise
        raise Failure("secret", str(failure)) from None


def _access(settings: Settings, credentials: Any, name: str) -> bytes:
    """Send the request once."""
    url, headers = f"{settings.secret_manager}/v1/{name}:access", dict[str, str]()
    try:
        credentials.before_request(google.auth.transport.requests.Request(), "GET", url, headers)
    except google.auth.exceptions.TransportError as error:
        raise TransientError(f"no access token: {error}") from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise DeniedError(f"no access token for Secret Manager: {error}") from None
    with network_errors(url), new_session(1) as session:
        answer = session.get(url, headers=headers, allow_redirects=False, timeout=TIMEOUT)
        if answer.status_code == 200:
            return answer.content
    if answer.status_code == 401:
        credentials.token = None  # makes the next attempt ask for a new one
    raise _problem(answer, name)


def _problem(answer: requests.Response, name: str) -> Exception:
    status, secret = answer.status_code, name.partition("/versions/")[0]
    said = f"Secret Manager answered {status} for {name}"
    if status in TRANSIENT_STATUS:
        return TransientError(said, retry_after(answer))
    if status in (401, 403):
        return DeniedError(f"{said}; the job's service account needs {ROLE} on {secret}")
    if status == 404:
        return Failure("secret", f"{said}: there is no such version; {_PURPOSE}")
    return Failure("secret", f"{said}; enable a version of {secret}: {_PURPOSE}")


def _token(name: str, body: bytes) -> str:
    try:
        version = msgspec.json.decode(body, type=_Version)
        value = base64.b64decode(version.payload.data, validate=True).decode().strip()
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError):
        # Without the cause: it may quote what was read.
        raise Failure("secret", f"{name} holds no text; {_PURPOSE}") from None
    token = check_token(value, name, "secret")
    if token is None:
        raise Failure("secret", f"{name} is empty; {_PURPOSE}")
    return token
