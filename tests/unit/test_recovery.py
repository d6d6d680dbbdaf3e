"""What recovery decides without an engine: ids, whose a resource is, which versions are doubled."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest

from llmstack.recovery.foresight import Foresight, Wanted
from llmstack.recovery.ids import (
    ID_FORMS,
    IDEMPOTENT,
    SECRET_VERSION,
    UNKNOWN,
    import_id,
    is_idempotent,
    is_ours,
)
from llmstack.recovery.look import Probe, Sighting, own_plugins
from llmstack.recovery.versions import SecretSeen, judge, secrets_to_look_at
from providers.modelops.provider import RESOURCES
from providers.modelops.vertexai.names import shown_name
from providers.modelops.vertexai.resource import VertexResource
from rehearsal.standins.gcp.models import MODELS
from rehearsal.standins.sdk import resource_type

BUCKET = "gcp:storage/bucket:Bucket"
LABELS = {"stack": "dev", "managed-by": "llmstack"}
SECRET = "projects/p/secrets/s"
OWN = {token: made for token, made in RESOURCES.items() if issubclass(made, VertexResource)}
PROVIDER = "urn:pulumi:dev::llm::pulumi:providers:gcp::default"


@pytest.mark.parametrize("type_", ID_FORMS)
def test_every_id_is_made_of_inputs_that_the_type_has(type_: str) -> None:
    form = ID_FORMS[type_]
    names = {name for _, name, _, _ in string.Formatter().parse(form.form) if name} - {"number", "mark"}
    own = OWN.get(type_)
    known = set(own.inputs_type.names()) if own else set(resource_type(type_).inputs)
    assert names <= known
    assert not form.marks or form.marks in known


def test_every_modelled_type_is_recovered_or_may_be_created_twice() -> None:
    every = [*MODELS, *OWN, "modelops:index:StagedModel"]
    assert [each for each in every if each not in ID_FORMS and not is_idempotent(each)] == []
    assert ID_FORMS.keys().isdisjoint(IDEMPOTENT)


@pytest.mark.parametrize("name", [UNKNOWN, f"prefix-{UNKNOWN}", None, ""])
def test_an_id_is_not_guessed_from_what_is_not_known(name: str | None) -> None:
    assert import_id(BUCKET, {"project": "p", "name": name}) is None
    assert import_id(BUCKET, {"project": "p", "name": "b"}) == "p/b"


def test_a_look_uses_the_plugins_that_the_project_has_in_folders_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text(
        "name: llm\nplugins: {providers: [{name: modelops, path: ./providers/modelops}]}"
    )
    path = str(tmp_path / "providers" / "modelops")
    assert own_plugins(tmp_path) == {"providers": [{"name": "modelops", "path": path}]}
    (tmp_path / "Pulumi.yaml").write_text("name: llm")
    assert own_plugins(tmp_path) == {}


def test_a_deployment_is_looked_for_under_the_name_that_the_provider_shows() -> None:
    urn = "urn:pulumi:dev::llm::llm:index:VertexServing$modelops:vertex:ModelDeployment::assistant-deployment"
    endpoint = "projects/p/locations/us-central1/endpoints/7"
    id = import_id("modelops:vertex:ModelDeployment", {"endpoint": endpoint, "displayName": "bot"}, urn)
    assert id == f"{endpoint}/deployedModels/{shown_name('bot', urn)}"
    assert (
        import_id("modelops:vertex:ModelDeployment", {"endpoint": UNKNOWN, "displayName": "b"}, urn) is None
    )


@pytest.mark.parametrize(
    ("outputs", "ours"),
    [
        ({"effectiveLabels": {**LABELS, "goog-managed": "yes"}}, True),
        ({"effectiveLabels": LABELS, "labels": {}}, True),
        ({"effectiveLabels": {**LABELS, "stack": "prod"}}, False),
        ({"labels": {"managed-by": "llmstack"}}, False),
        ({}, False),
    ],
)
def test_a_resource_is_a_stacks_own_when_it_carries_all_its_labels(
    outputs: dict[str, Any], ours: bool
) -> None:
    assert is_ours(BUCKET, {"labels": LABELS}, outputs) is ours


def test_an_account_has_no_labels_and_is_known_by_its_display_name() -> None:
    account = "gcp:serviceaccount/account:Account"
    assert is_ours(
        account, {"displayName": "Serves a of stack dev"}, {"displayName": "Serves a of stack dev"}
    )
    assert not is_ours(account, {"displayName": "Serves a of stack dev"}, {"displayName": "mine"})


def test_nothing_that_exists_is_taken_for_a_resource_without_a_mark() -> None:
    assert not is_ours(BUCKET, {}, {})
    assert not is_ours(BUCKET, {"labels": {}}, {"effectiveLabels": LABELS})


def version(number: int) -> Probe:
    return Probe(SECRET_VERSION, f"{SECRET}/versions/{number}", PROVIDER)


def seen(payload: str, *, enabled: bool = True) -> Sighting:
    return Sighting("id", {"secretData": payload, "enabled": enabled})


def test_the_newest_enabled_version_is_adopted_and_only_its_doubles_are_removed() -> None:
    secret = SecretSeen("urn", "name", None, tuple(version(number) for number in range(1, 6)))
    found = {
        version(1): seen("old"),
        version(2): seen("token"),
        version(3): seen("token", enabled=False),
        version(4): seen("token"),
    }
    verdict = judge(secret, found)
    assert verdict.adopt == version(4)
    assert verdict.duplicates == (version(2),)
    assert verdict.others == (version(1),)


def test_the_version_that_the_state_has_is_kept_though_a_newer_one_is_there() -> None:
    secret = SecretSeen("urn", "name", version(1), (version(1), version(2)))
    verdict = judge(secret, {version(1): seen("token"), version(2): seen("token")})
    assert (verdict.adopt, verdict.duplicates) == (None, (version(2),))


def test_a_payload_that_cannot_be_read_makes_no_version_a_double() -> None:
    unreadable = Sighting("id", {"enabled": True})
    secret = SecretSeen("urn", "name", version(1), (version(1), version(2)))
    verdict = judge(secret, {version(1): unreadable, version(2): unreadable})
    assert verdict.duplicates == ()
    assert verdict.others == (version(2),)


def test_versions_of_a_secret_that_is_not_there_yet_are_not_looked_for() -> None:
    inputs = {"secret": UNKNOWN}
    wanted = Wanted("urn", SECRET_VERSION, "token", "", PROVIDER, inputs, component=False)
    (secret,) = secrets_to_look_at(Foresight({"urn": wanted}), [])
    assert secret.probes == ()


def test_versions_beside_the_states_own_are_looked_at() -> None:
    state = {
        "urn": "a::b",
        "type": SECRET_VERSION,
        "id": f"{SECRET}/versions/12",
        "provider": f"{PROVIDER}::1",
    }
    (secret,) = secrets_to_look_at(Foresight(), [state])
    assert secret.known == version(12)
    assert [probe.id.rpartition("/")[2] for probe in secret.probes] == [str(n) for n in range(4, 21)]


# --- Objects in a cluster ---

CLUSTER_PROVIDER = "urn:pulumi:dev::llm::llm:index:TpuCluster$pulumi:providers:kubernetes::cluster-kubernetes"
DEPLOYMENT, NAMESPACE = "kubernetes:apps/v1:Deployment", "kubernetes:core/v1:Namespace"


def object_(**metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata}


def test_an_object_is_known_by_its_namespace_and_name() -> None:
    assert import_id(DEPLOYMENT, object_(namespace="dev-a", name="server")) == "dev-a/server"
    assert import_id("kubernetes:networking.gke.io/v1:GCPBackendPolicy", object_(namespace="n", name="s"))
    assert import_id(NAMESPACE, object_(name="dev-a")) == "dev-a"
    assert import_id(DEPLOYMENT, object_(namespace="dev-a", name=UNKNOWN)) is None
    assert import_id(DEPLOYMENT, {"metadata": UNKNOWN}) is None


def test_an_object_is_a_stacks_own_when_it_carries_all_its_labels() -> None:
    wanted = object_(name="dev-a", labels=LABELS)
    assert is_ours(NAMESPACE, wanted, object_(name="dev-a", labels={**LABELS, "added": "by-gke"}))
    assert not is_ours(NAMESPACE, wanted, object_(name="dev-a", labels={"stack": "prod"}))
    assert not is_ours(NAMESPACE, wanted, object_(name="dev-a"))
    assert not is_ours(NAMESPACE, object_(name="dev-a"), object_(name="dev-a", labels=LABELS))


@pytest.mark.parametrize(("kubeconfig", "can"), [("{}", True), (UNKNOWN, False)])
def test_objects_of_a_cluster_that_the_state_does_not_have_are_not_asked_for(
    kubeconfig: str, can: bool
) -> None:
    wanted = Wanted("urn", NAMESPACE, "n", "", CLUSTER_PROVIDER, object_(name="n"), component=False)
    foresight = Foresight({"urn": wanted}, {CLUSTER_PROVIDER: {"kubeconfig": kubeconfig}})
    assert foresight.can_ask(wanted) is can
