"""What runs weights jobs of a cluster whose control plane is not installed, and does nothing else.

It answers the few requests about Jobs that our own provider makes, by the same addresses and with the same
credentials. There is no scheduler, and a job is tried once; pods run as on a rehearsed node.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rehearsal.cloud.tokens import Tokens
from rehearsal.cluster.certificates import Authority
from rehearsal.cluster.pod_run import PodRun, Site
from rehearsal.cluster.pod_status import now
from rehearsal.world import DEPLOYER

Body = Mapping[str, Any]
_JOBS = re.compile(r"/apis/batch/v1/namespaces/(?P<namespace>[^/]+)/jobs(?:/(?P<name>[^/]+))?")
_LISTS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/(?P<kind>pods|events)")
_OWNER = "batch.kubernetes.io/controller-uid"
_NOT_HERE = "no control plane is installed: run `make kube-tools`"


class Jobs:
    """The jobs of a cluster, each with its one pod.

    Args:
        site: where pods run.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._jobs: dict[tuple[str, str], Body] = {}
        self._pods: dict[str, Body] = {}
        self._runs: dict[str, PodRun] = {}
        self._lock = threading.RLock()

    def get(self, namespace: str, name: str) -> Body | None:
        """A job; None where there is none."""
        with self._lock:
            return self._jobs.get((namespace, name))

    def create(self, namespace: str, job: Body) -> Body | None:
        """Make a job and start its pod; None where there is one of that name."""
        name, uid = job["metadata"]["name"], str(uuid.uuid4())
        template = job["spec"]["template"]
        labels = {**template["metadata"].get("labels", {}), _OWNER: uid}
        meta = {"namespace": namespace, "uid": uid, "creationTimestamp": now()}
        pod = {"metadata": {**meta, "name": f"{name}-0", "labels": labels}, "spec": template["spec"]}
        with self._lock:
            if (namespace, name) in self._jobs:
                return None
            self._jobs[namespace, name] = {**job, "metadata": {**job["metadata"], **meta}, "status": {}}
            self._pods[uid] = pod
            self._runs[uid] = PodRun(self, self._site, pod)
        self._runs[uid].start()
        return self.get(namespace, name)

    def delete(self, namespace: str, name: str) -> bool:
        """Remove a job with its pod; False where there is none."""
        with self._lock:
            job = self._jobs.pop((namespace, name), None)
            run = self._runs.pop(job["metadata"]["uid"], None) if job else None
        if job is None:
            return False
        if run is not None:
            run.kill()
        with self._lock:
            self._pods.pop(job["metadata"]["uid"], None)
        return True

    def pods(self, uid: str) -> list[Body]:
        """The pod of a job."""
        with self._lock:
            return [self._pods[uid]] if uid in self._pods else []

    def stop(self) -> None:
        """End every pod."""
        for namespace, name in list(self._jobs):
            self.delete(namespace, name)

    # What a pod's run tells, and asks ----------------------------------------------------------------

    def report(self, pod: Body, status: Body) -> None:
        """Write a pod's status, and with its end that of its job."""
        ends = {"Succeeded": "Complete", "Failed": "Failed"}
        condition = {"type": ends.get(status["phase"]), "status": "True", "reason": "BackoffLimitExceeded"}
        with self._lock:
            uid = pod["metadata"]["uid"]
            self._pods[uid] = {**pod, "status": status}
            for key, job in self._jobs.items():
                if job["metadata"]["uid"] == uid and condition["type"]:
                    self._jobs[key] = {**job, "status": {"conditions": [condition]}}

    def remove(self, pod: Body) -> None:
        """Forget a pod."""
        with self._lock:
            self._pods.pop(pod["metadata"]["uid"], None)

    def secret(self, namespace: str, name: str) -> Body | None:
        """A Secret, as the Kubernetes stand-in keeps it; None where there is none."""
        return self._object(namespace, f"Secret/{name}")

    def service_account(self, namespace: str, name: str) -> Body | None:
        """A service account, likewise."""
        return self._object(namespace, f"ServiceAccount/{name}")

    def _object(self, namespace: str, path: str) -> Body | None:
        root = f"container.googleapis.com/{self._site.cluster}/k8s"
        record = self._site.world.get(f"{root}/namespaces/{namespace}/{path}")
        return None if record is None else record.body


class JobsFace:
    """Answers on loopback, with a certificate of the cluster's own authority.

    Args:
        site: where pods run.
        folder: an empty folder for certificates.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        self.authority = Authority(folder)
        self._jobs = Jobs(site)
        members = {"jobs": self._jobs, "tokens": Tokens(site.world.folder)}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), members))
        pair = self.authority.certify("jobs", "jobs")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """`https://127.0.0.1:PORT`."""
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Answer no more and end every pod."""
        self._server.shutdown()
        self._server.server_close()
        self._jobs.stop()


class _Handler(BaseHTTPRequestHandler):
    jobs: Jobs
    tokens: Tokens

    def parse_request(self) -> bool:
        """Take a request whose caller is known."""
        if not super().parse_request():
            return False
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        caller = self.tokens.caller(token)
        if caller is None or caller.member != DEPLOYER:
            self._refuse(401, "Unauthorized")
            return False
        return True

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        listed, found = _LISTS.fullmatch(split.path), _JOBS.fullmatch(split.path)
        if listed is not None:
            uid = parse_qs(split.query).get("labelSelector", [""])[0].partition("=")[2]
            self._answer(200, {"items": self.jobs.pods(uid) if listed["kind"] == "pods" else []})
        else:
            job = self.jobs.get(found["namespace"], found["name"] or "") if found else None
            self._answer(200, job) if job else self._refuse(404, "not found" if found else _NOT_HERE)

    def do_POST(self) -> None:
        found, body = _JOBS.fullmatch(urlsplit(self.path).path), self._body()
        if found is None or found["name"]:
            self._refuse(404, _NOT_HERE)
            return
        job = self.jobs.create(found["namespace"], body)
        self._answer(201, job) if job else self._refuse(409, "there is such a job")

    def do_DELETE(self) -> None:
        found = _JOBS.fullmatch(urlsplit(self.path).path)
        self._body()
        gone = found is not None and self.jobs.delete(found["namespace"], found["name"] or "")
        self._answer(200, {}) if gone else self._refuse(404, "not found")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a request holds a token."""

    def _body(self) -> Body:
        length = int(self.headers.get("content-length", "0"))
        body: Body = json.loads(self.rfile.read(length) or b"{}")
        return body

    def _refuse(self, code: int, message: str) -> None:
        self._answer(code, {"kind": "Status", "code": code, "message": message})

    def _answer(self, code: int, body: Body) -> None:
        raw = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
