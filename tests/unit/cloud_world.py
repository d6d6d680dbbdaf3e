"""A world with a tiny image in it, for tests that run the cloud process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rehearsal.cloud.client import CloudClient, ensure_running
from rehearsal.driver_processes import stop_all
from rehearsal.world import World

PROJECT, REGION = "acme-test", "us-central1"
LOCATION = f"projects/{PROJECT}/locations/{REGION}"
RUN = f"run.googleapis.com/{LOCATION}"
SERVICE, JOB = f"{RUN}/services/echo", f"{RUN}/jobs/stage"
ACCOUNT = f"runner@{PROJECT}.iam.gserviceaccount.com"
STRANGER = f"stranger@{PROJECT}.iam.gserviceaccount.com"
BUCKET = "acme-models"
BUCKET_NAME = f"storage.googleapis.com/buckets/{BUCKET}"
DIGEST = "sha256:" + "ab" * 32
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/containers/fake@{DIGEST}"

PROGRAM = """
import http.server, json, os, signal, sys, time

def job(words):
    print("args", *words, flush=True)
    if words[0] == "sleep":
        time.sleep(float(words[1]))
    if words[0] == "flaky":
        return 0 if int(os.environ["CLOUD_RUN_TASK_ATTEMPT"]) >= int(words[1]) else 7
    return int(words[1]) if words[0] == "exit" else 0

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/crash":
            os._exit(3)
        if self.path == "/slow":
            time.sleep(5)
        if self.path == "/events":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"data: one\\n\\n")
            self.wfile.flush()
            time.sleep(1.5)
            self.wfile.write(b"data: two\\n\\n")
            return
        wanted = [part for part in os.environ if part != "PATH"]
        body = json.dumps({"pid": os.getpid(), "env": {k: os.environ[k] for k in wanted}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *rest):
        pass

signal.signal(signal.SIGTERM, lambda *rest: sys.exit(0))
if len(sys.argv) > 1:
    sys.exit(job(sys.argv[1:]))
once = os.environ.get("ONCE", "")
if once and os.path.exists(once):
    open(once + ".again", "w").close()
    time.sleep(3600)
if once:
    open(once, "w").close()
if os.environ.get("MODE") == "broken":
    print("the model is missing", flush=True)
    sys.exit(9)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def make_world(folder: Path) -> World:
    """A project with an image, an account that may read the bucket, and one that may do nothing."""
    folder.mkdir(parents=True)
    world = World(folder)
    number = world.ensure_project(PROJECT).body["number"]
    for email in (ACCOUNT, STRANGER):
        name = f"iam.googleapis.com/projects/{PROJECT}/serviceAccounts/{email}"
        world.insert("iam.serviceAccount", name, {"email": email})
    world.insert("storage.bucket", BUCKET_NAME, {"name": BUCKET, "projectNumber": number})
    world.objects.create_bucket(BUCKET)
    world.bind(BUCKET_NAME, "roles/storage.objectUser", f"serviceAccount:{ACCOUNT}")
    add_image(world, folder.parent / "images" / "fake")
    return world


def add_image(world: World, context: Path) -> None:
    """An image that needs nothing but Python's standard library."""
    snapshot = world.folder / "images" / DIGEST.removeprefix("sha256:")
    (snapshot / "src" / "fake").mkdir(parents=True)
    (snapshot / "src" / "fake" / "__main__.py").write_text(PROGRAM)
    (snapshot / "Dockerfile").write_text(
        'FROM base AS build\nCMD ["no"]\nFROM base\nENV FROM_IMAGE=yes \\\n    HOME=/root\n'
        'ENTRYPOINT ["/usr/bin/tini", "--", "python", "-m", "fake"]\n'
    )
    (context / ".venv" / "bin").mkdir(parents=True)
    (context / ".venv" / "bin" / "python").symlink_to(sys.executable)
    name = f"artifactregistry.googleapis.com/{LOCATION}/repositories/containers/dockerImages/fake@{DIGEST}"
    world.insert(
        "artifactregistry.image",
        name,
        {"uri": IMAGE, "digest": DIGEST, "context": str(context), "tags": ["v1"]},
    )


def service_body(env: dict[str, str] | None = None, **template: Any) -> dict[str, Any]:
    """A service in Google's shape."""
    container = {
        "image": IMAGE,
        "ports": [{"containerPort": 8080}],
        "env": [{"name": name, "value": value} for name, value in (env or {}).items()],
        "startupProbe": {"httpGet": {"path": "/ready"}, "periodSeconds": 240, "failureThreshold": 5},
        "volumeMounts": [{"name": "models", "mountPath": "/mnt/models"}],
    }
    return {
        "name": SERVICE.partition("/")[2],
        "template": {
            "containers": [container],
            "volumes": [{"name": "models", "gcs": {"bucket": BUCKET, "readOnly": True}}],
            "serviceAccount": ACCOUNT,
            "timeout": "3s",
            **template,
        },
    }


def job_body(*args: str, retries: int = 0, timeout: str = "60s", tasks: int = 1) -> dict[str, Any]:
    """A job in Google's shape."""
    return {
        "template": {
            "labels": {"llm-target": "0123456789abcdef"},
            "taskCount": tasks,
            "template": {
                "containers": [{"image": IMAGE, "args": list(args)}],
                "serviceAccount": ACCOUNT,
                "maxRetries": retries,
                "timeout": timeout,
            },
        },
    }


class Running:
    """A world and its cloud process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = make_world(folder)
        self.base_url = ensure_running(folder)
        self.client = CloudClient(self.base_url, folder)

    def serve(self, body: dict[str, Any]) -> str:
        """Put a service's record there and bring it up; returns its address."""
        self.world.insert("run.service", SERVICE, body)
        outcome = self.client.reconcile_service(SERVICE, 30)
        assert outcome.ready, outcome.message
        return outcome.uri

    def stop(self) -> None:
        """End the cloud process with all that it runs."""
        stop_all(self.folder)
        self.world.close()
