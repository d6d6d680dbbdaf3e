"""How this provider reaches a Kubernetes cluster, by the official client: credentials, retries, errors."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

import urllib3
from google.auth import exceptions as auth_errors
from google.auth.transport.requests import Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from providers.base.errors import ProviderError, one_line
from providers.modelops.client import TRANSIENT_STATUSES, Google, NotFound, TemporaryError, no_credentials
from providers.modelops.kubernetes_stream import open_stream

if TYPE_CHECKING:  # The client has a module for every kind of object: it takes a second to import.
    from kubernetes.client import ApiClient
    from websocket import WebSocket

REQUEST_TIMEOUT_SECONDS = 30
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
STAGING_NEEDS = (
    "whoever runs Pulumi needs roles/container.developer on the project, or a Role in namespace {namespace} "
    "that allows get, create and delete of jobs, and list of pods and events"
)
"""What the runner of weights jobs may do, for the message of a refusal."""

_GOOGLE_LOGIN = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS, as somebody who may "
    "use it"
)


class Conflict(ProviderError):  # noqa: N818 - what happened, not an error
    """The cluster answered 409: there is such an object already, or it is another one by now."""


class ClusterAccess(BaseModel):
    """How to reach a cluster; it holds no credential.

    Either `endpoint`, where Google's application-default credentials are shown, as Google Kubernetes Engine
    takes them; or `kubeconfig`, a file on the machine that deploys, which says how to authenticate.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )

    endpoint: Annotated[str, Field(pattern=r"^(https://[^/]+)?$")] = ""
    """`https://HOST`: the control plane's DNS endpoint, or its address together with `ca_certificate`."""
    ca_certificate: str = ""
    """The cluster's certificate authority, PEM in base64, as GKE gives it; empty for a public one."""
    kubeconfig: str = ""
    """Path of a kubeconfig file; `~` is the home folder."""
    context: str = ""
    """Context in the kubeconfig; empty for its current one."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.endpoint) == bool(self.kubeconfig):
            raise ValueError("needs either endpoint or kubeconfig")
        if self.context and not self.kubeconfig:
            raise ValueError("has a context without a kubeconfig")
        if self.ca_certificate:
            _pem(self.ca_certificate)
        return self

    @property
    def place(self) -> str:
        """What messages call the cluster's address."""
        return self.endpoint or f"kubeconfig {self.kubeconfig}"


class Cluster:
    """Sends requests to one cluster; safe to share between threads.

    Args:
        access: how to reach it.
        google: gives credentials and retries.
        needs: who needs which role to do what this is for, with `{namespace}`; for the message of a refusal.

    Raises:
        ProviderError: the kubeconfig cannot be used.
    """

    def __init__(self, access: ClusterAccess, google: Google, needs: str = STAGING_NEEDS) -> None:
        self._access = access
        self._google = google
        self._needs = needs
        self._client = self._kubeconfig_client() if access.kubeconfig else self._google_client()

    def ask(
        self,
        what: str,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Sequence[tuple[str, str]] = (),
        repeat: bool = True,
    ) -> dict[str, Any]:
        """Sends a request and gives the answer.

        Objects go and come as plain mappings: the client's classes would drop a field that they do not know
        before the cluster's own validation sees it.

        Args:
            what: what is being done, to begin an error's message with.
            method: GET, POST or DELETE.
            path: below the cluster's address, for instance `/apis/batch/v1/namespaces/N/jobs`.
            body: an object, or options of a deletion.
            query: parameters of the address.
            repeat: False where the caller tries again by itself.

        Raises:
            NotFound: there is no such object or namespace.
            Conflict: there is such an object already, or it is another one.
            TemporaryError: the cluster cannot be reached or is busy, after all attempts.
            Cancelled: the engine asked to stop between two attempts.
            ProviderError: the cluster refused.
        """

        def once() -> dict[str, Any]:
            with self._explaining(what, path):
                return self._send(method, path, body, query)

        return self._google.retrying()(once) if repeat else once()

    def connect(self, what: str, path: str, query: Sequence[tuple[str, str]] = ()) -> WebSocket:
        """Opens a connection of the API that goes both ways, for instance to a pod's port.

        Args:
            what: what is being done, to begin an error's message with.
            path: below the cluster's address.
            query: parameters of the address.

        Raises:
            NotFound: there is no such object or namespace.
            TemporaryError: the cluster cannot be reached or is busy.
            ProviderError: the cluster refused.
        """
        from kubernetes.client import ApiException
        from websocket import WebSocketBadStatusException, WebSocketException

        with self._explaining(what, path):
            _, url, headers, *_ = self._client.param_serialize(
                "GET", path, query_params=list(query), auth_settings=["BearerToken"]
            )
            try:
                return open_stream(self._client.configuration, url, headers, _LOOPBACK)
            except WebSocketBadStatusException as error:
                said = (error.resp_body or b"").decode(errors="replace")
                raise ApiException(error.status_code, "handshake refused", body=said) from error
            except (WebSocketException, OSError) as error:
                raise self._unreachable(what, error) from error

    @contextmanager
    def _explaining(self, what: str, path: str) -> Iterator[None]:
        """Turns what the clients raise into errors for a person."""
        from kubernetes.client import ApiException

        try:
            yield
        except ApiException as error:
            raise self._explained(what, path, error) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(what, error) from error
        except auth_errors.TransportError as error:
            raise TemporaryError(f"{what}: cannot reach Google ({one_line(error)})") from error
        except auth_errors.GoogleAuthError as error:
            raise no_credentials(error) from error

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Sequence[tuple[str, str]]
    ) -> dict[str, Any]:
        request = self._client.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(*request, _request_timeout=REQUEST_TIMEOUT_SECONDS)
        raw: bytes = answer.read()  # type: ignore[no-untyped-call]
        if not 200 <= answer.status < 300:
            from kubernetes.client import ApiException

            raise ApiException(answer.status, answer.reason, body=raw.decode(errors="replace"))
        parsed: dict[str, Any] = json.loads(raw)
        return parsed

    def _google_client(self) -> ApiClient:
        from kubernetes.client import ApiClient, Configuration

        configuration = Configuration(host=self._access.endpoint, retries=False)
        if self._access.ca_certificate:
            configuration.ca_cert_data = _pem(self._access.ca_certificate)
        credentials = self._google.credentials()

        def refresh(current: Configuration) -> None:
            if not credentials.valid:
                credentials.refresh(Request())
            current.api_key["authorization"] = f"Bearer {credentials.token}"

        # The client asks for authentication only where there is a key; the hook puts the real one there.
        configuration.api_key = {"authorization": ""}
        configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]
        return ApiClient(_past_proxy(configuration))

    def _kubeconfig_client(self) -> ApiClient:
        import yaml
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration

        configuration = Configuration(retries=False)
        path = Path(self._access.kubeconfig).expanduser()
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                str(path), self._access.context or None, configuration, persist_config=False
            )
        # The last three are what the client makes of a file that is YAML of another shape.
        except (
            config.ConfigException,
            OSError,
            ValueError,
            yaml.YAMLError,
            AttributeError,
            KeyError,
            TypeError,
        ) as error:
            raise ProviderError(
                f"kubeconfig {path} cannot be used: {one_line(error)}; check its path and context"
            ) from error
        return ApiClient(_past_proxy(configuration))

    def _explained(self, what: str, path: str, error: Any) -> ProviderError:
        status, said = int(error.status or 0), _message(error)
        if status == 0:  # The client's own word for TLS that did not come about.
            return self._unreachable(what, error)
        if status in TRANSIENT_STATUSES:
            return TemporaryError(
                f"{what}: the cluster answered {status}: {said}; run the command again later"
            )
        if status == 401:
            remedy = "check the kubeconfig" if self._access.kubeconfig else _GOOGLE_LOGIN
            return ProviderError(f"{what}: {self._access.place} does not know the caller (401); {remedy}")
        if status == 403:
            namespace = path.partition("/namespaces/")[2].partition("/")[0]
            needs = self._needs.format(namespace=namespace)
            return ProviderError(f"{what}: refused (403); {needs}. It says: {said}")
        kind = {404: NotFound, 409: Conflict}.get(status, ProviderError)
        return kind(f"{what}: {'not found' if status == 404 else f'the cluster answered {status}'}: {said}")

    def _unreachable(self, what: str, error: Exception) -> ProviderError:
        cause = one_line(getattr(error, "reason", None) or error)
        # The two clients spell it in two ways.
        if "certificate verify failed" in cause.lower().replace("_", " "):
            return ProviderError(
                f"{what}: {self._access.place} has a certificate that is not trusted ({cause}); "
                "give the cluster's own as `caCertificate`, or use its DNS endpoint"
            )
        return TemporaryError(
            f"{what}: cannot reach {self._access.place} ({cause}); run the command again once it answers"
        )


def _past_proxy(configuration: Any) -> Any:
    # A proxy of the environment cannot reach this machine's own loopback.
    if urlsplit(configuration.host).hostname in _LOOPBACK:
        configuration.proxy = None
    return configuration


def _pem(encoded: str) -> str:
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError("has a caCertificate that is no PEM certificate in base64")
    return text


def _message(error: Any) -> str:
    """What the cluster's Status object says, or the bare reason where there is none."""
    try:
        status = json.loads(error.body)
    except (TypeError, ValueError):
        return one_line(error.reason)
    return (
        one_line(status.get("message") or error.reason) if isinstance(status, dict) else one_line(error.body)
    )
