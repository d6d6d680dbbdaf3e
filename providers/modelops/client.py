"""How this provider reaches Google: credentials, addresses, retries, and errors a person can act on.

Addresses follow gcloud's own variables (`CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN`, `…_AIPLATFORM`, `…_STORAGE`)
and the storage clients' `STORAGE_EMULATOR_HOST`; requests and their checks come from the discovery documents
that `google-api-python-client` carries, so nothing is fetched to make a client.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import google.auth
import google_auth_httplib2
import httplib2
import tenacity
from google.auth import exceptions as auth_errors
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest

from providers.base.errors import Cancelled, ProviderError, one_line
from providers.modelops.transport import Http

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
REQUEST_TIMEOUT_SECONDS = 30
ATTEMPTS = 6
"""With waits of up to 0.5, 1, 2, 4 and 8 seconds between: some 15 seconds for a service to come back."""

TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""Answers after which Google asks clients to try again: https://cloud.google.com/storage/docs/retry-strategy"""

_SERVICE_DISABLED = b"SERVICE_DISABLED"
"""Google's word for an API that is not enabled: cloud.google.com/apis/design/errors, ErrorInfo."""

_SERVICE_PATHS = {"run": "", "aiplatform": "", "storage": "storage/v1/"}
_VERSIONS = {"run": "v2", "aiplatform": "v1", "storage": "v1"}
_OFFLINE = (OSError, HTTPException, httplib2.HttpLib2Error, auth_errors.TransportError)


class NotFound(ProviderError):  # noqa: N818 - what happened, not an error
    """Google answered 404."""


class Conflict(ProviderError):  # noqa: N818 - what happened, not an error
    """Google answered 409: the thing exists already, or something else is being done to it."""


class TemporaryError(ProviderError):
    """Google could not be reached or was busy; the same request may succeed later."""


class Google:
    """Clients of Google's APIs.

    Args:
        cancelled: set when waiting should stop; retries then end.
        environment: where the addresses' variables are looked up.
        credentials: who calls; application-default credentials when None.
    """

    def __init__(
        self,
        cancelled: threading.Event,
        environment: Mapping[str, str] = os.environ,
        credentials: Any = None,
    ) -> None:
        self._cancelled = cancelled
        self._environment = environment
        self._credentials = credentials
        self._services: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def service(self, name: str, location: str = "") -> Any:
        """The client of `run`, `storage` or `aiplatform`, made on first use; safe to share between threads.

        Args:
            name: the API.
            location: where its resources are, for an API that has an address in each region.
        """
        with self._lock:
            if (name, location) not in self._services:
                self._services[name, location] = self._build(name, location)
            return self._services[name, location]

    def call(self, what: str, role: str, request: Callable[[], HttpRequest], repeat: bool = True) -> Any:
        """Sends a request and gives the answer.

        Args:
            what: what is being done, to begin an error's message with, for instance "reading job J".
            role: the role on its resource that allows it, for the message of a refusal.
            request: makes the request; called anew for each attempt.
            repeat: False for a request that must not be sent twice without looking first.

        Raises:
            NotFound: the thing does not exist.
            TemporaryError: Google cannot be reached or is busy, after all attempts.
            Cancelled: the engine asked to stop between two attempts.
            ProviderError: Google refused.
        """

        def once() -> Any:
            try:
                return request().execute()
            except HttpError as error:
                raise _explained(what, role, error) from error
            except _OFFLINE as error:
                raise TemporaryError(
                    f"{what}: cannot reach Google ({one_line(error)}); run the command again once it answers"
                ) from error
            except auth_errors.GoogleAuthError as error:
                raise no_credentials(error) from error

        return self.retrying()(once) if repeat else once()

    def credentials(self) -> Any:
        """Who calls: the credentials that were given, or the application's default ones."""
        with self._lock:
            if self._credentials is None:
                self._credentials = _default_credentials()
            return self._credentials

    def retrying(self) -> tenacity.Retrying:
        """Tries again after a `TemporaryError`, a bounded number of times, unless cancelled."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TemporaryError),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=8),
            sleep=self._sleep,
            reraise=True,
        )

    def _sleep(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise Cancelled("cancelled while Google could not be reached")

    def _build(self, name: str, location: str) -> Any:
        endpoint = self._endpoint(name)
        if endpoint is None and location:
            # Discovery document aiplatform.v1, endpoints: one in each region.
            endpoint = f"https://{location}-{name}.googleapis.com/"
        credentials = self._credentials or _default_credentials()
        on_loopback = endpoint is not None and urlsplit(endpoint).hostname in (
            "127.0.0.1",
            "localhost",
            "::1",
        )

        def transport() -> google_auth_httplib2.AuthorizedHttp:
            # A proxy of the environment cannot reach this machine's own loopback.
            proxy = None if on_loopback else httplib2.proxy_info_from_environment
            http = Http(timeout=REQUEST_TIMEOUT_SECONDS, proxy_info=proxy)  # type: ignore[no-untyped-call]
            return google_auth_httplib2.AuthorizedHttp(credentials, http=http)  # type: ignore[no-untyped-call]

        def fresh(_: Any, *args: Any, **kwargs: Any) -> Any:
            # httplib2 connections are not safe to share between threads; each request gets its own.
            return HttpRequest(transport(), *args, **kwargs)

        return build(
            name,
            _VERSIONS[name],
            http=transport(),
            requestBuilder=fresh,
            static_discovery=True,
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )

    def _endpoint(self, name: str) -> str | None:
        override = self._environment.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}")
        if not override and name == "storage":
            override = self._environment.get("STORAGE_EMULATOR_HOST")
        if not override:
            return None
        address = override if "://" in override else f"http://{override}"
        # gcloud's variable holds the service's path, the emulator's does not.
        if urlsplit(address).path in ("", "/"):
            return f"{address.rstrip('/')}/{_SERVICE_PATHS[name]}"
        return f"{address.rstrip('/')}/"


def _default_credentials() -> Any:
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except auth_errors.GoogleAuthError as error:
        raise no_credentials(error) from error
    return credentials


def no_credentials(error: Exception) -> ProviderError:
    """The refusal where Google's credentials are missing, expired or refused."""
    return ProviderError(
        "Google's credentials are missing or refused; run `gcloud auth application-default login`, or set "
        f"GOOGLE_APPLICATION_CREDENTIALS ({one_line(error)})"
    )


def _explained(what: str, role: str, error: HttpError) -> ProviderError:
    status, reason = int(error.resp.status), one_line(error.reason) + _violations(error)
    if status in TRANSIENT_STATUSES:
        return TemporaryError(f"{what}: Google answered {status}: {reason}; run the command again later")
    if status == 404:
        return NotFound(f"{what}: not found: {reason}")
    if status == 409:
        return Conflict(f"{what}: Google answered 409: {reason}")
    if _SERVICE_DISABLED in error.content:
        # Google answers so for some minutes after an API was enabled.
        return TemporaryError(
            f"{what}: the API is not enabled, or not everywhere yet; run the command again in some minutes. "
            f"Google says: {reason}"
        )
    if status == 403:
        return ProviderError(
            f"{what}: refused (403); whoever runs Pulumi needs {role}. Google says: {reason}"
        )
    if status == 401:
        return no_credentials(error)
    return ProviderError(f"{what}: Google answered {status}: {reason}")


def _violations(error: HttpError) -> str:
    """Which fields of the request Google objects to, where it says so (google.rpc.BadRequest)."""
    details: list[Any] = error.error_details if isinstance(error.error_details, list) else []
    fields = [
        f"{violation['field']}: {violation.get('description', '')}".rstrip(": ")
        for detail in details
        if isinstance(detail, dict)
        for violation in detail.get("fieldViolations", [])
        if violation.get("field")
    ]
    return f" ({one_line('; '.join(fields))})" if fields else ""
