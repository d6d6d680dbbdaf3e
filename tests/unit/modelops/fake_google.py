"""A loopback server that speaks as much of Cloud Run v2 and Cloud Storage as a staged model needs.

An execution runs one step each time it is looked at: tests decide its course, and none waits for a clock.
"""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

JOB = "projects/p/locations/l/jobs/weights"
LABEL = "0123456789abcdef"
TARGET = "gs://models/models/google--t5/abc/safetensors-float32"
PREFIX = "models/google--t5/abc/safetensors-float32/"
SOURCE = {"repository": "google/t5", "revision": "abc", "format": "safetensors", "dtype": "float32"}


def manifest_of(files, **changes):
    """A manifest's bytes for files given as name → content."""
    listed = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
    ]
    facts = {"version": 1, "tool": "weights/1.0.0", "created": "2026-01-01T00:00:00Z", "files": listed}
    return json.dumps({**SOURCE, **facts, **changes}).encode()


class FakeGoogle:
    """The state behind the server, and a record of the requests."""

    def __init__(self):
        self.buckets = {"models": {}}
        self.jobs = {JOB: self.job(JOB)}
        self.executions = {}
        self.tasks = {}
        self.requests = []
        self.faults = {}
        """Answers instead of the real ones: (method, path's end) → list of statuses, used up in order."""
        self.steps = 2
        """How often a new execution is seen running before it ends."""
        self.outcome = "stage"
        self.lock = threading.RLock()

    @staticmethod
    def job(name, label=LABEL):
        args = ["stage", "--repo", SOURCE["repository"], "--revision", SOURCE["revision"]]
        args += ["--target", TARGET, "--format", SOURCE["format"], "--dtype", SOURCE["dtype"]]
        return {
            "name": name,
            "template": {"labels": {"llm-target": label}, "template": {"containers": [{"args": args}]}},
        }

    def stage(self):
        files = {"model.safetensors": b"weights", "config.json": b"{}"}
        for name, data in files.items():
            self.buckets["models"][PREFIX + name] = data
        self.buckets["models"][PREFIX + "manifest.json"] = manifest_of(files)

    def begin(self, job):
        number = len(self.executions) + 1
        name = f"{job}/executions/weights-{number}"
        self.executions[name] = {
            "name": name,
            "labels": dict(self.jobs[job]["template"]["labels"]),
            "createTime": f"2026-01-01T00:00:{number:02d}Z",
            "taskCount": 1,
            "logUri": "https://console/logs",
            "conditions": [
                {"type": "Completed", "state": "CONDITION_RECONCILING", "message": "1 task running"}
            ],
        }
        self.executions[name]["steps"] = self.steps
        return self.executions[name]

    def look(self, name):
        execution = self.executions[name]
        if "completionTime" not in execution:
            execution["steps"] -= 1
            if execution["steps"] <= 0:
                self.end(execution)
        return execution

    def end(self, execution, state=None):
        if self.outcome == "stage" and state is None:
            self.stage()
            state, message = "CONDITION_SUCCEEDED", ""
        elif self.outcome == "nothing" and state is None:
            state, message = "CONDITION_SUCCEEDED", ""
        else:
            message = "Task weights-0 failed with message: The container exited with an error."
            self.tasks[execution["name"]] = [{"lastAttemptResult": {"exitCode": self.outcome}}]
            state = "CONDITION_FAILED"
        execution["completionTime"] = "2026-01-01T00:01:00Z"
        execution["conditions"] = [{"type": "Completed", "state": state, "message": message}]

    def count(self, method, ending):
        return sum(1 for m, path in self.requests if m == method and path.endswith(ending))

    def answer(self, method, path, query, body=None):
        """Status and body of one request."""
        self.requests.append((method, path))
        for (wanted, ending), statuses in self.faults.items():
            if wanted == method and path.endswith(ending) and statuses:
                status = statuses.pop(0)
                if status == "lost":  # It happened, but the answer did not arrive.
                    self.run_api(method, path, body)
                    status = 503
                return status, {"error": {"code": status, "message": "injected"}}
        return (
            self.storage_api(method, path, query)
            if path.startswith("/storage/")
            else self.run_api(method, path, body)
        )

    def run_api(self, method, path, body=None):
        name = path.removeprefix("/v2/")
        if method == "POST" and name.endswith(":run"):
            job = name.removesuffix(":run")
            return (
                (200, {"name": "operations/1", "metadata": self.begin(job)})
                if job in self.jobs
                else missing()
            )
        if method == "POST" and name.endswith(":cancel"):
            self.end(self.executions[name.removesuffix(":cancel")], "CONDITION_FAILED")
            return 200, {"name": "operations/2"}
        if name.endswith("/tasks"):
            return 200, {"tasks": self.tasks.get(name.removesuffix("/tasks"), [])}
        if name.endswith("/executions"):
            if name.removesuffix("/executions") not in self.jobs:
                return missing()
            return 200, {"executions": list(self.executions.values())}
        if name.endswith("/jobs"):
            return 200, {"jobs": list(self.jobs.values())}
        if name in self.executions:
            return 200, self.look(name)
        return (200, self.jobs[name]) if name in self.jobs else missing()

    def storage_api(self, method, path, query):
        bucket, name = re.fullmatch(r"/storage/v1/b/([^/]+)/o(?:/(.+))?", path).groups()
        if bucket not in self.buckets:
            return missing("The specified bucket does not exist.")
        objects = self.buckets[bucket]
        if name is None:
            # Two to a page, so that readers must follow the pages.
            names = sorted(n for n in objects if n.startswith(query["prefix"][0]))
            first = int(query.get("pageToken", ["0"])[0])
            page = {"items": [{"name": n, "size": str(len(objects[n]))} for n in names[first : first + 2]]}
            return 200, page | ({"nextPageToken": str(first + 2)} if len(names) > first + 2 else {})
        name = unquote(name)
        if name not in objects:
            return missing("No such object")
        if method == "DELETE":
            del objects[name]
            return 204, None
        return 200, objects[name]


def missing(message="not found"):
    return 404, {"error": {"code": 404, "message": message}}


class Handler(BaseHTTPRequestHandler):
    def handle_any(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        with self.server.google.lock:
            status, body = self.server.google.answer(
                self.command, parts.path, parse_qs(parts.query), json.loads(sent) if sent else None
            )
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *_):
        """Says nothing: test output is for tests."""


@contextmanager
def serving(google):
    """Serves the state on a free loopback port and gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.google = google
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
