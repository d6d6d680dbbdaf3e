"""Every resource type that the rehearsed cloud models, and the rules that go with them."""

from __future__ import annotations

from rehearsal.standins.gcp import (
    rules_common,
    rules_compute,
    rules_container,
    rules_names,
    rules_references,
    rules_run,
    rules_run_probes,
    rules_vertex,
    rules_vertex_serving,
)
from rehearsal.standins.gcp.accounts import Account
from rehearsal.standins.gcp.aiplatform import Endpoint, EndpointIamMember, MetadataStore
from rehearsal.standins.gcp.artifacts import Repository
from rehearsal.standins.gcp.container import Cluster, NodePool
from rehearsal.standins.gcp.disks import Disk, Snapshot
from rehearsal.standins.gcp.iam import (
    AccountIamMember,
    BucketIamMember,
    ProjectIamMember,
    RepositoryIamMember,
    RunJobIamMember,
    RunServiceIamMember,
    SecretIamMember,
    WebIamMember,
)
from rehearsal.standins.gcp.networks import Router, RouterNat
from rehearsal.standins.gcp.projects import ProjectService
from rehearsal.standins.gcp.run import Job, Service
from rehearsal.standins.gcp.secrets import ManagedSecret, SecretVersion
from rehearsal.standins.gcp.storage import Bucket
from rehearsal.standins.model import Model

MODELS: dict[str, Model] = {
    model.type_name: model
    for model in (
        Account(),
        AccountIamMember(),
        Bucket(),
        BucketIamMember(),
        Cluster(),
        Disk(),
        Endpoint(),
        EndpointIamMember(),
        Job(),
        ManagedSecret(),
        MetadataStore(),
        NodePool(),
        ProjectIamMember(),
        ProjectService(),
        Repository(),
        RepositoryIamMember(),
        Router(),
        RouterNat(),
        RunJobIamMember(),
        RunServiceIamMember(),
        SecretIamMember(),
        SecretVersion(),
        Service(),
        Snapshot(),
        WebIamMember(),
    )
}
"""Every modelled type by its token."""

RULES = (
    rules_common,
    rules_compute,
    rules_container,
    rules_names,
    rules_references,
    rules_run,
    rules_run_probes,
    rules_vertex,
    rules_vertex_serving,
)
"""The modules whose predicates `rehearsal/data/refusals` names; importing them makes those known."""
