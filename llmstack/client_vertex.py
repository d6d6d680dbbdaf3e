"""A deployment behind an endpoint of Vertex AI, called with an access token of whoever asks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import google.auth
import google.auth.exceptions
import google.auth.transport.requests

from llmstack.client import AskError, Deployment
from providers.modelops.client import SCOPE

OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
"""Where a rehearsal has Vertex AI. For a real stack it is not followed: it is the address of the API, and an
endpoint with one of its own does not answer there."""
ANSWER_SECONDS = 630.0
"""An endpoint of its own answers within ten minutes (stacks/plan/data/vertex_serving.yaml), or says that it
does not."""


@dataclass(frozen=True)
class VertexTarget:
    """A deployment on topology `vertex`.

    A rehearsed cloud has one address for every host of Vertex AI and for what is reached from networks alone;
    the Host header tells it which of them a request is for.

    Args:
        name: full name of its endpoint.
        url: where predictions are asked for; for a private endpoint, a path without a host.
        model: what it serves.
        variables: the environment of commands about its stack.
        rehearsed: whether it is in a rehearsed cloud.
    """

    name: str
    url: str
    model: str
    variables: Mapping[str, str]
    rehearsed: bool

    @contextmanager
    def open(self) -> Iterator[Deployment]:
        """Gives its address with an access token.

        Raises:
            AskError: it is reached from a network alone.
        """
        address, number = urlsplit(self.url), self.name.rpartition("/")[2]
        if not address.netloc and not self.rehearsed:
            raise AskError(
                f"{self.name} is reached from its networks alone, by Private Service Connect: ask it there "
                f"with POST {self.url}"
            )
        renew = partial(access_token, self.variables)
        real = f"{address.scheme}://{address.netloc}"
        instead = self.variables[OVERRIDE].rstrip("/") if self.rehearsed else ""
        yield Deployment(
            instead or real,
            renew(),
            renew,
            self.rehearsed,
            api="vertex",
            model=self.model,
            place=f"endpoint {number} of Vertex AI",
            path=address.path,
            host=(address.netloc or f"endpoint-{number}.internal") if instead else "",
            seconds=ANSWER_SECONDS,
        )


def access_token(environment: Mapping[str, str]) -> str | None:
    """An access token of the default credentials, else of gcloud, else None.

    https://cloud.google.com/docs/authentication/token-types#access

    Args:
        environment: says where the default credentials are.
    """
    path = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    if path and Path(path).is_file():
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = path
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
        credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    except google.auth.exceptions.GoogleAuthError:
        return _gcloud_token()
    token: str | None = credentials.token
    return token


def _gcloud_token() -> str | None:
    command = ["gcloud", "auth", "print-access-token"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
