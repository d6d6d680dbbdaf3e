"""What a plan becomes: types, parents, secrets, absence."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from stacks.plan.types import StackPlan
from stacks.stack import build_stack
from tests.components.conftest import ROOT, Plan, Recorder

STACK = """
  gcp:project: acme-ml-dev
  gcp:region: us-central1
  llm:environment: {environment}
  llm:deployments:
    assistant:
      topology: cloud-run
      model: {model}
"""

Run = Callable[[Callable[[], object]], Recorder]


def text(environment: str = "dev", model: str = "google/flan-t5-small", extra: str = "") -> str:
    return STACK.format(environment=environment, model=model) + extra


@pytest.fixture
def recorded(plan_of: Plan, run: Run) -> Recorder:
    plan = plan_of(text())
    return run(lambda: build_stack(plan))


def test_one_deployment_makes_these_resources_and_no_others(recorded: Recorder) -> None:
    names = {r.name for r in recorded.resources if r.type.startswith(("gcp:", "docker-build:", "modelops:"))}
    apis = {n for n in names if n.startswith("foundation-api-")}
    assert {"foundation-api-run", "foundation-api-storage", "foundation-api-iam"} <= apis
    assert names - apis == {
        "foundation-images",
        "foundation-models",
        "image-serve-build",
        "image-weights-build",
        "assistant-weights-account",
        "assistant-weights-writes-bucket",
        "assistant-weights-job",
        "assistant-weights-staged",
        "assistant-account",
        "assistant-reads-bucket",
        "assistant-service",
    }


def test_no_component_makes_an_invoke(recorded: Recorder) -> None:
    assert recorded.calls == []


def test_every_resource_has_its_component_as_parent(recorded: Recorder) -> None:
    for resource in recorded.resources:
        if resource.type == "pulumi:pulumi:Stack":
            continue
        expected = {
            "foundation": "Foundation",
            "image": "ContainerImage",
        }.get(resource.name.split("-")[0], "CloudRunServing")
        if resource.name.startswith("assistant-weights-"):
            expected = "ModelWeights"
        if resource.type.startswith("llm:"):
            continue
        assert resource.parent.split("::")[2].endswith(expected), resource


def test_apis_are_never_disabled_on_destroy(recorded: Recorder) -> None:
    services = [r for r in recorded.of("Service") if r.type == "gcp:projects/service:Service"]
    assert services
    assert all(r.inputs["disableOnDestroy"] is False for r in services)


def test_the_bucket_is_private_and_cleans_up_abandoned_uploads(recorded: Recorder) -> None:
    bucket = recorded.one("Bucket").inputs
    assert bucket["uniformBucketLevelAccess"] is True
    assert bucket["publicAccessPrevention"] == "enforced"
    assert bucket["location"].lower() == "us-central1"
    assert bucket["lifecycleRules"][0]["action"]["type"] == "AbortIncompleteMultipartUpload"


def test_only_a_throwaway_environment_may_destroy_weights(plan_of: Plan, run: Run) -> None:
    def forced(environment: str) -> bool:
        plan = plan_of(text(environment=environment))
        return bool(run(lambda: build_stack(plan)).one("Bucket").inputs["forceDestroy"])

    assert {e: forced(e) for e in ("local", "dev", "staging", "prod")} == {
        "local": True,
        "dev": True,
        "staging": False,
        "prod": False,
    }


def test_grants_are_on_the_bucket_alone_and_as_small_as_the_work_allows(recorded: Recorder) -> None:
    grants = {
        (r.name, r.inputs["role"])
        for r in recorded.resources
        if "iam" in r.type.lower() and "role" in r.inputs
    }
    assert grants == {
        ("assistant-weights-writes-bucket", "roles/storage.objectUser"),
        ("assistant-reads-bucket", "roles/storage.objectViewer"),
    }


def test_the_service_is_private_and_reads_the_bucket_only(recorded: Recorder) -> None:
    (service,) = [r for r in recorded.of("Service") if r.type == "gcp:cloudrunv2/service:Service"]
    template = service.inputs["template"]
    assert template["executionEnvironment"] == "EXECUTION_ENVIRONMENT_GEN2"
    assert template["volumes"][0]["gcs"]["readOnly"] is True
    assert template["serviceAccount"].startswith("dev-") or "@" in template["serviceAccount"]
    assert template["containers"][0]["image"].endswith("@sha256:" + "a" * 64)
    assert recorded.of("ServiceIamMember") == []


def test_the_service_waits_for_the_weights_and_for_its_right_to_read_them(recorded: Recorder) -> None:
    (service,) = [r for r in recorded.of("Service") if r.type == "gcp:cloudrunv2/service:Service"]
    waits_for = {urn.split("::")[-1] for urn in service.dependencies}
    assert {"assistant-weights-staged", "assistant-reads-bucket"} <= waits_for


def test_named_invokers_are_granted_and_nobody_else(plan_of: Plan, run: Run) -> None:
    plan = plan_of(text(extra="      access: {invokers: ['user:a@example.com']}\n"))
    recorder = run(lambda: build_stack(plan))
    (grant,) = recorder.of("ServiceIamMember")
    assert (grant.inputs["role"], grant.inputs["member"]) == ("roles/run.invoker", "user:a@example.com")


def test_no_logical_or_physical_name_carries_the_model(plan_of: Plan, run: Run) -> None:
    def names(model: str) -> set[tuple[str, str, str]]:
        plan = plan_of(text(model=model))
        recorder = run(lambda: build_stack(plan))
        return {(r.type, r.name, str(r.inputs.get("name"))) for r in recorder.resources}

    assert names("google/flan-t5-small") == names("gpt2")


def test_a_hub_token_is_a_secret_input_and_reaches_the_job_by_reference(plan_of: Plan, run: Run) -> None:
    plan = plan_of("  llm:hubToken: {secure: AAAA}" + text())
    recorder = run(lambda: build_stack(plan, "hf_canary"))
    version = recorder.one("SecretVersion")
    assert version.secrets == {"secretData"}
    others = [r for r in recorder.resources if r is not version]
    assert "hf_canary" not in str([r.inputs for r in others])
    envs = recorder.one("Job").inputs["template"]["template"]["containers"][0]["envs"]
    (token,) = [env for env in envs if env["name"] == "HF_TOKEN"]
    assert "value" not in token
    assert token["valueSource"]["secretKeyRef"]["version"] == "latest"
    assert recorder.one("SecretIamMember").inputs["role"] == "roles/secretmanager.secretAccessor"


def test_an_existing_secret_is_referred_to_and_not_created(plan_of: Plan, run: Run) -> None:
    plan = plan_of("  llm:hubTokenSecret: projects/acme-ml-dev/secrets/hf" + text())
    recorder = run(lambda: build_stack(plan))
    assert recorder.of("Secret") == []
    assert recorder.of("SecretVersion") == []
    assert recorder.one("SecretIamMember").inputs["secretId"] == "projects/acme-ml-dev/secrets/hf"


def test_an_image_given_by_digest_is_not_built(plan_of: Plan, run: Run) -> None:
    digest = "sha256:" + "b" * 64
    plan = plan_of(f"  llm:images: {{serve: {{digest: '{digest}'}}}}" + text())
    recorder = run(lambda: build_stack(plan))
    assert [r.name for r in recorder.of("Image")] == ["image-weights-build"]
    (service,) = [r for r in recorder.of("Service") if r.type == "gcp:cloudrunv2/service:Service"]
    assert service.inputs["template"]["containers"][0]["image"].endswith(f"/serve@{digest}")


def test_protection_follows_the_environment(plan_of: Plan, run: Run) -> None:
    def protected(environment: str) -> dict[str, bool]:
        plan = plan_of(text(environment=environment))
        recorder = run(lambda: build_stack(plan))
        return {
            r.name: r.inputs["deletionProtection"]
            for r in recorder.resources
            if "deletionProtection" in r.inputs
        }

    assert set(protected("dev").values()) == {False}
    # A job holds nothing, and a switch of the runner has to remove it.
    assert {name for name, held in protected("prod").items() if not held} == {"assistant-weights-job"}


def test_images_end_at_their_own_folder_and_are_not_built_in_a_preview(recorded: Recorder) -> None:
    for image in recorded.of("Image"):
        assert image.inputs["context"]["location"] in {"images/serve", "images/weights"}
        assert image.inputs["buildOnPreview"] is False
        assert image.inputs["push"] is True
        assert "registries" not in image.inputs


def modules() -> list[str]:
    found = []
    for package in ("stacks", "providers", "rehearsal", "llmstack"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] not in {"__main__", "make_models"}:
                found.append(".".join(parts).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("module", modules())
def test_importing_a_module_needs_no_engine(module: str) -> None:
    assert importlib.import_module(module)


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


FORBIDDEN = {
    "stacks/plan": ("pulumi", "stacks.components", "stacks.topologies", "rehearsal", "llmstack", "providers"),
    "stacks/components": ("stacks.topologies", "stacks.config", "rehearsal", "llmstack", "providers"),
    "stacks/topologies": ("stacks.config", "rehearsal", "llmstack", "providers"),
    "providers": ("stacks", "rehearsal", "llmstack"),
    "images": ("stacks", "rehearsal", "llmstack", "providers"),
    "rehearsal": ("stacks.components", "stacks.topologies", "llmstack"),
}


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_folder_imports_only_what_its_place_allows(folder: str) -> None:
    files = [p for p in (ROOT / folder).rglob("*.py") if ".venv" not in p.parts]
    assert files
    for path in files:
        wrong = {
            name
            for name in imported(path)
            for forbidden in FORBIDDEN[folder]
            if name == forbidden or name.startswith(f"{forbidden}.")
        }
        assert not wrong, f"{path} imports {wrong}"


def test_the_program_is_short() -> None:
    assert len((ROOT / "__main__.py").read_text(encoding="utf-8").splitlines()) <= 40


def test_a_plan_for_a_stack_is_frozen(plan_of: Plan) -> None:
    plan: StackPlan = plan_of(text())
    with pytest.raises(AttributeError):
        plan.stack = "other"  # type: ignore[misc]
