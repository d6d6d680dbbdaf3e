"""Whoever asks a stack's models, once or all the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import google.auth.transport.requests
import httpx
from google.oauth2 import service_account

from providers.modelops.client import SCOPE
from tests.engine.lab import STACK, Lab

_ANSWER_SECONDS = 600.0
_PAUSE_SECONDS = 0.1


def ask(lab: Lab, deployment: str, prompt: str) -> dict[str, Any]:
    """What `llmstack ask` prints, asked for as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "llmstack.main", "ask", STACK, deployment, prompt, "--json"],
        cwd=lab.root,
        env={**os.environ, "LLMSTACK_RUNNER": lab.variables["LLMSTACK_RUNNER"]},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class Caller:
    """Asks a deployment's endpoint with the caller's own credentials, as any HTTP client would.

    Args:
        lab: the stack, which is up.
        deployment: name of the deployment.
    """

    def __init__(self, lab: Lab, deployment: str) -> None:
        address = urlsplit(lab.outputs()["endpoints"][deployment]["url"])
        face = lab.variables["CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"]
        self._url = face.rstrip("/") + address.path
        key = str(lab.rehearsal.folder / "adc.json")
        read = service_account.Credentials.from_service_account_file
        credentials = read(key, scopes=[SCOPE])  # type: ignore[no-untyped-call]
        credentials.refresh(google.auth.transport.requests.Request())
        # A rehearsal has one address; the name says which of Vertex AI's is meant.
        self._headers = {"Host": address.netloc, "Authorization": f"Bearer {credentials.token}"}

    def post(self, body: dict[str, Any]) -> httpx.Response:
        """Send one request."""
        return httpx.post(
            self._url, json=body, headers=self._headers, timeout=_ANSWER_SECONDS, trust_env=False
        )


class Answers:
    """What a caller heard, in order: the id of the deployed model, or what went wrong."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.failures: list[str] = []


@contextmanager
def asked_all_the_time(caller: Caller, body: dict[str, Any]) -> Iterator[Answers]:
    """Ask one question after the other for as long as the block lasts."""
    answers, over = Answers(), threading.Event()

    def ask_on() -> None:
        while not over.is_set():
            try:
                response = caller.post(body)
            except httpx.HTTPError as error:
                answers.failures.append(repr(error))
            else:
                if response.is_success:
                    answers.ids.append(response.json()["deployedModelId"])
                else:
                    answers.failures.append(response.text)
            over.wait(_PAUSE_SECONDS)

    thread = threading.Thread(target=ask_on)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()
