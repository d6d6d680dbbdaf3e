"""`llmstack ask` through a real API server: the plan's own objects, a pod that the real scheduler placed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, AppsV1Api, CoreV1Api, RbacAuthorizationV1Api
from kubernetes.client import models as kube
from kubernetes.utils import create_from_dict

from llmstack.client import AskError
from llmstack.client_apis import open_chat
from llmstack.client_chat import Sampling, user
from llmstack.client_cluster import ClusterTarget
from providers.base.errors import ProviderError
from providers.modelops.client import Google
from providers.modelops.kubernetes_access import Cluster, ClusterAccess
from rehearsal.cluster.api import connect
from rehearsal.cluster.engine_stub import answer
from stacks.config import from_stack_file
from stacks.plan import build_plan
from stacks.plan.types_gke import GkeTpuPlan
from tests.kubernetes.nodes import Plane, Pool
from tests.kubernetes.stage import until
from tests.unit.scripted_engines import MODEL
from tests.unit.tpu_project import make_project

SENT = ("namespace", "server-account", "service", "deployment")
"""What has to do with asking."""


class City:
    """Deployments in a control plane that other tests use too.

    Args:
        plane: has nodes where a test says so.
    """

    def __init__(self, plane: Plane) -> None:
        self.control, self.admin, self.nodes = plane.control, plane.admin, plane.nodes
        self._spaces: list[str] = []

    def client(self) -> ApiClient:
        """An administrator's."""
        return connect(self.admin)

    def send(self, plan: GkeTpuPlan) -> None:
        """Put a deployment into it."""
        self._spaces.append(plan.namespace)
        for name in SENT:
            manifest = json.loads(json.dumps(plan.object(name).manifest, default=dict))
            if name == "deployment":
                # As many as the test has nodes for.
                manifest["spec"]["replicas"] = 1
            create_from_dict(self.client(), manifest)

    def ask(self, plan: GkeTpuPlan, kubeconfig: Path | None = None) -> str:
        """What the command does, without its words around it."""
        access = ClusterAccess(kubeconfig=str(kubeconfig or self.admin))
        with (
            ClusterTarget(access, plan, MODEL, True).open() as deployment,
            open_chat(deployment, lambda _: None) as chat,
        ):
            return chat.reply([user("How old are you?")], Sampling(), lambda _: None).text

    def clear(self) -> None:
        """Leave no pod that another test's node would take."""
        core, apps = CoreV1Api(self.client()), AppsV1Api(self.client())
        for space in self._spaces:
            # Its namespace stays: the controller of those lets each wait for five seconds.
            apps.delete_collection_namespaced_deployment(space)
            until("the end of the pods", lambda space=space: not core.list_namespaced_pod(space).items)
        self.nodes.keep([])


@pytest.fixture
def city(plane: Plane) -> Iterator[City]:
    """Without deployments."""
    city = City(plane)
    yield city
    city.clear()


def planned(folder: Path, engine: str, name: str) -> GkeTpuPlan:
    """The plan of a deployment, in a namespace that no other test has."""
    made = make_project(folder / engine, engine=engine)
    text = (made / "Pulumi.dev.yaml").read_text().replace("    llama:", f"    {name}:")
    (made / "Pulumi.dev.yaml").write_text(text)
    return build_plan(from_stack_file(made / "Pulumi.dev.yaml")).on_tpu[name]


@pytest.mark.parametrize("engine", ["jetstream", "vllm-tpu"])
def test_a_placed_pod_answers_and_one_without_a_node_is_told_in_the_scheduler_s_words(
    city: City, tmp_path: Path, engine: str
) -> None:
    plan = planned(tmp_path, engine, f"ask-{engine}")
    city.nodes.keep([])
    city.send(plan)

    def refusal() -> str:
        with pytest.raises(AskError) as caught:
            city.ask(plan)
        return str(caught.value)

    until("the scheduler's word", lambda: "Unschedulable" in refusal())
    pending = refusal()
    assert f"no pod of {plan.deployment} is ready: " in pending
    assert " is Pending (Unschedulable: no nodes available to schedule pods" in pending
    pool = plan.pool
    city.nodes.keep(Pool(pool.name, pool.machine_type, zone=pool.zone).specs())
    core = CoreV1Api(city.client())
    until("a running pod", lambda: _running(core, plan.namespace))
    assert city.ask(plan).strip() == answer("How old are you?")


def test_who_has_the_role_that_is_named_may_ask_and_nobody_else_may(city: City, tmp_path: Path) -> None:
    plan = planned(tmp_path, "jetstream", "roles")
    city.send(plan)
    pool = plan.pool
    city.nodes.keep(Pool(pool.name, pool.machine_type, zone=pool.zone).specs())
    until("a running pod", lambda: _running(CoreV1Api(city.client()), plan.namespace))
    asker = city.control.kubeconfig("asker", "asker")
    with pytest.raises(AskError, match=r"refused \(403\); you need roles/container\.developer"):
        city.ask(plan, asker)
    rules = [
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["create", "get"]},
    ]
    roles, group = RbacAuthorizationV1Api(city.client()), "rbac.authorization.k8s.io"
    role = kube.V1Role.model_validate({"metadata": {"name": "asker"}, "rules": rules})
    roles.create_namespaced_role(plan.namespace, role)
    binding = {
        "metadata": {"name": "asker"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "asker"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "asker"}],
    }
    roles.create_namespaced_role_binding(plan.namespace, kube.V1RoleBinding.model_validate(binding))

    def asked() -> str:
        try:
            return city.ask(plan, asker)
        except AskError:
            # The authorizer learns of a new role by watching.
            return ""

    assert until("the answer", asked) == answer("How old are you?")


class Stranger:
    """Google's credentials of somebody whom the cluster does not know."""

    valid = True
    token = "unknown"


def test_a_stream_is_trusted_by_the_cluster_s_own_certificate_as_gke_gives_it(city: City) -> None:
    own = base64.b64encode(city.control.authority.pem).decode()
    google = Google(threading.Event(), credentials=Stranger())
    path = "/api/v1/namespaces/default/pods/any/portforward"
    for certificate, words in (
        (own, "does not know the caller"),
        ("", "has a certificate that is not trusted"),
    ):
        access = ClusterAccess(endpoint=city.control.endpoint, ca_certificate=certificate)
        with pytest.raises(ProviderError, match=words):
            Cluster(access, google).connect("asking", path, [("ports", "8000")])


def _running(core: CoreV1Api, namespace: str) -> bool:
    listed: Any = core.list_namespaced_pod(namespace)
    return any(pod.status.phase == "Running" for pod in listed.items)
