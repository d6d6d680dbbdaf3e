"""Which changes replace a resource, and what the program need not give because Google fills it in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from providers.base.paths import format_path, parse_path
from providers.base.provider import DiffRequest, DiffResponse
from providers.base.values import Properties
from rehearsal.standins.gcp.provider import GcpStandin
from rehearsal.world import World
from tests.unit.standin_world import (
    ACCEPTED,
    ACCOUNT,
    API,
    BUCKET,
    CLUSTER,
    DISK,
    ENDPOINT,
    JOB,
    NAT,
    ON_ACCOUNT,
    ON_BUCKET,
    ON_ENDPOINT,
    ON_IAP,
    ON_JOB,
    ON_PROJECT,
    ON_REPOSITORY,
    ON_SECRET,
    ON_SERVICE,
    POOL,
    REPOSITORY,
    ROUTER,
    SECRET_TYPE,
    SERVICE,
    SNAPSHOT,
    STORE,
    VERSION,
)

REPLACES = {
    API: ("service", "project"),
    REPOSITORY: ("repositoryId", "location", "project", "format", "mode", "kmsKeyName"),
    BUCKET: (
        *("name", "location", "project", "hierarchicalNamespace"),
        *("enableObjectRetention", "customPlacementConfig"),
    ),
    ACCOUNT: ("accountId", "project"),
    SECRET_TYPE: ("secretId", "project", "replication"),
    VERSION: ("secret", "secretData", "secretDataWoVersion", "isSecretDataBase64"),
    SERVICE: ("name", "location", "project"),
    JOB: ("name", "location", "project"),
    ON_BUCKET: ("bucket", "role", "member"),
    ON_SECRET: ("secretId", "project", "role", "member"),
    ON_REPOSITORY: ("repository", "location", "project", "role", "member"),
    ON_SERVICE: ("name", "location", "project", "role", "member"),
    ON_JOB: ("name", "location", "project", "role", "member"),
    ON_ACCOUNT: ("serviceAccountId", "role", "member"),
    ON_PROJECT: ("project", "role", "member"),
    ON_IAP: ("project", "role", "member"),
    CLUSTER: (
        *("name", "location", "project", "network", "subnetwork", "initialNodeCount", "enableAutopilot"),
        *("ipAllocationPolicy", "networkingMode", "datapathProvider", "defaultMaxPodsPerNode"),
        *("confidentialNodes", "nodePools", "privateClusterConfig.enablePrivateNodes"),
        *("privateClusterConfig.masterIpv4CidrBlock", "privateClusterConfig.privateEndpointSubnetwork"),
        "masterAuth.clientCertificateConfig",
    ),
    POOL: (
        *("name", "cluster", "location", "project", "initialNodeCount", "maxPodsPerNode"),
        *("placementPolicy", "queuedProvisioning"),
        *(
            f"nodeConfig.{name}"
            for name in (
                *("serviceAccount", "oauthScopes", "spot", "preemptible", "flexStart", "maxRunDuration"),
                *("reservationAffinity", "shieldedInstanceConfig", "metadata", "secondaryBootDisks"),
                *("ephemeralStorageLocalSsdConfig", "guestAccelerators"),
            )
        ),
    ),
    DISK: ("name", "zone", "project", "type", "image", "snapshot", "physicalBlockSizeBytes"),
    SNAPSHOT: (
        *("name", "project", "sourceDisk", "zone", "description", "chainName", "storageLocations"),
        *("snapshotType", "guestFlush", "sourceInstantSnapshot", "sourceDiskEncryptionKey"),
    ),
    ROUTER: ("name", "region", "project", "network", "nccGateway", "encryptedInterconnectRouter"),
    NAT: ("name", "router", "region", "project", "type", "endpointTypes", "initialNatIps"),
    ON_ENDPOINT: ("endpoint", "location", "project", "role", "member"),
    ENDPOINT: (
        *("name", "location", "project", "network", "encryptionSpec", "dedicatedEndpointEnabled"),
        "privateServiceConnectConfig",
    ),
    STORE: ("name", "region", "project", "description", "encryptionSpec"),
}
CHANGES_IN_PLACE = {
    API: ("disableOnDestroy",),
    REPOSITORY: ("labels", "description", "cleanupPolicies"),
    BUCKET: ("labels", "lifecycleRules", "softDeletePolicy", "forceDestroy"),
    ACCOUNT: ("displayName", "description"),
    SECRET_TYPE: ("labels",),
    VERSION: ("deletionPolicy",),
    SERVICE: ("ingress", "labels", "template"),
    JOB: ("labels", "template"),
    CLUSTER: (
        *("deletionProtection", "releaseChannel", "resourceLabels", "workloadIdentityConfig"),
        *("privateClusterConfig.enablePrivateEndpoint", "masterAuth.clusterCaCertificate"),
    ),
    POOL: (
        *("nodeCount", "nodeLocations", "autoscaling", "management", "upgradeSettings", "version"),
        *(f"nodeConfig.{name}" for name in ("machineType", "diskType", "diskSizeGb", "labels", "taints")),
    ),
    DISK: ("labels", "size", "accessMode"),
    SNAPSHOT: ("labels",),
    ROUTER: ("description", "bgp"),
    NAT: ("natIpAllocateOption", "sourceSubnetworkIpRangesToNat", "logConfig"),
    ENDPOINT: ("displayName", "description", "labels", "trafficSplit", "predictRequestResponseLoggingConfig"),
}

_CONTAINER = ("name", "resources", "resources.limits", "resources.limits.*")
_PROBE = (
    *("periodSeconds", "timeoutSeconds", "failureThreshold"),
    *("httpGet.path", "httpGet.port", "grpc.port"),
)
FILLED = {
    SERVICE: (
        *("client", "clientVersion"),
        *(
            f"template.{name}"
            for name in (
                *("timeout", "maxInstanceRequestConcurrency", "serviceAccount", "executionEnvironment"),
                *("scaling", "scaling.maxInstanceCount"),
            )
        ),
        *(
            f"template.containers[*].{name}"
            for name in (
                *_CONTAINER,
                *("ports", "ports.name", "ports.containerPort", "startupProbe"),
                *(f"startupProbe.{name}" for name in (*_PROBE, "tcpSocket.port")),
                *(f"livenessProbe.{name}" for name in (*_PROBE, "tcpSocket.port")),
                *(f"readinessProbe.{name}" for name in _PROBE),
            )
        ),
    ),
    JOB: (
        *("client", "clientVersion", "template.taskCount", "template.parallelism"),
        *(
            f"template.template.{name}"
            for name in ("timeout", "maxRetries", "serviceAccount", "executionEnvironment")
        ),
        *(f"template.template.containers[*].{name}" for name in (*_CONTAINER, "resources.cpuIdle")),
    ),
    VERSION: ("enabled",),
    REPOSITORY: ("mode",),
    BUCKET: ("storageClass", "defaultEventBasedHold"),
    CLUSTER: (
        "controlPlaneEndpointsConfig.dnsEndpointConfig",
        "controlPlaneEndpointsConfig.dnsEndpointConfig.endpoint",
        "masterAuth.clusterCaCertificate",
        "privateClusterConfig.publicEndpoint",
        "privateClusterConfig.privateEndpoint",
    ),
    POOL: ("management.autoRepair", "management.autoUpgrade"),
}


def _each(table: dict[str, tuple[str, ...]]) -> list[Any]:
    return [
        pytest.param(token, path, id=f"{token}-{path}") for token, paths in table.items() for path in paths
    ]


@pytest.fixture
def standin(tmp_path: Path) -> GcpStandin:
    return GcpStandin("gcp", "10.2.0", World(tmp_path))


def _diff(standin: GcpStandin, token: str, old: Properties, new: Properties) -> DiffResponse:
    request = DiffRequest(f"urn:pulumi:dev::llm::{token}::r", token, "id", old, old, new)
    return asyncio.run(standin.diff(request))


def _holding(path: str, value: str | None) -> Any:
    """Properties with a value at a path, every other part of it as short as can be; None leaves it away."""
    holder: Any = value
    for step in reversed(parse_path(path)):
        if step == "*":
            # Only containers are lists here; any other wildcard is the key of a mapping.
            holder = [holder] if isinstance(holder, dict) and "cpu" not in holder else {"cpu": holder}
        elif holder is None:
            holder = {}
        else:
            holder = {step: holder}
    return holder


def test_the_tables_here_are_about_every_type() -> None:
    assert REPLACES.keys() == ACCEPTED.keys()


@pytest.mark.parametrize(("token", "path"), _each(REPLACES))
def test_a_change_of_what_cannot_change_replaces_the_resource(
    standin: GcpStandin, token: str, path: str
) -> None:
    assert list(_diff(standin, token, _holding(path, "before"), _holding(path, "after")).replaces) == [path]


@pytest.mark.parametrize(("token", "path"), _each(CHANGES_IN_PLACE))
def test_a_change_of_anything_else_is_made_in_place(standin: GcpStandin, token: str, path: str) -> None:
    answer = _diff(standin, token, _holding(path, "before"), _holding(path, "after"))
    assert [format_path(change.path) for change in answer.changes or ()] == [path]
    assert list(answer.replaces) == []


@pytest.mark.parametrize(("token", "path"), _each(FILLED))
def test_what_google_fills_in_is_no_difference_unless_the_program_gives_another_value(
    standin: GcpStandin, token: str, path: str
) -> None:
    filled = _holding(path, "filled in")
    assert list(_diff(standin, token, filled, _holding(path, None)).changes or ()) == []
    assert list(_diff(standin, token, filled, _holding(path, "given")).changes or ()) != []
