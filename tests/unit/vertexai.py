"""Resources of Vertex AI in a rehearsed cloud, and the engine's calls about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.auth
import pytest
from googleapiclient.discovery import build

from providers.base.provider import (
    CheckRequest,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.modelops import polling
from providers.modelops.provider import ModelopsProvider
from providers.modelops.vertexai.api import VertexApi
from rehearsal.standins.names import service_name
from tests.unit.aiplatform_world import anew, emptied
from tests.unit.cloud_world import ACCOUNT, DIGEST, IMAGE, LOCATION, PROJECT, REGION, Running

Properties = dict[str, Any]

ENDPOINT = f"{LOCATION}/endpoints/1234567890"
MODEL_NAME = f"{LOCATION}/models/assistant"
PLACE = {"project": PROJECT, "location": REGION}
PROGRAM = """
import http.server, json, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer({"predictions": [os.environ["MODE"]]})

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *rest):
        pass

if sys.argv[1:2] == ["exit"]:
    sys.exit(int(sys.argv[2]))
if sys.argv[1:2] == ["sleep"]:
    time.sleep(float(sys.argv[2]))
    sys.exit(0)
if os.environ.get("MODE") == "broken":
    sys.exit("the model is missing")
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"""
MODEL: Properties = {
    **PLACE,
    "modelId": "assistant",
    "displayName": "Assistant",
    "containerSpec": {
        "imageUri": IMAGE,
        "env": {"MODE": "one"},
        "ports": [8080],
        "predictRoute": "/predict",
        "healthRoute": "/health",
    },
    "labels": {"stack": "dev"},
}
DEPLOYMENT: Properties = {
    **PLACE,
    "endpoint": "1234567890",
    "model": f"{MODEL_NAME}@1",
    "displayName": "assistant",
    "machineType": "n1-standard-4",
    "serviceAccount": ACCOUNT,
    "stepSeconds": 0,
}
JOB: Properties = {
    **PLACE,
    "displayName": "train",
    "jobSpec": {
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "e2-highmem-2"},
                "containerSpec": {"imageUri": IMAGE, "args": ["exit", "0"]},
            }
        ],
        "serviceAccount": ACCOUNT,
    },
}


def with_args(*args: str) -> Properties:
    """The custom job with other arguments."""
    pool = JOB["jobSpec"]["workerPoolSpecs"][0]
    container = {**pool["containerSpec"], "args": list(args)}
    return {**JOB, "jobSpec": {**JOB["jobSpec"], "workerPoolSpecs": [{**pool, "containerSpec": container}]}}


def with_env(value: str) -> Properties:
    """The model with another container, which makes another version."""
    return {**MODEL, "containerSpec": {**MODEL["containerSpec"], "env": {"MODE": value}}}


@dataclass
class Cloud:
    """A running rehearsed cloud, and Google's own client of its Vertex AI, which is none of ours."""

    running: Running
    locations: Any

    @staticmethod
    @contextmanager
    def started(folder: Path) -> Iterator[Running]:
        """One that the tests of a module share; the addresses and credentials stand in the environment."""
        with pytest.MonkeyPatch.context() as monkeypatch:
            running = Cloud._start(folder / "world", monkeypatch)
            yield running
            running.stop()

    @staticmethod
    @contextmanager
    def used(running: Running) -> Iterator[Cloud]:
        """One with nothing in it, which has no more in it afterwards; the provider waits but shortly."""
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(polling, "FIRST_PAUSE_SECONDS", 0.02)
            cloud = Cloud.client(running)
            yield cloud
            emptied(running, cloud.locations)

    @staticmethod
    def _start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
        monkeypatch.setenv("LLMSTACK_RUNNER", "process")
        running = Running(folder)
        snapshot = folder / "images" / DIGEST.removeprefix("sha256:")
        (snapshot / "src" / "fake" / "__main__.py").write_text(PROGRAM)
        for api in ("aiplatform", "compute"):
            name = service_name(PROJECT, f"{api}.googleapis.com")
            running.world.insert("serviceusage.service", name, {"state": "ENABLED"})
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(running.folder / "adc.json"))
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM", f"{running.base_url}/")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.base_url)
        return running

    @staticmethod
    def client(running: Running) -> Cloud:
        """Another client; one is not to be shared between threads."""
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        service = build(
            "aiplatform",
            "v1",
            credentials=credentials,
            static_discovery=True,
            requestBuilder=anew(credentials),
            client_options={"api_endpoint": f"{running.base_url}/"},
        )
        return Cloud(running, service.projects().locations())

    def endpoint(self) -> Properties:
        """The endpoint as Google's client sees it."""
        found: Properties = self.locations.endpoints().get(name=ENDPOINT).execute()
        return found

    def split(self) -> Properties:
        """Traffic by deployed model."""
        found: Properties = self.endpoint().get("trafficSplit", {})
        return found

    def served(self) -> Properties:
        """Traffic by version of the model."""
        endpoint = self.endpoint()
        versions = {each["id"]: each["modelVersionId"] for each in endpoint.get("deployedModels", [])}
        return {versions[id]: percent for id, percent in endpoint.get("trafficSplit", {}).items()}

    def predict(self) -> Any:
        """What the endpoint predicts."""
        ask = self.locations.endpoints().predict(endpoint=ENDPOINT, body={"instances": [1]})
        return ask.execute()["predictions"][0]

    def calls(self, verb: str) -> int:
        """How often a method was called."""
        return sum(call.operation.endswith(f".{verb}") for call in self.running.world.calls())

    def make_endpoint(self) -> None:
        """Creates the endpoint."""
        create = self.locations.endpoints().create
        body = {"displayName": "assistant"}
        begun = create(parent=LOCATION, endpointId=ENDPOINT.rpartition("/")[2], body=body).execute()
        self.locations.endpoints().operations().wait(name=begun["name"]).execute()


class Engine:
    """The engine's calls about one resource, each by a provider of its own as each `pulumi up` has one."""

    def __init__(self, kind: str, name: str = "assistant") -> None:
        self.type = f"modelops:vertex:{kind}"
        self.name = name
        self.urn = f"urn:pulumi:dev::llm::{self.type}::{name}"

    def check(self, news: Properties) -> tuple[Properties, dict[str, str]]:
        request = CheckRequest(self.urn, self.type, self.name, {}, news)
        answer = asyncio.run(provider().check(request))
        return answer.inputs, {failure.path: failure.reason for failure in answer.failures}

    def create(self, news: Properties, by: ModelopsProvider | None = None, **more: Any) -> CreateResponse:
        inputs, failures = self.check(news)
        assert failures == {}
        request = CreateRequest(self.urn, self.type, self.name, inputs, **more)
        return asyncio.run((by or provider()).create(request))

    def diff(self, olds: Properties, outputs: Properties, news: Properties, id: str = "x") -> DiffResponse:
        before, after = self.check(olds)[0], self.check(news)[0]
        return asyncio.run(provider().diff(DiffRequest(self.urn, self.type, id, before, outputs, after)))

    def update(
        self, id: str, olds: Properties, outputs: Properties, news: Properties, **more: Any
    ) -> Properties:
        before, after = self.check(olds)[0], self.check(news)[0]
        request = UpdateRequest(self.urn, self.type, self.name, id, before, outputs, after, **more)
        return asyncio.run(provider().update(request))

    def read(self, id: str, inputs: Properties, outputs: Properties) -> ReadResponse | None:
        request = ReadRequest(self.urn, self.type, self.name, id, inputs, outputs)
        return asyncio.run(provider().read(request))

    def delete(self, id: str, outputs: Properties, by: ModelopsProvider | None = None) -> None:
        request = DeleteRequest(self.urn, self.type, self.name, id, {}, outputs)
        asyncio.run((by or provider()).delete(request))


def provider() -> ModelopsProvider:
    """A provider as the engine starts one: nothing is in it yet."""
    return ModelopsProvider()


class Killed(BaseException):
    """The engine and its provider are gone in the middle of a call's way back."""


def kill_after(monkeypatch: Any, method: str) -> None:
    """Kills the provider once Google has done what a method asks for, before anybody hears of it; once."""
    call, armed = VertexApi.call, [True]

    def deadly(self: VertexApi, what: str, called: str, **arguments: Any) -> Any:
        answer = call(self, what, called, **arguments)
        if called == method and armed:
            armed.clear()
            raise Killed
        return answer

    monkeypatch.setattr(VertexApi, "call", deadly)
