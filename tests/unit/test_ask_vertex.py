"""Asking and measuring a deployment behind an endpoint of Vertex AI, with a scripted endpoint."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from llmstack.client_vertex import OVERRIDE, VertexTarget
from llmstack.main import app
from stacks.plan.vertex.facts import serving_facts
from tests.unit.vertex_stacks import stack

NAME = "projects/acme-ml-dev/locations/europe-west4/endpoints/12345"
PATH = f"/v1/{NAME}:predict"
MODEL = "gpt2"


@dataclass
class Endpoint:
    """What the endpoint answers, and what it was asked."""

    url: str = ""
    status: int = 200
    answer: Any = field(default_factory=lambda: {"predictions": ["Hello, world"], "deployedModelId": "1"})
    busy: int = 0
    """How many more requests are answered 503."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint on loopback."""
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.hosts.append(self.headers["Host"])
            state.asked.append((self.path, self.headers.get("Authorization", ""), body))
            status, answer = state.status, state.answer
            if state.busy:
                state.busy -= 1
                status, answer = 503, {"error": {"code": 503, "message": "no replica is ready"}}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> Path:
    """The working directory: a checkout whose deployment `chat` is up at Vertex AI."""
    root = tmp_path / "project"
    commands = root / ".engine/bin"
    commands.mkdir(parents=True)
    (root / "stacks").mkdir()
    (root / "Pulumi.yaml").write_text("name: llm\nruntime: python\n")
    (root / "Pulumi.dev.yaml").write_text(json.dumps({"config": stack()}))
    outputs = {
        "urls": {},
        "models": {"chat": MODEL, "hidden": MODEL},
        "endpoints": {
            "chat": {"name": NAME, "url": f"{endpoint.url}{PATH}"},
            "hidden": {"name": NAME, "url": PATH},
        },
    }
    script(commands / "pulumi", f"cat <<'END'\n{json.dumps(outputs)}\nEND")
    script(commands / "gcloud", '[ "$2" = print-access-token ] && echo an-access-token')
    monkeypatch.chdir(root)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    # The library reads NO_GCE_CHECK when it is imported, for every test that follows.
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)
    # The API's address, which for a real stack is not where its endpoint answers.
    monkeypatch.setenv(OVERRIDE, "http://127.0.0.1:9/")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "LLMSTACK_REHEARSAL", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return root


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done


def ask(*words: str, status: int = 0) -> Result:
    return run("ask", "dev", "chat", *words, status=status)


@pytest.mark.usefixtures("project")
def test_an_endpoint_is_asked_in_its_own_form_with_an_access_token(endpoint: Endpoint) -> None:
    options = ("--max-new-tokens", "7", "--temperature", "0.5", "--seed", "3")
    assert ask("Hi", *options).stdout == "Hello, world\n"
    ((path, token, body),) = endpoint.asked
    assert (path, token) == (PATH, "Bearer an-access-token")
    assert body == {
        "instances": [{"prompt": "Hi"}],
        "parameters": {"max_new_tokens": 7, "temperature": 0.5, "seed": 3},
    }


@pytest.mark.usefixtures("project")
def test_greedy_is_what_is_asked_for_by_saying_nothing(endpoint: Endpoint) -> None:
    ask("Hi", "--temperature", "0")
    assert endpoint.asked[0][2] == {"instances": [{"prompt": "Hi"}], "parameters": {}}


@pytest.mark.usefixtures("project")
def test_what_an_endpoint_does_not_say_is_not_made_up() -> None:
    document = json.loads(ask("Hi", "--json").stdout)
    assert (document["model"], document["generated_text"]) == (MODEL, "Hello, world")
    assert document["usage"] == {"prompt_tokens": None, "generated_tokens": None}


@pytest.mark.usefixtures("project")
def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint) -> None:
    endpoint.busy = 1
    done = ask("Hi")
    assert done.stdout == "Hello, world\n"
    assert "503: no replica is ready; trying again" in done.stderr
    assert len(endpoint.asked) == 2


@pytest.mark.usefixtures("project")
def test_a_refusal_names_the_role_and_how_to_get_it(endpoint: Endpoint) -> None:
    endpoint.status, endpoint.answer = 403, {"error": {"message": "denied"}}
    said = ask("Hi", status=1).stderr
    assert "run gcloud auth application-default login" in said
    assert "your account needs aiplatform.endpoints.predict on the endpoint" in said
    assert "access.invokers" in said


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("answer", [{"predictions": []}, {"predictions": None}, {"answers": ["a"]}])
def test_an_answer_that_is_no_prediction_is_told_as_such(endpoint: Endpoint, answer: Any) -> None:
    endpoint.answer = answer
    assert "what answers is not the deployment's server" in ask("Hi", status=1).stderr


@pytest.mark.usefixtures("project")
def test_a_private_endpoint_says_from_where_it_is_asked(endpoint: Endpoint) -> None:
    said = run("ask", "dev", "hidden", "Hi", status=1).stderr
    assert "is reached from its networks alone, by Private Service Connect" in said
    assert endpoint.asked == []


def test_a_real_endpoint_is_asked_at_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmstack.client_vertex.access_token", lambda _: "t")
    with VertexTarget(NAME, f"https://12345.example{PATH}", MODEL, {}, rehearsed=False).open() as called:
        assert (called.url, called.path) == ("https://12345.example", PATH)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (f"https://12345.europe-west4-1.prediction.vertexai.goog{PATH}", "12345.europe-west4-1.prediction"),
        (f"https://europe-west4-aiplatform.googleapis.com{PATH}", "europe-west4-aiplatform.googleapis.com"),
        (PATH, "endpoint-12345.internal"),
    ],
    ids=["dedicated", "public", "private"],
)
def test_a_rehearsed_cloud_is_told_at_which_address_an_endpoint_is_asked(
    url: str, host: str, project: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {OVERRIDE: f"{endpoint.url}/"}
    target = VertexTarget(NAME, url, MODEL, variables, rehearsed=True)
    monkeypatch.setattr("llmstack.commands.ask.find_target", lambda *_: target)
    monkeypatch.setattr("llmstack.commands.load_test.find_target", lambda *_: target)
    assert ask("Hi").stdout == "Hello, world\n"
    run("load-test", "dev", "chat", "--requests", "1", "--warm-up", "0", "--concurrency", "1", "--no-plot")
    assert len(endpoint.hosts) == 3
    assert all(each.startswith(host) for each in endpoint.hosts)
    assert {path for path, _, _ in endpoint.asked} == {PATH}


def test_an_answer_is_waited_for_as_long_as_an_endpoint_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmstack.client_vertex.access_token", lambda _: "t")
    longest = max(each.request_seconds.value for each in serving_facts().endpoints.values())
    with VertexTarget(NAME, f"https://12345.example{PATH}", MODEL, {}, rehearsed=False).open() as called:
        waited = called.client().timeout.read
    assert waited is not None
    assert waited > longest


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("answer", [{"predictions": []}, {"predictions": None}, {"answers": ["a"]}])
def test_an_answer_that_is_no_prediction_ends_a_measurement(endpoint: Endpoint, answer: Any) -> None:
    endpoint.answer = answer
    said = run("load-test", "dev", "chat", "--requests", "1", "--no-plot", "--yes", status=1).stderr
    assert "what answers is not the deployment's server" in said


def test_an_endpoint_is_measured(project: Path, endpoint: Endpoint) -> None:
    quick = ("--requests", "3", "--warm-up", "0", "--concurrency", "2", "--no-plot", "--yes")
    done = run("load-test", "dev", "chat", *quick, "--json", "figures.json")
    figures = json.loads((project / "figures.json").read_text())
    assert "endpoint 12345 of Vertex AI" in done.stderr
    assert figures["steps"][0]["answered"] == 3
    assert {path for path, _, _ in endpoint.asked} == {PATH}
    said = run("load-test", "dev", "chat", *quick, "--stream", status=2).stderr
    assert "sends whole answers only" in said
