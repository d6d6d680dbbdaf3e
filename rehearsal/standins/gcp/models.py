"""Every resource type that the rehearsed cloud models, and the rules that go with them."""

from __future__ import annotations

from rehearsal.standins.gcp import (
    rules_common,
    rules_names,
    rules_references,
    rules_run,
    rules_run_probes,
    rules_vertex,
)
from rehearsal.standins.gcp.accounts import Account
from rehearsal.standins.gcp.artifacts import Repository
from rehearsal.standins.gcp.iam import (
    AccountIamMember,
    BucketIamMember,
    ProjectIamMember,
    RepositoryIamMember,
    RunJobIamMember,
    RunServiceIamMember,
    SecretIamMember,
)
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
        Job(),
        ManagedSecret(),
        ProjectIamMember(),
        ProjectService(),
        Repository(),
        RepositoryIamMember(),
        RunJobIamMember(),
        RunServiceIamMember(),
        SecretIamMember(),
        SecretVersion(),
        Service(),
    )
}
"""Every modelled type by its token."""

RULES = (rules_common, rules_names, rules_references, rules_run, rules_run_probes, rules_vertex)
"""The modules whose predicates `rehearsal/data/refusals` names; importing them makes those known."""
