"""What a deployment on topology `vertex` becomes: resources, their order, and what each is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from providers.modelops.vertexai.deployment_inputs import DeploymentInputs
from providers.modelops.vertexai.model_inputs import ModelInputs
from stacks.plan.types import StackPlan
from stacks.stack import build_stack, export_stack
from tests.components.conftest import Plan, Recorder, Registered

STACK = """
  gcp:project: acme-ml-dev
  gcp:region: europe-west4
  llm:environment: {environment}
  llm:deployments:
    chat:
      topology: vertex
      model: {model}
{extra}"""
EXTRA = """\
      engine: torchserve
      machine: {type: n1-standard-8, accelerator: nvidia-tesla-t4}
      scaling: {max: 2, metric: cpu-utilization}
      traffic: {steps: [10, 50, 100], stepSeconds: 30}
      access: {invokers: ["group:ml@example.com"]}
      metadataStore: true
"""

Run = Callable[..., Recorder]


def text(environment: str = "dev", model: str = "gpt2", extra: str = EXTRA) -> str:
    return STACK.format(environment=environment, model=model, extra=extra)


def played(plan: StackPlan, run: Run, *, preview: bool = False) -> Recorder:
    return run(lambda: export_stack(plan, build_stack(plan)), preview=preview)


@pytest.fixture
def recorded(plan_of: Plan, run: Run) -> Recorder:
    return played(plan_of(text()), run)


def waits_for(resource: Registered, *names: str) -> bool:
    return all(any(urn.endswith(f"::{name}") for urn in resource.dependencies) for name in names)


def test_one_deployment_makes_these_resources_and_no_others(recorded: Recorder) -> None:
    names = {r.name for r in recorded.resources if r.type.startswith(("gcp:", "docker-build:", "modelops:"))}
    apis = {name for name in names if name.startswith("foundation-api-")}
    assert "foundation-api-aiplatform" in apis
    assert "foundation-api-run" not in apis
    assert names - apis == {
        "foundation-images",
        "foundation-models",
        "image-torchserve-build",
        "image-weights-build",
        "chat-weights-account",
        "chat-weights-writes-bucket",
        "chat-weights-staged",
        "chat-account",
        "chat-reads-bucket",
        "chat-endpoint",
        "chat-invoker-group:ml@example.com",
        "chat-model",
        "chat-deployment",
        "metadata-store",
    }
    assert recorded.calls == []


def test_what_the_components_send_is_what_the_provider_takes(recorded: Recorder) -> None:
    model, deployment = recorded.one("Model").inputs, recorded.one("ModelDeployment").inputs
    sent = ModelInputs.of(model)
    assert set(model) <= set(ModelInputs.names())
    assert sent.container_spec.predict_route == "/predictions/gpt2"
    assert sent.container_spec.image_uri.endswith("@sha256:" + "a" * 64)
    assert sent.container_spec.startup_probe is not None
    assert str(sent.artifact_uri).startswith("gs://acme-ml-dev-test-models/models/gpt2/")
    deployed = DeploymentInputs.of(deployment)
    assert set(deployment) <= set(DeploymentInputs.names())
    assert deployed.model == "projects/p/locations/l/models/test-chat@1"
    assert (deployed.accelerator_type, deployed.accelerator_count) == ("NVIDIA_TESLA_T4", 1)
    assert (deployed.min_replicas, deployed.max_replicas) == (1, 2)
    assert deployed.traffic_steps == [10, 50, 100]
    assert deployed.service_account == "test-chat-serve@p.iam.gserviceaccount.com"
    assert deployed.endpoint == recorded.one("AiEndpoint").inputs["name"]


def test_a_machine_without_a_gpu_is_sent_without_one(plan_of: Plan, run: Run) -> None:
    recorded = played(plan_of(text(extra="", model="google/flan-t5-base")), run)
    found = recorded.one("ModelDeployment").inputs
    assert DeploymentInputs.of(found).accelerator_type is None
    assert ModelInputs.of(recorded.one("Model").inputs).container_spec.predict_route == "/predict"


def test_a_model_is_registered_when_it_is_staged_and_deployed_when_it_may_be_read(recorded: Recorder) -> None:
    assert waits_for(recorded.one("Model"), "chat-weights-staged", "foundation-api-aiplatform")
    assert waits_for(recorded.one("Model"), "image-torchserve-build")
    deployment = recorded.one("ModelDeployment")
    assert waits_for(deployment, "chat-model", "chat-endpoint", "chat-reads-bucket", "chat-account")
    plan_times = deployment.timeouts
    assert plan_times == ("2700s", "2790s")


def test_the_endpoint_leaves_the_traffic_to_the_deployment(recorded: Recorder) -> None:
    endpoint = recorded.one("AiEndpoint")
    assert endpoint.ignored == ("trafficSplit",)
    assert "trafficSplit" not in endpoint.inputs
    assert endpoint.inputs["location"] == "europe-west4"


@pytest.mark.parametrize(
    ("kind", "dedicated", "private", "address"),
    [
        ("dedicated", True, None, "prediction.vertexai.goog/v1/projects/acme-ml-dev/"),
        ("public", None, None, "https://europe-west4-aiplatform.googleapis.com/v1/projects/acme-ml-dev/"),
        (
            "private-service-connect",
            None,
            {"enablePrivateServiceConnect": True, "projectAllowlists": ["acme-ml-dev"]},
            "/v1/projects/acme-ml-dev/",
        ),
    ],
)
def test_each_kind_of_endpoint_has_its_own_settings_and_address(
    plan_of: Plan, run: Run, kind: str, dedicated: bool | None, private: object, address: str
) -> None:
    recorded = played(plan_of(text(extra=f"      endpoint: {{kind: {kind}}}\n")), run)
    inputs = recorded.one("AiEndpoint").inputs
    assert inputs.get("dedicatedEndpointEnabled") is dedicated
    assert inputs.get("privateServiceConnectConfig") == private
    shown = recorded.outputs["endpoints"]["chat"]
    assert address in shown["url"]
    assert shown["url"].endswith(f"{shown['name']}:predict")
    assert shown["name"] == (f"projects/acme-ml-dev/locations/europe-west4/endpoints/{inputs['name']}")


def test_who_may_ask_is_granted_on_the_endpoint_alone(recorded: Recorder) -> None:
    grant = recorded.one("AiEndpointIamMember").inputs
    assert (grant["role"], grant["member"]) == ("roles/aiplatform.user", "group:ml@example.com")
    assert grant["endpoint"] == recorded.one("AiEndpoint").inputs["name"]
    assert {r.inputs["role"] for r in recorded.of("BucketIAMMember")} == {
        "roles/storage.objectViewer",
        "roles/storage.objectUser",
    }


def test_who_may_ask_may_have_a_role_of_one_s_own(plan_of: Plan, run: Run) -> None:
    own = "projects/acme-ml-dev/roles/predictor"
    extra = f"      access: {{invokers: ['user:a@example.com'], role: {own}}}\n"
    assert played(plan_of(text(extra=extra)), run).one("AiEndpointIamMember").inputs["role"] == own


def test_a_switch_of_the_model_renames_nothing(plan_of: Plan, run: Run) -> None:
    names = []
    for model in ("gpt2", "databricks/dolly-v2-3b"):
        recorded = played(plan_of(text(model=model)), run)
        names.append({(r.type, r.name) for r in recorded.resources})
        ids = {r.inputs.get("name") or r.inputs.get("modelId") for r in recorded.of("AiEndpoint")}
        names[-1] |= {("id", str(each)) for each in ids}
    assert names[0] == names[1]


def test_a_lasting_environment_protects_the_address(plan_of: Plan, run: Run) -> None:
    kept = played(plan_of(text("prod")), run).one("AiEndpoint").inputs["deletionPolicy"]
    gone = played(plan_of(text("dev")), run).one("AiEndpoint").inputs["deletionPolicy"]
    assert (kept, gone) == ("PREVENT", "DELETE")


def test_a_first_preview_needs_nothing_that_only_google_knows(plan_of: Plan, run: Run) -> None:
    recorded = played(plan_of(text()), run, preview=True)
    assert recorded.one("ModelDeployment").inputs["machineType"] == "n1-standard-8"


def test_children_have_their_component_as_parent(recorded: Recorder) -> None:
    for kind in ("AiEndpoint", "AiEndpointIamMember", "Model", "ModelDeployment"):
        assert recorded.one(kind).parent.endswith("llm:index:VertexServing::chat")
    assert recorded.one("AiMetadataStore").parent.endswith("llm:index:MetadataStore::metadata")
