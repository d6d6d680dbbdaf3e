"""An API server on loopback that answers what a test says.

Paths, and the Status that a refusal is, follow https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import yaml

from rehearsal.cluster.state import ClusterState, write_state
from rehearsal.standins.kubernetes.provider import KubernetesStandin
from rehearsal.world import World
from tests.unit.standin_object import configured, kubeconfig
from tests.unit.standin_world import CLUSTER_NAME

Answer = tuple[int, Any]
"""A status of HTTP, and JSON or (a text) what is said as it is."""
APPS, BATCH, PODS = "/apis/apps/v1", "/apis/batch/v1", "/api/v1/namespaces/llm/pods"
SERVER, STAGE = f"{APPS}/namespaces/llm/deployments/server", f"{BATCH}/namespaces/llm/jobs/stage"
NOWHERE: Answer = (404, "404 page not found\n")
"""What an API server says of a path that it does not serve."""


def refused(code: int, message: str) -> Answer:
    """A refusal as an API server words it."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return code, status


def kinds(**plurals: str) -> Answer:
    """The list of what a group serves.

    Args:
        plurals: by kind.
    """
    resources = [{"name": plural, "kind": kind} for kind, plural in plurals.items()]
    return 200, {"kind": "APIResourceList", "resources": resources}


class ScriptedCluster:
    """What is answered, and what was asked.

    Args:
        host: `127.0.0.1:PORT`.
        kubeconfig: where an administrator's is.
    """

    def __init__(self, host: str, kubeconfig: Path) -> None:
        self.host = host
        self.kubeconfig = kubeconfig
        self.asked: list[str] = []
        """Every request: `GET /PATH?QUERY`."""
        self.short = 0
        """How many bytes of an answer are kept back when the connection breaks."""
        self._answers: dict[str, list[Answer]] = {}
        self.say("GET", APPS, kinds(Deployment="deployments"))
        self.say("GET", BATCH, kinds(Job="jobs"))
        self.say("GET", PODS, (200, {"items": []}))

    def say(self, method: str, path: str, *answers: Answer) -> None:
        """Answer requests for a path, one after another; the last answer stays."""
        self._answers[f"{method} {path}"] = list(answers)

    def answer(self, method: str, target: str) -> Answer:
        """Status and body for a request."""
        self.asked.append(f"{method} {target}")
        answers = self._answers.get(f"{method} {urlsplit(target).path}", [NOWHERE])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def methods(self) -> list[str]:
        """How the cluster was asked, without the lists of what it serves."""
        return [each.partition(" ")[0] for each in self.asked if each not in (f"GET {APPS}", f"GET {BATCH}")]


@contextmanager
def scripted_cluster(folder: Path) -> Iterator[ScriptedCluster]:
    """Runs an API server.

    Args:
        folder: for its kubeconfig.
    """

    class Handler(BaseHTTPRequestHandler):
        def _answered(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = cluster.answer(self.command, self.path)
            said = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said[: len(said) - cluster.short])

        do_GET = do_PATCH = do_DELETE = _answered  # noqa: N815 - names that http.server asks for

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = f"127.0.0.1:{server.server_port}"
    cluster = ScriptedCluster(host, kubeconfig_file(folder, host))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kubeconfig_file(folder: Path, host: str) -> Path:
    """Writes a kubeconfig without credentials; gives its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": f"http://{host}"}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    path = folder / "admin.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def standin_of(world: World, cluster: ScriptedCluster) -> KubernetesStandin:
    """The stand-in for a program whose kubeconfig leads to a running cluster."""
    me = psutil.Process()
    name = CLUSTER_NAME.partition("/")[2]
    endpoint, path = f"https://{cluster.host}", str(cluster.kubeconfig)
    write_state(world.folder, ClusterState(name, endpoint, "", path, me.pid, me.create_time()))
    return configured(world, {"kubeconfig": kubeconfig(cluster.host)})
