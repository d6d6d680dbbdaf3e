"""What the tests of the tier work with: a rehearsed cloud with a cluster, and a namespace of it."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
from kubernetes.client import BatchV1Api, CoreV1Api, RbacAuthorizationV1Api, V1DeleteOptions
from kubernetes.client import models as kube

from providers.base.provider import CreateRequest, CreateResponse
from providers.modelops.client import Google
from providers.modelops.kubernetes_definition import KubernetesDefinition
from providers.modelops.kubernetes_jobs import KubernetesJobs, object_name
from providers.modelops.provider import ModelopsProvider
from providers.modelops.runners import Execution, Work
from rehearsal.cluster.api import connect
from rehearsal.cluster.client import RehearsedCluster
from rehearsal.world import DEPLOYER
from stacks.plan.catalog import catalog
from stacks.plan.contracts import weights_contract
from tests.engine.troubled_hub import TroubledHub
from tests.unit.cloud_world import ACCOUNT, BUCKET, LOCATION, PROJECT, REGION, Running

CHECKOUT = Path(__file__).resolve().parents[2]
CLUSTER = f"{LOCATION}/clusters/llm"
WEIGHTS_DIGEST = "sha256:" + "cd" * 32
WEIGHTS_IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/containers/weights@{WEIGHTS_DIGEST}"
MODEL = "google/flan-t5-small"
TYPE = "modelops:index:StagedModel"
KSA = "weights"
LONGEST_SECONDS = 120.0
LOOPBACK = {"127.0.0.1", "::1"}
_GROUP = "rbac.authorization.k8s.io"
RULES = (
    ("batch", "jobs", ["get", "create", "delete"]),
    ("", "pods", ["list"]),
    ("", "events", ["list"]),
)
"""What whoever deploys needs in the namespace, and no more."""


class Town:
    """A rehearsed cloud whose Artifact Registry has the weights image, and a cluster in it.

    Args:
        folder: the world's folder, not there yet.
        hub: where models come from.
    """

    def __init__(self, folder: Path, hub: TroubledHub) -> None:
        self._running = Running(folder)
        self.folder, self.world, self.hub = folder, self._running.world, hub
        self.cloud = self._running.base_url
        self.world.set_setting("hub_endpoint", hub.address)
        self._add_image()
        self.cluster = RehearsedCluster(folder, CLUSTER)
        client = connect(self.cluster.kubeconfig)
        self.core, self.batch = CoreV1Api(client), BatchV1Api(client)
        self.roles = RbacAuthorizationV1Api(client)

    def stop(self) -> None:
        """Stop the cluster and the cloud."""
        self.cluster.stop()
        self._running.stop()

    def _add_image(self) -> None:
        context = CHECKOUT / "images/weights"
        snapshot = self.folder / "images" / WEIGHTS_DIGEST.removeprefix("sha256:")
        snapshot.mkdir(parents=True)
        for name in ("Dockerfile", "contract.json"):
            shutil.copy(context / name, snapshot)
        shutil.copytree(context / "src", snapshot / "src", ignore=shutil.ignore_patterns("__pycache__"))
        images = f"artifactregistry.googleapis.com/{LOCATION}/repositories/containers/dockerImages"
        body = {"uri": WEIGHTS_IMAGE, "digest": WEIGHTS_DIGEST, "context": str(context), "tags": ["v1"]}
        self.world.insert("artifactregistry.image", f"{images}/weights@{WEIGHTS_DIGEST}", body)


class Stage:
    """A namespace with the job's service account, where the deployer may do what the documentation says.

    Args:
        town: where it is.
        namespace: its name, which no other test has.
    """

    def __init__(self, town: Town, namespace: str) -> None:
        self.town, self.namespace = town, namespace
        self.job = f"{CLUSTER}/k8s/namespaces/{namespace}/jobs/assistant"
        self.label = namespace.replace("llm-", "0123456789abcde")
        self.prefix = f"models/{namespace}"
        strictest = {"pod-security.kubernetes.io/enforce": "restricted"}
        town.core.create_namespace(_of(kube.V1Namespace, name=namespace, labels=strictest))
        identity = {"iam.gke.io/gcp-service-account": ACCOUNT}
        town.core.create_namespaced_service_account(
            namespace, _of(kube.V1ServiceAccount, name=KSA, annotations=identity)
        )
        member = f"serviceAccount:{PROJECT}.svc.id.goog[{namespace}/{KSA}]"
        account = f"iam.googleapis.com/projects/{PROJECT}/serviceAccounts/{ACCOUNT}"
        town.world.bind(account, "roles/iam.workloadIdentityUser", member)

    def allow(self) -> None:
        """Let the deployer run jobs here."""
        rules = [{"apiGroups": [group], "resources": [kind], "verbs": v} for group, kind, v in RULES]
        role = {"apiGroup": _GROUP, "kind": "Role", "name": "deployer"}
        user = {"apiGroup": _GROUP, "kind": "User", "name": DEPLOYER.partition(":")[2]}
        roles = self.town.roles
        roles.create_namespaced_role(self.namespace, _of(kube.V1Role, name="deployer", rules=rules))
        binding = _of(kube.V1RoleBinding, name="deployer", roleRef=role, subjects=[user])
        roles.create_namespaced_role_binding(self.namespace, binding)

    def definition(self, **more: Any) -> dict[str, Any]:
        """What to run, as the resource carries it: by the cluster's address and the deployer's own token."""
        model = catalog()[MODEL]
        cluster = self.town.cluster
        return {
            "image": WEIGHTS_IMAGE,
            "args": [
                weights_contract().command,
                *("--repo", MODEL, "--revision", model.revision),
                *("--target", f"gs://{BUCKET}/{self.prefix}"),
                *("--format", "safetensors", "--dtype", model.checkpoint_dtype),
            ],
            "serviceAccount": KSA,
            "timeoutSeconds": 600,
            "labels": {"stack": "test"},
            "cluster": {"endpoint": cluster.endpoint, "caCertificate": cluster.ca_certificate},
            **more,
        }

    def inputs(self, **more: Any) -> dict[str, Any]:
        """Inputs of a `StagedModel`."""
        model = catalog()[MODEL]
        return {
            "job": self.job,
            "target": f"gs://{BUCKET}/{self.prefix}",
            "repository": MODEL,
            "revision": model.revision,
            "format": "safetensors",
            "dtype": model.checkpoint_dtype,
            "targetLabel": self.label,
            "retain": True,
            "definition": self.definition(**more),
        }

    def create(self, **more: Any) -> CreateResponse:
        """What the engine asks of the provider when the resource is new."""
        urn = f"urn:pulumi:dev::llm::{TYPE}::assistant"
        request = CreateRequest(urn, TYPE, "assistant", self.inputs(**more), timeout=LONGEST_SECONDS)
        return asyncio.run(ModelopsProvider().create(request))

    def work(self, **more: Any) -> Work:
        """The same for the runner alone."""
        return Work(self.job, self.label, KubernetesDefinition.model_validate(self.definition(**more)))

    def jobs(self) -> list[str]:
        """Uids of the namespace's Jobs."""
        return [job.metadata.uid for job in self.town.batch.list_namespaced_job(self.namespace).items]

    def pods(self) -> list[Any]:
        """The namespace's pods."""
        return list(self.town.core.list_namespaced_pod(self.namespace).items)

    def delete_job(self) -> None:
        """What a person does by `kubectl delete job`."""
        self.town.batch.delete_namespaced_job(
            object_name(self.label), self.namespace, body=V1DeleteOptions(propagation_policy="Background")
        )

    def objects(self) -> dict[str, int]:
        """What lies at the target: sizes in bytes by name."""
        folder = self.town.world.objects.create_bucket(BUCKET) / self.prefix
        return {path.name: path.stat().st_size for path in folder.glob("*")} if folder.exists() else {}

    def clear(self) -> None:
        """Remove the namespace; what runs in it ends."""
        self.town.core.delete_namespace(self.namespace)


def runner() -> KubernetesJobs:
    """The runner, with the credentials that the environment names."""
    return KubernetesJobs(Google(threading.Event()))


def until(what: str, true: Callable[[], Any]) -> Any:
    """Wait for something, and give it."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (found := true()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.2)
    return found


def listening(processes: Iterable[psutil.Process]) -> set[str]:
    """The addresses at which processes take connections."""
    connections = [each for process in processes for each in process.net_connections("tcp")]
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


def finished(runner: KubernetesJobs, execution: Execution) -> Execution:
    """The execution at its end."""
    return until("the end of the job", lambda: (now := runner.execution(execution.name)).done and now)


def _of(kind: Any, name: str, **more: Any) -> Any:
    meta = {key: more.pop(key) for key in ("labels", "annotations") if key in more}
    return kind.model_validate({"metadata": {"name": name, **meta}, **more})
