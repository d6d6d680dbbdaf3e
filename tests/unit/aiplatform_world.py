"""A rehearsed Vertex AI with a container that answers predictions, and Google's own client of it."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

import google.auth
import google_auth_httplib2
import httplib2
import pytest
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest

from rehearsal.cloud.aiplatform import pipeline_runs
from rehearsal.cloud.aiplatform.artifacts import KIND as ARTIFACTS
from rehearsal.cloud.aiplatform.deployed import DEPLOYED
from rehearsal.cloud.aiplatform.names import public
from rehearsal.cloud.aiplatform.operations import KIND as OPERATION
from rehearsal.cloud.custom_jobs import KIND as CUSTOM_JOB
from rehearsal.cloud.custom_jobs import is_running
from rehearsal.standins.names import service_name
from tests.unit.cloud_world import ACCOUNT, BUCKET, LOCATION, PROJECT, REGION, Running

DIGEST = "sha256:" + "cd" * 32
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/containers/answers@{DIGEST}"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

PROGRAM = """
import http.server, json, os, signal, sys, time, urllib.request

def artifact():
    uri = os.environ.get("AIP_STORAGE_URI", "")
    if not uri:
        return ""
    bucket, _, folder = uri.removeprefix("gs://").partition("/")
    metadata = "http://" + os.environ["GCE_METADATA_HOST"]
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    asked = urllib.request.Request(metadata + path, headers={"Metadata-Flavor": "Google"})
    token = json.load(urllib.request.urlopen(asked))["access_token"]
    name = (folder + "/weights.bin").replace("/", "%2F")
    url = os.environ["STORAGE_EMULATOR_HOST"] + f"/storage/v1/b/{bucket}/o/{name}?alt=media"
    asked = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
    return urllib.request.urlopen(asked).read().decode()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, code=200, kind="application/json"):
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        healthy = self.path == os.environ["AIP_HEALTH_ROUTE"] and time.time() > READY
        self.answer(b"", 200 if healthy else 503)

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["content-length"]))
        if self.path != os.environ["AIP_PREDICT_ROUTE"]:
            return self.answer(b"no such route", 404)
        if raw == b"events":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for word in (b"one", b"two"):
                self.wfile.write(b"data: " + word + b"\\n\\n")
                self.wfile.flush()
                time.sleep(0.5)
            self.close_connection = True
            return
        given = json.loads(raw)
        if isinstance(given, dict) and given.get("parameters") == {"fail": True}:
            return self.answer(b'{"detail": "too long"}', 413)
        if isinstance(given, dict) and (given.get("parameters") or {}).get("sleep"):
            time.sleep(given["parameters"]["sleep"])
        own = {name: os.environ[name] for name in os.environ if name.startswith(("AIP_", "COLOUR"))}
        if not isinstance(given, dict) or "instances" not in given:
            return self.answer(json.dumps({"raw": given}).encode())
        prediction = {**own, "artifact": ARTIFACT, "args": sys.argv[1:]}
        self.answer(json.dumps({"predictions": [prediction]}).encode())

    def log_message(self, *rest):
        pass

signal.signal(signal.SIGTERM, lambda *rest: os._exit(0))
if os.environ.get("MODE") == "broken":
    print("the model is missing", flush=True)
    sys.exit(9)
READY = time.time() + float(os.environ.get("DELAY", "0"))
ARTIFACT = artifact()
port = int(os.environ["AIP_HTTP_PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def furnish(running: Running) -> None:
    """Enables Vertex AI, and adds the container's image and a model's files."""
    world = running.world
    world.insert(
        "serviceusage.service", service_name(PROJECT, "aiplatform.googleapis.com"), {"state": "ENABLED"}
    )
    context = running.folder.parent / "images" / "answers"
    snapshot = world.folder / "images" / DIGEST.removeprefix("sha256:")
    (snapshot / "src" / "answers").mkdir(parents=True)
    (snapshot / "src" / "answers" / "__main__.py").write_text(PROGRAM)
    (snapshot / "Dockerfile").write_text('FROM base\nENTRYPOINT ["python", "-m", "answers"]\n')
    (context / ".venv" / "bin").mkdir(parents=True)
    (context / ".venv" / "bin" / "python").symlink_to(sys.executable)
    images = f"artifactregistry.googleapis.com/{LOCATION}/repositories/containers/dockerImages"
    body = {"uri": IMAGE, "digest": DIGEST, "context": str(context), "tags": ["v1"]}
    world.insert("artifactregistry.image", f"{images}/answers@{DIGEST}", body)
    _put_weights(running)


def _put_weights(running: Running) -> None:
    running.world.objects.put(BUCKET, "models/tiny/weights.bin", b"0123")


def anew(credentials: Any) -> Any:
    """A builder of requests that each have a connection: one that is kept is closed while a test waits."""

    def request(_: Any, *args: Any, **kwargs: Any) -> HttpRequest:
        http = google_auth_httplib2.AuthorizedHttp(credentials, http=httplib2.Http(timeout=60))
        return HttpRequest(http, *args, **kwargs)

    return request


class Vertex:
    """Google's own REST client, pointed at a rehearsed cloud."""

    def __init__(self, running: Running, credentials: Any = None) -> None:
        self.running = running
        self.world = running.world
        self.credentials = credentials or google.auth.default(scopes=[SCOPE])[0]
        documents = resources.files("googleapiclient.discovery_cache.documents")
        document = json.loads((documents / "aiplatform.v1.json").read_text())
        document["rootUrl"] = running.base_url + "/"
        self.api = build_from_document(
            document, credentials=self.credentials, requestBuilder=anew(self.credentials)
        )
        locations = self.api.projects().locations()
        self.models, self.endpoints = locations.models(), locations.endpoints()
        self.operations, self.pipelines = locations.operations(), locations.pipelineJobs()
        self.stores, self.jobs = locations.metadataStores(), locations.customJobs()

    def finish(self, request: Any) -> dict[str, Any]:
        """Executes a request and waits for its operation, which is what comes back."""
        return self.done(request.execute())

    def done(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Waits for the end of an operation."""
        deadline = time.monotonic() + 60
        collection = operation["name"].split("/")[4]
        below = getattr(self.api.projects().locations(), collection)().operations()
        while not operation["done"]:
            assert time.monotonic() < deadline, operation
            operation = below.wait(name=operation["name"], timeout="5s").execute()
        return operation

    def upload(self, **changes: Any) -> dict[str, Any]:
        """Uploads a version of a model and gives the operation's response."""
        request = {key: changes.pop(key) for key in ("modelId", "parentModel") if key in changes}
        body = {**request, "model": model(**changes)}
        return self.response(self.models.upload(parent=LOCATION, body=body))

    def endpoint(self, **changes: Any) -> str:
        """Creates an endpoint and gives its name."""
        body = {"displayName": "assistant", **changes}
        made = self.response(self.endpoints.create(parent=LOCATION, body=body))
        return str(made["name"])

    def deploy(self, endpoint: str, name: str, split: dict[str, int] | None = None, **changes: Any) -> Any:
        """Deploys a model and gives the operation."""
        body: dict[str, Any] = {"deployedModel": deployed_model(name, **changes)}
        if split is not None:
            body["trafficSplit"] = split
        return self.finish(self.endpoints.deployModel(endpoint=endpoint, body=body))

    def response(self, request: Any) -> dict[str, Any]:
        """The response of an operation that succeeds."""
        ended = self.finish(request)
        assert "response" in ended, ended
        found: dict[str, Any] = ended["response"]
        return found

    def predict(self, endpoint: str, **parameters: Any) -> dict[str, Any]:
        """One prediction."""
        body: dict[str, Any] = {"instances": ["hello"], **({"parameters": parameters} if parameters else {})}
        found: dict[str, Any] = self.endpoints.predict(endpoint=endpoint, body=body).execute()
        return found


def model(**changes: Any) -> dict[str, Any]:
    """A model that answers predictions; `env` and container fields may be changed."""
    env = changes.pop("env", {})
    container = {
        "imageUri": IMAGE,
        "predictRoute": "/predict",
        "healthRoute": "/ready",
        "ports": [{"containerPort": 8080}],
        "env": [{"name": name, "value": value} for name, value in env.items()],
        **changes.pop("container", {}),
    }
    return {"displayName": "tiny", "containerSpec": container, **changes}


def deployed_model(name: str, **changes: Any) -> dict[str, Any]:
    """What a deployment asks for."""
    resources = {"machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 1, "maxReplicaCount": 1}
    return {"model": name, "serviceAccount": ACCOUNT, "dedicatedResources": resources, **changes}


def start(folder: Path, monkeypatch: Any) -> Running:
    """A rehearsed cloud with all of it, run by plain processes."""
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    running = Running(folder)
    furnish(running)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(running.folder / "adc.json"))
    return running


@contextmanager
def started(folder: Path) -> Iterator[Running]:
    """One that the tests of a module share, for it takes seconds to start; see `emptied`."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        running = start(folder / "world", monkeypatch)
        yield running
        running.stop()


def emptied(running: Running, locations: Any) -> None:
    """Leaves nothing of a test in a cloud for the next one: no work, no resource, no fault, no call.

    Args:
        running: the cloud.
        locations: `projects.locations` of Google's client of its Vertex AI.
    """
    world = running.world
    world.faults.clear()
    _forget(running, "settings WHERE key LIKE 'aiplatform.%' OR key LIKE 'quota.%'")
    _stop_jobs(running, locations)
    _end_operations(running, locations)
    for record in world.list(DEPLOYED):
        endpoint, _, id = record.name.partition("/deployedModels/")
        world.edit(endpoint, lambda body: {**body, "trafficSplit": {}})
        name = public(world, endpoint)
        locations.endpoints().undeployModel(endpoint=name, body={"deployedModelId": id}).execute()
    _end_operations(running, locations)
    for record in world.list(ARTIFACTS):
        world.objects.remove_bucket(record.body["name"])
    _forget(
        running,
        "calls",
        "resources WHERE kind LIKE 'aiplatform.%'",
        "bindings WHERE resource LIKE 'aiplatform.googleapis.com/%'",
    )
    _put_weights(running)


def _forget(running: Running, *rows: str) -> None:
    with closing(sqlite3.connect(running.folder / "world.db", timeout=60)) as database, database:
        for each in rows:
            database.execute(f"DELETE FROM {each}")


def _stop_jobs(running: Running, locations: Any) -> None:
    world = running.world
    for record in world.list(CUSTOM_JOB):
        if is_running(record.body):
            _cancel(locations.customJobs(), public(world, record.name))
    for record in world.list(pipeline_runs.KIND):
        if pipeline_runs.is_running(record.body):
            _cancel(locations.pipelineJobs(), public(world, record.name))


def _cancel(jobs: Any, name: str) -> None:
    # It may have ended by itself a moment ago.
    with suppress(HttpError):
        jobs.cancel(name=name, body={}).execute()


def _end_operations(running: Running, locations: Any) -> None:
    """Calls off what can be called off, and waits for the rest."""
    for record in running.world.list(OPERATION):
        deadline = time.monotonic() + 60
        while not record.body["done"]:
            assert time.monotonic() < deadline, record
            collection = getattr(locations, record.body["name"].split("/")[4])().operations()
            collection.cancel(name=record.body["name"]).execute()
            time.sleep(0.02)
            found = running.world.get(record.name)
            assert found is not None
            record = found
