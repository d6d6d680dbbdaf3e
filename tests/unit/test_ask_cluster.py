"""Asking a deployment in a cluster: which pod, through what, in which words; with a scripted API server."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from llmstack.main import app
from rehearsal.cluster.port_forward import PortForwardHandler, PortForwards
from tests.unit.scripted_engines import MODEL, Engine, running
from tests.unit.tpu_project import make_project

SELECTOR = {"app.kubernetes.io/instance": "llama", "app.kubernetes.io/name": "server"}
SERVICE = {"kind": "Service", "spec": {"selector": SELECTOR}}


def pod(name: str, *, ready: bool = True, phase: str = "Running", **more: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}, *more.pop("conditions", [])]
    return {"metadata": {"name": name}, "status": {"phase": phase, "conditions": conditions, **more}}


@dataclass
class Api:
    """What the API server knows.

    Args:
        pods: the deployment's.
        service: the deployment's; None where there is none.
        refusal: status of every answer in place of these; 0 for none.
        forwards: what was forwarded: namespace, pod, port.
        asked: paths that were asked for, with their queries.
        page: what it answers to every request that is no port-forward, in place of the API's JSON.
        callers: the connections of port-forwards.
    """

    pods: list[dict[str, Any]] = field(default_factory=lambda: [pod("server-b"), pod("server-a")])
    service: dict[str, Any] | None = field(default_factory=lambda: SERVICE)
    refusal: int = 0
    forwards: list[tuple[str, str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    page: str = ""
    callers: list[socket.socket] = field(default_factory=list)

    def hang_up(self) -> None:
        """Breaks every port-forward off, as a control plane that is restarted does."""
        for each in self.callers:
            # Some have ended by themselves.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Breaking(tuple[str, ...]):
    """Pieces of an answer, after the first of which something happens."""

    happens: Callable[[], None]

    def __iter__(self) -> Iterator[str]:
        first, *others = super().__iter__()
        yield first
        self.happens()
        yield from others


@pytest.fixture
def engine() -> Iterator[Engine]:
    """What runs in the pods."""
    with running(Engine()) as found:
        yield found


@pytest.fixture
def api() -> Api:
    """A cluster in which two pods are ready."""
    return Api()


@pytest.fixture
def server(api: Api, engine: Engine) -> Iterator[PortForwards]:
    """The API server."""

    def reach(namespace: str, name: str, port: int) -> socket.socket:
        api.forwards.append((namespace, name, port))
        return socket.create_connection(("127.0.0.1", engine.port))

    class Handler(PortForwardHandler):
        def do_GET(self) -> None:  # noqa: N802 - the library's name
            api.asked.append(self.path)
            if api.refusal:
                self._answer(api.refusal, {"message": "no, says the API server"})
            elif self.path.split("?")[0].endswith("/portforward"):
                api.callers.append(self.connection)
                super().do_GET()
            elif api.page:
                self._reply(200, api.page.encode())
            elif "/pods" in self.path:
                self._answer(200, {"items": api.pods})
            elif api.service is None:
                self._answer(404, {"message": 'services "server" not found'})
            else:
                self._answer(200, api.service)

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            self._reply(status, json.dumps(body).encode())

        def _reply(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    started = PortForwards(reach, handler=Handler)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PortForwards) -> Path:
    """The working directory: a checkout whose deployment `llama` is up in the cluster."""
    return enter(tmp_path, monkeypatch, f"http://127.0.0.1:{server.port}")


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch, address: str, engine: str = "jetstream") -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "mine"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    outputs = {"urls": {}, "models": {"llama": MODEL}, "cluster": {"kubeconfig": str(kubeconfig)}}
    made = make_project(folder / engine, outputs, engine)
    monkeypatch.chdir(made)
    monkeypatch.setenv("PATH", f"{made / '.engine/bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("LLMSTACK_REHEARSAL", raising=False)
    return made


def run(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done


def ask(*words: str, status: int = 0) -> Result:
    return run("ask", "dev", "llama", *words, status=status)


@pytest.mark.usefixtures("project")
def test_a_ready_pod_of_the_service_answers_through_the_api_server(api: Api, engine: Engine) -> None:
    done = ask("Hi", "--max-new-tokens", "7")
    assert done.stdout == "Hello, world\n"
    assert "nothing is shown before the last word" in done.stderr
    assert api.forwards == [("dev-llama", "server-a", 8000)]
    assert engine.bodies == [("/generate", {"prompt": "Hi", "max_tokens": 7})]
    (listed,) = [each for each in api.asked if each.startswith("/api/v1/namespaces/dev-llama/pods?")]
    assert "app.kubernetes.io/instance=llama,app.kubernetes.io/name=server" in unquote(listed)


@pytest.mark.usefixtures("project")
def test_texts_of_any_size_pass_unchanged_in_both_directions(engine: Engine) -> None:
    prompt, answer = "".join(f"{number} é " for number in range(40_000)), "ü€ " * 200_000
    engine.pieces = (answer,)
    assert ask(prompt).stdout == f"{answer}\n"
    assert engine.bodies[0][1]["prompt"] == prompt


@pytest.mark.usefixtures("project")
def test_what_jetstream_does_not_say_is_not_made_up() -> None:
    document = json.loads(ask("Hi", "--json").stdout)
    assert (document["model"], document["generated_text"]) == (MODEL, "Hello, world")
    assert document["usage"] == {"prompt_tokens": None, "generated_tokens": None}
    assert "its server counts no tokens" in ask("Hi", "--stats").stderr


@pytest.mark.usefixtures("project")
def test_what_jetstream_cannot_do_is_refused_and_not_ignored(engine: Engine) -> None:
    done = ask("Hi", "--temperature", "0.5", "--stop", "a", status=1)
    assert "takes a prompt and --max-new-tokens alone: leave out temperature, stop" in done.stderr
    assert engine.bodies == []
    engine.failure = "the orchestrator is gone"
    assert ask("Hi", "--temperature", "0", status=1).stderr.endswith("500: the orchestrator is gone\n")


@pytest.mark.parametrize("template", [True, False])
def test_vllm_streams_and_a_model_without_a_chat_template_gets_the_prompt_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PortForwards, engine: Engine, template: bool
) -> None:
    enter(tmp_path, monkeypatch, f"http://127.0.0.1:{server.port}", "vllm-tpu")
    engine.template = template
    done = ask("Hi", "--stats", "--max-new-tokens", "3")
    assert done.stdout == "Hello, world\n"
    assert done.stderr.startswith(f"{MODEL}: 2 tokens in, 3 out in ")
    path, body = engine.bodies[-1]
    if template:
        assert (path, body["messages"]) == ("/v1/chat/completions", [{"role": "user", "content": "Hi"}])
        assert body["max_completion_tokens"] == 3
    else:
        assert (path, body["prompt"], body["max_tokens"]) == ("/v1/completions", "Hi", 3)


@pytest.mark.usefixtures("project")
def test_without_a_ready_pod_the_scheduler_s_own_words_are_told(api: Api) -> None:
    said = "0/1 nodes are available: 1 Insufficient google.com/tpu."
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    api.pods = [
        pod("server-a", ready=False, phase="Pending", conditions=[unscheduled]),
        pod("server-b", ready=False),
    ]
    stderr = ask("Hi", status=1).stderr
    assert (
        f"no pod of llama is ready: server-a is Pending (Unschedulable: {said}); server-b is Running"
        in stderr
    )
    assert "it loads the model, which takes about " in stderr
    api.pods = [{**pod("server-a"), "metadata": {"name": "server-a", "deletionTimestamp": "now"}}]
    assert "there is none in namespace dev-llama" in ask("Hi", status=1).stderr
    api.service = None
    assert "has no service server in namespace dev-llama: run pulumi up" in ask("Hi", status=1).stderr


@pytest.mark.usefixtures("project")
def test_who_may_not_ask_is_told_the_role(api: Api) -> None:
    api.refusal = 403
    stderr = ask("Hi", status=1).stderr
    assert (
        "refused (403); you need roles/container.developer on the project, or a Role in namespace" in stderr
    )
    assert "pods/portforward. It says: no, says the API server" in stderr


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    enter(tmp_path, monkeypatch, address)
    stderr = ask("Hi", status=1).stderr
    assert stderr.startswith("looking for the pods of llama: cannot reach kubeconfig ")
    assert stderr.count("\n") == 1


def test_what_breaks_behind_the_api_server_is_told_in_its_words(
    engine: Engine, api: Api, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = socket.create_server(("127.0.0.1", 0))
    engine.port = gone.getsockname()[1]
    gone.close()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{engine.port}")
    stderr = ask("Hi", status=1).stderr
    expected = (
        "reaching port 8000 of pod server-a: error forwarding port 8000 to pod server-a: Connection refused"
    )
    assert expected in stderr


@pytest.mark.parametrize("kind", ["jetstream", "vllm-tpu"])
def test_a_way_that_breaks_off_in_the_middle_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PortForwards, api: Api, engine: Engine, kind: str
) -> None:
    enter(tmp_path, monkeypatch, f"http://127.0.0.1:{server.port}", kind)
    engine.pieces = Breaking(("Hello", "world" * 100_000))
    engine.pieces.happens = api.hang_up
    stderr = ask("Hi", status=1).stderr
    assert "reaching port 8000 of pod server-a: the connection broke off" in stderr
    assert stderr.rstrip().rpartition("\n")[2].startswith("llama of stack dev does not answer: ")


@pytest.mark.usefixtures("project")
def test_a_load_test_tells_why_the_way_broke_off(api: Api, engine: Engine) -> None:
    quick = ["--requests", "2", "--warm-up", "0", "--concurrency", "1", "--yes", "--no-plot"]
    answers = iter(("fine",))

    def from_the_second_on() -> None:
        if next(answers, None) is None:
            api.hang_up()

    engine.pieces = Breaking(("Hello", "world"))
    engine.pieces.happens = from_the_second_on
    done = run("load-test", "dev", "llama", *quick, status=1)
    assert "× disconnect: reaching port 8000 of pod server-a: the connection broke off" in done.stderr


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("page", ["<html>Sign in</html>", "[]", "{}"])
def test_what_is_no_api_server_is_told_in_one_line(api: Api, page: str) -> None:
    api.page = page
    stderr = ask("Hi", status=1).stderr
    assert stderr.startswith("what answers at kubeconfig ")
    assert stderr.endswith(" is not a Kubernetes API server\n")


@pytest.mark.usefixtures("project")
def test_a_deployment_that_is_not_up_is_named_with_those_that_are() -> None:
    done = run("ask", "dev", "other", "Hi", status=1)
    assert "has no deployment 'other' that is up (up: llama): run pulumi up" in done.stderr


@pytest.mark.parametrize(("kind", "tokens"), [("jetstream", None), ("vllm-tpu", 3)])
def test_a_load_test_goes_the_same_way(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: PortForwards,
    api: Api,
    kind: str,
    tokens: int | None,
) -> None:
    project = enter(tmp_path, monkeypatch, f"http://127.0.0.1:{server.port}", kind)
    quick = ["--requests", "4", "--warm-up", "0", "--concurrency", "2", "--yes", "--json", "figures.json"]
    done = run("load-test", "dev", "llama", *quick)
    assert "llama of stack dev at pod server-a of namespace dev-llama: 4 requests" in done.stderr
    figures = json.loads((project / "figures.json").read_text())
    (step,) = figures["steps"]
    assert (figures["model"], step["answered"], step["errors"]) == (MODEL, 4, {})
    assert (step["tokens_per_second"] is None) == (tokens is None)
    assert len(api.forwards) >= 2
    streamed = ["load-test", "dev", "llama", *quick, "--stream", "--no-plot"]
    if tokens is None:
        assert "sends whole answers only" in run(*streamed, status=2).stderr
    else:
        run(*streamed)
        (step,) = json.loads((project / "figures.json").read_text())["steps"]
        assert step["answered"] == 4
        assert step["first_token"] is not None
