"""The type check against the installed SDK's real classes."""

from __future__ import annotations

from typing import Any

import pytest

from providers.base.values import UNKNOWN, Secret
from rehearsal.standins import sdk
from rehearsal.standins.gcp.models import MODELS
from rehearsal.standins.sdk import resource_type, sdk_version
from rehearsal.standins.typecheck import check_types

SERVICE = "gcp:cloudrunv2/service:Service"
IMAGE = "docker-build:index:Image"
OBJECT = "gcp:storage/bucketObject:BucketObject"


def _check(token: str, inputs: dict[str, Any]) -> list[str]:
    return check_types(resource_type(token).inputs, inputs)


def _service(container: dict[str, Any]) -> dict[str, Any]:
    return {"location": "us-central1", "template": {"containers": [{"image": "i", **container}]}}


@pytest.mark.parametrize(
    ("token", "inputs", "failures"),
    [
        (SERVICE, _service({}), []),
        (SERVICE, {"template": {}}, ["location: required property is missing"]),
        (SERVICE, {"location": None, "template": {}}, ["location: required property is missing"]),
        (SERVICE, {"location": 1, "template": {}}, ["location: expected string, got int"]),
        (SERVICE, {"location": "l", "template": []}, ["template: expected object, got list"]),
        (
            SERVICE,
            {"location": "l", "template": {}, "deletion_protection": True},
            ["deletion_protection: unknown property (did you mean deletionProtection?)"],
        ),
        (
            SERVICE,
            _service({"envs": [{"value": "v"}]}),
            ["template.containers[0].envs[0].name: required property is missing"],
        ),
        (
            SERVICE,
            _service({"envs": [{"name": "n", "value": True}]}),
            ["template.containers[0].envs[0].value: expected string, got bool"],
        ),
        (
            SERVICE,
            _service({"ports": {"containerPort": "8080"}}),
            ["template.containers[0].ports.containerPort: expected int, got string"],
        ),
        (
            SERVICE,
            _service({"ports": {"containerPort": True}}),
            ["template.containers[0].ports.containerPort: expected int, got bool"],
        ),
        (
            SERVICE,
            _service({"resources": {"limits": {"cpu": 2}}}),
            ["template.containers[0].resources.limits.cpu: expected string, got int"],
        ),
        (
            SERVICE,
            _service({"args": ["a", None]}),
            ["template.containers[0].args[1]: expected string, got null"],
        ),
        (IMAGE, {"push": True, "network": "host"}, []),
        (
            IMAGE,
            {"push": True, "network": "lan"},
            ["network: expected one of default, host, none, got 'lan'"],
        ),
        (IMAGE, {"push": "yes"}, ["push: expected bool, got string"]),
        (IMAGE, {}, ["push: required property is missing"]),
        (OBJECT, {"bucket": "b", "source": 5}, ["source: expected Asset or Archive, got int"]),
    ],
)
def test_types_are_those_of_the_sdk(token: str, inputs: dict[str, Any], failures: list[str]) -> None:
    assert _check(token, inputs) == failures


def test_unknown_values_pass_at_any_depth() -> None:
    assert _check(SERVICE, {"location": UNKNOWN, "template": UNKNOWN}) == []
    assert (
        _check(SERVICE, _service({"image": UNKNOWN, "envs": UNKNOWN, "ports": {"containerPort": UNKNOWN}}))
        == []
    )


def test_secrets_are_looked_into_and_never_printed() -> None:
    (failure,) = _check(SERVICE, _service({"envs": [{"name": "n", "value": Secret(["PLANTED"])}]}))
    assert failure == "template.containers[0].envs[0].value: expected string, got list"


def test_all_failures_come_at_once() -> None:
    failures = _check(SERVICE, {"template": {"timeout": 3, "containers": [{"images": "i"}]}})
    assert [failure.partition(":")[0] for failure in failures] == [
        "template.timeout",
        "template.containers[0].images",
        "template.containers[0].image",
        "location",
    ]


@pytest.mark.parametrize("token", sorted([*MODELS, IMAGE]))
def test_every_modelled_type_is_one_of_the_sdk(token: str) -> None:
    found = resource_type(token)
    assert found.inputs
    assert found.filled <= found.inputs.keys()


def test_what_the_sdk_says_of_secrets_and_computed_outputs_is_read() -> None:
    version = resource_type("gcp:secretmanager/secretVersion:SecretVersion")
    assert version.secret_outputs == ("secretData", "secretDataWo")
    assert "uri" in resource_type(SERVICE).computed
    assert "ingress" in resource_type(SERVICE).filled
    assert sdk_version("gcp").count(".") == 2


@pytest.mark.parametrize("token", ["gcp:cloudrunv2/service:Servce", "gcp:cloudrunv2/servce:Service"])
def test_a_type_that_the_sdk_lacks_is_a_key_error(token: str) -> None:
    with pytest.raises(KeyError, match=token):
        resource_type(token)


def test_an_sdk_whose_constructors_name_no_arguments_is_a_key_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "is_input_class", lambda _: False)
    with pytest.raises(KeyError, match="Service has no arguments class"):
        resource_type.__wrapped__(SERVICE)
