"""A deployment as its callers see it: an address, an identity token, what it refuses and how that is said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import google.auth.exceptions
import google.auth.transport.requests
import httpx
from google.oauth2 import id_token
from httpx_sse import connect_sse

from llmstack.client_tunnel import TunnelTransport

ANSWER_SECONDS = 300.0
"""A first answer may wait for an instance to start."""
CONNECT_SECONDS = 10.0
RENEWAL_SECONDS = 30.0
"""Shortest time between two renewals of an identity token."""
STREAM_END = "[DONE]"
"""What ends a stream of OpenAI's API."""


class AskError(Exception):
    """A deployment that cannot be asked, or refused the prompt; the text is for a person."""


class BusyError(AskError):
    """A deployment that may answer later.

    Args:
        message: for a person.
        retry_after: seconds that it asked to wait; None where it did not say.
    """

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class IdentityAuth(httpx.Auth):
    """Sends an identity token; one that is no longer accepted is renewed once, since it holds for an hour.

    There is no other soon after: it may take seconds, in which nothing else goes on.

    https://cloud.google.com/docs/authentication/token-types#id

    Args:
        token: the token, or None to send none.
        renew: makes another; None where there is no other.
    """

    def __init__(self, token: str | None, renew: Callable[[], str | None] | None) -> None:
        self._token = token
        self._renew = renew
        self._next_renewal = float("-inf")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Adds the token to a request, and sends it again with another where that helps."""
        sent = self._token
        if sent is None:
            yield request
            return
        request.headers["Authorization"] = f"Bearer {sent}"
        response = yield request
        if response.status_code != 401 or self._renew is None:
            return
        # Of many requests that are refused at once, the first renews the token for all.
        if self._token == sent and time.monotonic() >= self._next_renewal:
            self._token = self._renew() or sent
            self._next_renewal = time.monotonic() + RENEWAL_SECONDS
        if self._token != sent:
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


Api = Literal["serving", "jetstream", "openai", "vertex"]
"""What requests look like: the serving image's, those of JetStream's HTTP front, of vLLM, or of Vertex AI."""


@dataclass(frozen=True)
class Deployment:
    """A serving deployment.

    Args:
        url: address, without trailing slash.
        token: identity token, or None where none could be had (a public deployment needs none).
        renew: makes another token when that one has expired.
        rehearsed: whether it runs in a rehearsed cloud, where nothing costs.
        api: what requests look like.
        model: the model, as the stack says; for a server that does not tell.
        place: what a person calls the address; empty for the address itself.
        path: where requests go, for a platform that has it depend on the deployment.
        host: the name to ask for at that address, where several names share it; empty for its own.
        trouble: what a tunnel on loopback, which is the address then, says when it fails; None without one.
        seconds: how long an answer, or its next piece, is waited for.
    """

    url: str
    token: str | None
    renew: Callable[[], str | None] | None = None
    rehearsed: bool = False
    api: Api = "serving"
    model: str = ""
    place: str = ""
    trouble: Callable[[], str] | None = None
    path: str = ""
    host: str = ""
    seconds: float = ANSWER_SECONDS

    def auth(self) -> IdentityAuth:
        """What identifies the caller, for an HTTP client."""
        return IdentityAuth(self.token, self.renew)

    def headers(self) -> dict[str, str]:
        """What every request says beside that, for an HTTP client."""
        return {"Host": self.host} if self.host else {}

    def client(self) -> httpx.Client:
        """An HTTP client for it; to be closed."""
        transport = None if self.trouble is None else TunnelTransport(self.trouble)
        return httpx.Client(
            base_url=self.url,
            auth=self.auth(),
            headers=self.headers(),
            timeout=httpx.Timeout(self.seconds, connect=CONNECT_SECONDS),
            transport=transport,
        )

    def generate(self, prompt: str, max_new_tokens: int | None = None) -> dict[str, Any]:
        """Ask for a whole answer.

        Raises:
            AskError: the deployment refused.
            httpx.HTTPError: it cannot be reached.
        """
        with self.client() as client:
            response = client.post("/generate", json=_body(prompt, max_new_tokens, stream=False))
        check(response)
        answer: dict[str, Any] = parsed(response.text)
        return answer

    def stream(self, prompt: str, max_new_tokens: int | None = None) -> Iterator[str]:
        """Ask, and yield the pieces of the answer as they come.

        Raises:
            AskError: the deployment refused, or broke off.
            httpx.HTTPError: it cannot be reached.
        """
        with self.client() as client:
            for data in events(client, "/generate", _body(prompt, max_new_tokens, stream=True)):
                if data.get("done"):
                    return
                yield data["token"]
        raise broke_off()


def events(client: httpx.Client, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Post a request and yield the data of each server-sent event of its answer.

    Raises:
        AskError: the deployment refused, or says in the stream that it failed.
        httpx.HTTPError: it cannot be reached.
    """
    with connect_sse(client, "POST", path, json=body) as source:
        if source.response.is_error:
            source.response.read()
        check(source.response)
        for event in source.iter_sse():
            if event.data == STREAM_END:
                return
            data = parsed(event.data)
            if "error" in data:
                raise AskError(f"the answer broke off: {error_message(data)}")
            yield data


def broke_off() -> AskError:
    """The error of a stream that ended before the answer did."""
    return AskError("the answer broke off before its end")


def parsed(text: str) -> dict[str, Any]:
    """JSON that a deployment sent.

    Raises:
        AskError: it is none; then something else than the server answered, for instance a login page.
    """
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise AskError(f"what answers is not the deployment's server; it sent: {_one_line(text)!r}")
    return data


def error_message(data: Mapping[str, Any]) -> str:
    """What a refusal in JSON says to a person."""
    error = data.get("error", data)
    if not isinstance(error, dict):
        return str(error)
    # JetStream's HTTP front is a FastAPI program, whose refusals have a detail.
    return str(error.get("message") or error.get("detail") or error)


def check(response: httpx.Response) -> None:
    """Raise what a refusal means for a person; a body of a refusal must have been read.

    Raises:
        BusyError: 429 or 503: another try may be answered.
        AskError: any other refusal.
    """
    status = response.status_code
    if not response.is_error:
        return
    if status in (401, 403):
        login, role = _needed(response.url)
        raise AskError(
            f"{status}: you may not call {response.url.host}: run {login}; your account needs {role}: add it "
            "to the deployment's access.invokers and run pulumi up"
        )
    message = f"{status}: {_reason(response.text)}"
    if status in (429, 503):
        raise BusyError(message, retry_after(response))
    raise AskError(message)


def _needed(url: httpx.URL) -> tuple[str, str]:
    """How a caller of an address logs in, and what the caller needs: a role, or a permission."""
    if url.path.endswith(":predict"):
        return "gcloud auth application-default login", "aiplatform.endpoints.predict on the endpoint"
    return "gcloud auth login", "roles/run.invoker"


def retry_after(response: httpx.Response) -> float | None:
    """The seconds that a refusal asks to wait; None where it does not say, or gives a date.

    https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdigit() else None


def identity_token(audience: str, environment: Mapping[str, str]) -> str | None:
    """An identity token for `audience`, from the default credentials, else from gcloud, else None.

    A person's own default credentials cannot make one; gcloud can.
    """
    path = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    if path and Path(path).is_file():
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = path
        try:
            request = google.auth.transport.requests.Request()
            token: str = id_token.fetch_id_token(request, audience)  # type: ignore[no-untyped-call]
        except google.auth.exceptions.GoogleAuthError:
            pass
        else:
            return token
    try:
        done = subprocess.run(
            ["gcloud", "auth", "print-identity-token"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _body(prompt: str, max_new_tokens: int | None, *, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"prompt": prompt, "stream": stream}
    if max_new_tokens is not None:
        body["max_new_tokens"] = max_new_tokens
    return body


def _reason(text: str) -> str:
    """What a refusal says: the serving image's message, or the text of whatever answered in its place."""
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    return error_message(data) if isinstance(data, dict) else _one_line(text)


def _one_line(text: str) -> str:
    """The text of a page, at most 300 characters; what stands before Cloud Run answers in HTML."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:300]
