"""A stack of nothing but resources of Vertex AI, whose program runs inside the test.

So an `up` takes a fraction of the time: the engine starts no other process than the plugins that it needs.
"""

from __future__ import annotations

import json
from typing import Any

import pulumi
from google.oauth2 import service_account
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build
from googleapiclient.http import HttpRequest
from pulumi import automation

from rehearsal.cloud.aiplatform.deployed import DEPLOYED
from rehearsal.standins.names import service_name
from stacks import modelops
from tests.engine.convergence import ghosts, orphans
from tests.engine.lab import CHECKOUT, STACK, Lab, Result
from tests.unit.cloud_world import (
    ACCOUNT,
    BUCKET,
    BUCKET_NAME,
    DIGEST,
    IMAGE,
    LOCATION,
    PROJECT,
    REGION,
    add_image,
)
from tests.unit.vertexai import PROGRAM as CONTAINER

Json = dict[str, Any]

CONFIG = f"""
  gcp:project: {PROJECT}
  gcp:region: {REGION}
  llm:environment: local
"""
ENDPOINT = f"{LOCATION}/endpoints/1234567890"
MODEL_NAME = f"{LOCATION}/models/assistant"
ON_DISK = f"""
import json, sys
from pathlib import Path

sys.path.insert(0, {str(CHECKOUT)!r})
from tests.engine.vertex_program import program

program(json.loads(Path("resources.json").read_text()))
"""
"""The same program for commands that run the engine themselves."""
OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
PLACE = {"project": PROJECT, "location": REGION}


def model(mode: str = "one", **changes: Any) -> Json:
    """Arguments of a model whose container answers with its mode."""
    container = {
        "imageUri": IMAGE,
        "env": {"MODE": mode},
        "ports": [8080],
        "predictRoute": "/predict",
        "healthRoute": "/health",
        **changes.pop("container", {}),
    }
    given = {"model_id": "assistant", "display_name": "Assistant", "labels": {"stack": "test"}}
    return {**PLACE, **given, "container_spec": container, **changes}


def deployment(**changes: Any) -> Json:
    """Arguments of a deployment that switches at once."""
    given = {"endpoint": "1234567890", "display_name": "assistant", "machine_type": "n1-standard-4"}
    return {**PLACE, **given, "service_account": ACCOUNT, "step_seconds": 0, **changes}


def job(*args: str, **changes: Any) -> Json:
    """Arguments of a custom job whose container is told what to do: `exit 0`, `sleep 60`."""
    pool = {
        "machineSpec": {"machineType": "e2-highmem-2"},
        "containerSpec": {"imageUri": IMAGE, "args": list(args)},
    }
    spec = {"workerPoolSpecs": [pool], "serviceAccount": ACCOUNT}
    return {**PLACE, "display_name": "train", "job_spec": spec, **changes}


def run(*args: str, **changes: Any) -> Json:
    """Arguments of a pipeline run of one task."""
    task = {"taskInfo": {"name": "one"}, "componentRef": {"name": "one"}}
    executor = {"container": {"image": IMAGE, "args": list(args)}}
    template = {
        "pipelineInfo": {"name": "train"},
        "schemaVersion": "2.1.0",
        "root": {"dag": {"tasks": {"one": task}}},
        "components": {"one": {"executorLabel": "one"}},
        "deploymentSpec": {"executors": {"one": executor}},
    }
    given = {"run_id": "train-1", "display_name": "Train", "template": template}
    return {**PLACE, **given, "pipeline_root": f"gs://{BUCKET}/runs", "service_account": ACCOUNT, **changes}


class VertexStack:
    """Such a stack in its own rehearsed cloud.

    Args:
        lab: a lab with `CONFIG`, not used yet.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.world = lab.world()
        self._wanted: dict[str, Json] = {}
        (lab.root / "__main__.py").unlink()
        (lab.root / "__main__.py").write_text(ON_DISK, encoding="utf-8")
        self._command = automation.PulumiCommand(root=str(lab.rehearsal.engine_root()))
        self.point_at(lab.variables[OVERRIDE])
        name = f"iam.googleapis.com/projects/{PROJECT}/serviceAccounts/{ACCOUNT}"
        self.world.insert("iam.serviceAccount", name, {"email": ACCOUNT})
        self.world.insert("storage.bucket", BUCKET_NAME, {"name": BUCKET})
        self.world.objects.create_bucket(BUCKET)
        self.world.bind(BUCKET_NAME, "roles/storage.objectUser", f"serviceAccount:{ACCOUNT}")
        add_image(self.world, lab.root.parent / f"{lab.root.name}-image")
        snapshot = self.world.folder / "images" / DIGEST.removeprefix("sha256:")
        (snapshot / "src" / "fake" / "__main__.py").write_text(CONTAINER, encoding="utf-8")
        for api in ("aiplatform", "compute"):
            service = service_name(PROJECT, f"{api}.googleapis.com")
            self.world.insert("serviceusage.service", service, {"state": "ENABLED"})
        file = lab.variables["GOOGLE_APPLICATION_CREDENTIALS"]
        self.credentials = service_account.Credentials.from_service_account_file(file, scopes=[SCOPE])

        def fresh(_: Any, *args: Any, **kwargs: Any) -> HttpRequest:
            # A connection that was kept would be closed by the cloud while an `up` takes its time.
            return HttpRequest(AuthorizedHttp(self.credentials), *args, **kwargs)

        client = build(
            "aiplatform",
            "v1",
            credentials=self.credentials,
            static_discovery=True,
            requestBuilder=fresh,
            client_options={"api_endpoint": lab.variables[OVERRIDE]},
        )
        self.google = client.projects().locations()
        self._strangers = self._everything()

    def point_at(self, address: str) -> None:
        """Where the next `up` finds Vertex AI."""
        self.lab.stack = automation.create_or_select_stack(
            stack_name=STACK,
            project_name="llm",
            program=lambda: program(self._wanted),
            opts=automation.LocalWorkspaceOptions(
                work_dir=str(self.lab.root),
                env_vars={**self.lab.variables, OVERRIDE: address},
                pulumi_command=self._command,
            ),
        )

    def _everything(self) -> set[str]:
        names = {each.name for each in self.world.list()}
        bound = {(each, *pair) for each in names for pair in self.world.bindings(each)}
        return names | {"/".join(each) for each in bound}

    def want(self, **resources: Json) -> None:
        """Say what there is to be, from the next `up` on."""
        self._wanted = resources
        (self.lab.root / "resources.json").write_text(json.dumps(resources), encoding="utf-8")

    def up(self, **resources: Json) -> Result:
        """`pulumi up` that ends well, of other resources where some are given."""
        if resources:
            self.want(**resources)
        result = self.lab.up()
        assert not result.failed, result.output
        return result

    def refused(self, **resources: Json) -> str:
        """What `pulumi up` says that ends badly."""
        if resources:
            self.want(**resources)
        result = self.lab.up()
        assert result.failed, result.output
        assert "Traceback" not in result.output
        return result.output

    def make_endpoint(self) -> None:
        """Create the endpoint by hand, so that the stack has nothing to do with it."""
        body = {"displayName": "by hand"}
        number = ENDPOINT.rpartition("/")[2]
        begun = self.google.endpoints().create(parent=LOCATION, endpointId=number, body=body).execute()
        self.google.endpoints().operations().wait(name=begun["name"]).execute()
        self._strangers |= self._everything()

    def asked(self) -> Any:
        """What the endpoint predicts: the mode of the container that answers."""
        body = {"instances": [1]}
        return self.google.endpoints().predict(endpoint=ENDPOINT, body=body).execute()["predictions"][0]

    def split(self) -> Json:
        """Traffic by deployed model."""
        found: Json = self.google.endpoints().get(name=ENDPOINT).execute().get("trafficSplit", {})
        return found

    def deployed(self) -> list[str]:
        """Full names of what is deployed, or being deployed."""
        return [record.name for record in self.world.list(DEPLOYED)]

    def calls(self, verb: str) -> int:
        """How often a method of Vertex AI was called."""
        return sum(call.operation.endswith(f".{verb}") for call in self.world.calls())

    def assert_known(self) -> None:
        """State and world tell the same of everything that the stack has made."""
        assert set(orphans(self.lab)) - self._strangers == set()
        assert ghosts(self.lab) == []

    def assert_converged(self) -> None:
        """Besides, another preview finds nothing to do."""
        self.assert_known()
        again = self.lab.preview()
        assert not again.failed, again.output
        assert again.changed() == {}

    def assert_destroyed(self) -> None:
        """`pulumi destroy` leaves nothing of the stack."""
        destroyed = self.lab.destroy()
        assert not destroyed.failed, destroyed.output
        assert set(orphans(self.lab)) - self._strangers == set()


def program(wanted: dict[str, Json]) -> None:
    """Ask the engine for the resources, given by name."""
    made: list[pulumi.Resource] = []
    served: Json = {}
    if "endpoint" in wanted:
        # By its type alone: the SDK's class says the same, and takes seconds to import.
        kind = "gcp:vertex/aiEndpoint:AiEndpoint"
        made.append(pulumi.CustomResource(kind, "endpoint", wanted["endpoint"]))
    if "model" in wanted:
        uploaded = modelops.VertexModel("model", modelops.VertexModelArgs(**wanted["model"]))
        served = {"model": uploaded.version_resource_name}
    if "deployment" in wanted:
        args = modelops.VertexModelDeploymentArgs(**{**served, **wanted["deployment"]})
        options = pulumi.ResourceOptions(depends_on=made)
        deployed = modelops.VertexModelDeployment("deployment", args, options)
        pulumi.export("deployed", deployed.deployed_model_id)
    if "job" in wanted:
        trained = modelops.VertexCustomJob("job", modelops.VertexCustomJobArgs(**wanted["job"]))
        pulumi.export("job", trained.state)
    if "run" in wanted:
        modelops.VertexPipelineRun("run", modelops.VertexPipelineRunArgs(**wanted["run"]))
