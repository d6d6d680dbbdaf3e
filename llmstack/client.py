"""A deployment as its callers see it: an address, an identity token, a streamed answer."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.auth.exceptions
import google.auth.transport.requests
import httpx
from google.oauth2 import id_token
from httpx_sse import connect_sse

from llmstack.engine import engine_environment

TIMEOUT = httpx.Timeout(300.0, connect=10.0)
"""A first answer may wait for an instance to start."""


class AskError(Exception):
    """A deployment that cannot be asked, or refused the prompt; the text is for a person."""


@dataclass(frozen=True)
class Deployment:
    """A serving deployment.

    Args:
        url: address, without trailing slash.
        token: identity token, or None where none could be had (a public deployment needs none).
    """

    url: str
    token: str | None

    def generate(self, prompt: str, max_new_tokens: int | None = None) -> dict[str, Any]:
        """Ask for a whole answer.

        Raises:
            AskError: the deployment refused.
            httpx.HTTPError: it cannot be reached.
        """
        body = _body(prompt, max_new_tokens, stream=False)
        response = httpx.post(f"{self.url}/generate", json=body, headers=self._headers(), timeout=TIMEOUT)
        _check(response)
        answer: dict[str, Any] = response.json()
        return answer

    def stream(self, prompt: str, max_new_tokens: int | None = None) -> Iterator[str]:
        """Ask, and yield the pieces of the answer as they come.

        Raises:
            AskError: the deployment refused, or broke off.
            httpx.HTTPError: it cannot be reached.
        """
        body = _body(prompt, max_new_tokens, stream=True)
        with (
            httpx.Client(timeout=TIMEOUT, headers=self._headers()) as client,
            connect_sse(client, "POST", f"{self.url}/generate", json=body) as source,
        ):
            if source.response.is_error:
                source.response.read()
            _check(source.response)
            for event in source.iter_sse():
                data = json.loads(event.data)
                if "error" in data:
                    raise AskError(f"the answer broke off: {data['error']}")
                if data.get("done"):
                    return
                yield data["token"]
        raise AskError("the answer broke off before its end")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def find_deployment(root: Path, stack: str, name: str) -> Deployment:
    """Look a deployment's address up in the stack's outputs, and get a token to call it with.

    Raises:
        AskError: the stack is not up, or has no such deployment.
    """
    environment = engine_environment(root, stack)
    urls = _outputs(environment, stack).get("urls", {})
    if name not in urls:
        known = ", ".join(sorted(urls)) or "none"
        raise AskError(f"stack {stack} has no deployment {name!r} that is up (up: {known}): run pulumi up")
    return Deployment(urls[name].rstrip("/"), identity_token(urls[name], environment.variables))


def _outputs(environment: Any, stack: str) -> dict[str, Any]:
    command = ["pulumi", "stack", "output", "--json", "--stack", stack]
    done = subprocess.run(
        command,
        cwd=environment.folder,
        env=environment.variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        message = done.stderr.strip().split("\n")[-1]
        raise AskError(f"the outputs of stack {stack} cannot be read: {message}")
    outputs: dict[str, Any] = json.loads(done.stdout or "{}")
    return outputs


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


def _check(response: httpx.Response) -> None:
    if response.status_code in (401, 403):
        raise AskError(
            f"{response.status_code}: you may not call {response.url.host}; add yourself to the deployment's "
            "access.invokers and run pulumi up, then log in: gcloud auth login"
        )
    if response.is_error:
        raise AskError(f"{response.status_code}: {response.text.strip()[:500]}")
