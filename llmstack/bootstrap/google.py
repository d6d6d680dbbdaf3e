"""How the bootstrap reaches Google: credentials, addresses, retries, and errors that name the remedy.

Addresses follow gcloud's own variables (`CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM`, …); requests come from the
discovery documents that google-api-python-client carries, so nothing is fetched to make a client.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

from llmstack.bootstrap.errors import ApiDisabledError, BootstrapError, BusyError, NotYetError
from llmstack.bootstrap.refusals import NOT_FOUND, no_credentials, problem

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_REQUEST_TIMEOUT_SECONDS = 60
_ATTEMPTS = 6
"""Of one request, with waits of up to 1, 2, 4, 8 and 8 seconds between."""
_PATIENCE_ATTEMPTS = 16
"""Of one step, with waits of 1, 2, 4, 8, 15, 15, … seconds between: three minutes. A change of access usually
holds within two: https://cloud.google.com/iam/docs/access-change-propagation"""
_POLLS = 60
_VERSIONS = {
    "cloudresourcemanager": "v3",
    "serviceusage": "v1",
    "cloudkms": "v1",
    "iam": "v1",
    "storage": "v1",
}
_SERVICE_PATHS = {"storage": "storage/v1/"}
_OFFLINE = (ConnectionError, TimeoutError, httplib2.HttpLib2Error, auth_errors.TransportError)


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why a request is sent, for the message if it is refused."""

    doing: str
    """For instance "reading bucket b"."""
    permission: str
    """What Google asks the caller to have."""
    on: str
    """The resource on which the caller must have it."""


class Google:
    """Clients of Google's APIs, and the one way through which requests go.

    Args:
        read_only: refuse every write; an API that is not enabled then counts as holding nothing.
        environment: where the addresses' variables are looked up.
        credentials: who calls; application-default credentials when None.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        *,
        read_only: bool,
        environment: Mapping[str, str] = os.environ,
        credentials: Any = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.read_only = read_only
        self._environment = environment
        self._credentials = credentials
        self._sleep = sleep
        self._services: dict[str, Any] = {}

    def service(self, name: str) -> Any:
        """The client of one API, made on first use."""
        if name not in self._services:
            self._services[name] = self._build(name)
        return self._services[name]

    def read(
        self, purpose: Purpose, request: Callable[[], HttpRequest], *, enabled: bool = False
    ) -> dict[str, Any] | None:
        """What a request that changes nothing answers; None for what does not exist.

        Args:
            purpose: why it is sent.
            request: makes the request.
            enabled: whether the API must be enabled already. In a dry run, one that must not, and is not,
                holds nothing: the run that is not dry enables it first.

        Raises:
            ApiDisabledError: the API is not enabled.
            BootstrapError: Google refuses or cannot be reached.
        """
        try:
            return self._answer(purpose, request)
        except ApiDisabledError:
            if self.read_only and not enabled:
                return None
            raise

    def write(self, purpose: Purpose, request: Callable[[], HttpRequest]) -> dict[str, Any]:
        """Sends a request that changes something, and gives its answer.

        It may be sent twice if Google is busy, so the same request must do no harm the second time.

        Raises:
            NotYetError: what it acts on is not visible yet, or was changed by somebody else meanwhile.
            BootstrapError: Google refuses or cannot be reached.
        """
        if self.read_only:
            raise AssertionError(f"a dry run must not write, but was {purpose.doing}")
        answer = self._answer(purpose, request)
        if answer is None:
            raise NotYetError(
                f"{purpose.doing}: {purpose.on} is not there yet; run this again in some minutes"
            )
        return answer

    def wait(self, purpose: Purpose, operation: dict[str, Any], get: Callable[[str], HttpRequest]) -> None:
        """Waits for a long-running operation.

        Raises:
            BootstrapError: it failed, or takes longer than ten minutes.
        """
        name = str(operation["name"])
        for poll in range(_POLLS):
            if operation.get("done"):
                break
            self._sleep(min(2.0**poll, 10))
            operation = self.read(purpose, lambda: get(name)) or operation
        if not operation.get("done"):
            raise BootstrapError(f"{purpose.doing} takes too long; run this again in some minutes")
        if "error" in operation:
            failed = operation["error"]
            raise problem(purpose, 400, failed.get("message", ""), failed.get("details", []))

    def patiently(self, work: Callable[[], None]) -> None:
        """Repeats work while it raises `NotYetError`, for some three minutes."""
        tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, NotYetError) and not isinstance(error, BusyError)
            ),
            stop=tenacity.stop_after_attempt(_PATIENCE_ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=1, max=15),
            sleep=self._sleep,
            reraise=True,
        )(work)

    def _answer(self, purpose: Purpose, request: Callable[[], HttpRequest]) -> dict[str, Any] | None:
        def once() -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = request().execute()
            except HttpError as error:
                found = _explained(purpose, error)
                if found is NOT_FOUND:
                    return None
                raise found from error
            except _OFFLINE as error:
                raise BusyError(
                    f"{purpose.doing}: cannot reach Google ({error}); run this again once it answers"
                ) from error
            except auth_errors.GoogleAuthError as error:
                raise no_credentials(error) from error
            return answer

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(BusyError),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=1, max=8),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(once)

    def _build(self, name: str) -> Any:
        endpoint = self._endpoint(name)
        on_loopback = endpoint is not None and urlsplit(endpoint).hostname in (
            "127.0.0.1",
            "localhost",
            "::1",
        )
        # A proxy of the environment cannot reach this machine's own loopback.
        proxy = None if on_loopback else httplib2.proxy_info_from_environment
        http = httplib2.Http(timeout=_REQUEST_TIMEOUT_SECONDS, proxy_info=proxy)  # type: ignore[no-untyped-call]
        authorized = google_auth_httplib2.AuthorizedHttp(self._who(), http=http)  # type: ignore[no-untyped-call]
        return build(
            name,
            _VERSIONS[name],
            http=authorized,
            static_discovery=True,
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )

    def _who(self) -> Any:
        if self._credentials is None:
            try:
                self._credentials, _ = google.auth.default(scopes=[_SCOPE])
            except auth_errors.GoogleAuthError as error:
                raise no_credentials(error) from error
        return self._credentials

    def _endpoint(self, name: str) -> str | None:
        override = self._environment.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}")
        if not override:
            return None
        # gcloud's variable may hold the service's path already.
        path = _SERVICE_PATHS.get(name, "") if urlsplit(override).path in ("", "/") else ""
        return f"{override.rstrip('/')}/{path}"


def _explained(purpose: Purpose, error: HttpError) -> BootstrapError:
    status = int(error.resp.status)
    details: list[Any] = error.error_details if isinstance(error.error_details, list) else []
    return problem(purpose, status, str(error.reason), details)
