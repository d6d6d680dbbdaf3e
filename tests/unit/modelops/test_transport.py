"""Requests whose answer is lost on the way: sent once, and told as what they are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from google.auth.credentials import AnonymousCredentials

from providers.base.errors import ProviderError
from providers.modelops.client import Google, TemporaryError
from providers.modelops.vertexai.api import VertexApi

PARENT = "projects/p/locations/us-central1"


@dataclass
class Deaf:
    """A server that reads each request and closes the connection after a given answer, whole or not."""

    answer: bytes = b""
    heard: list[str] = field(default_factory=list)

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                self.heard.append(connection.recv(65536).split()[0].decode())
                connection.sendall(self.answer)


@pytest.fixture
def server() -> Iterator[tuple[Deaf, VertexApi]]:
    deaf = Deaf()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=deaf.serve, args=[listening], daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        addresses = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": address}
        yield deaf, VertexApi(Google(threading.Event(), addresses, AnonymousCredentials()))
        listening.shutdown(socket.SHUT_RDWR)


def create(api: VertexApi) -> None:
    api.call("creating it", "customJobs.create", repeat=False, parent=PARENT, body={"displayName": "x"})


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"],
    ids=["no answer", "half an answer"],
)
def test_what_must_not_be_sent_twice_is_sent_once_though_no_answer_comes(
    server: tuple[Deaf, VertexApi], answer: bytes
) -> None:
    deaf, api = server
    deaf.answer = answer
    with pytest.raises(TemporaryError, match="creating it: cannot reach Google"):
        create(api)
    assert deaf.heard == ["POST"]


def test_a_quota_that_is_too_small_is_no_reason_to_wait(server: tuple[Deaf, VertexApi]) -> None:
    deaf, api = server
    said = "The following quota metrics exceed quota limits: custom_model_training_cpus"
    body = b'{"error": {"code": 429, "message": "%s"}}' % said.encode()
    deaf.answer = (
        b"HTTP/1.1 429 Too Many\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    deaf.answer += body
    with pytest.raises(ProviderError, match=rf"creating it: {said}; ask for more of it") as caught:
        api.attempts(lambda: create(api))
    assert not isinstance(caught.value, TemporaryError)
    assert deaf.heard == ["POST"]
