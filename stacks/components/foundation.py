"""What every deployment of a stack shares: enabled APIs, image repository, model bucket, Hub token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_gcp import artifactregistry, projects, secretmanager, storage

from stacks.plan.types import FoundationPlan, HubTokenPlan


@dataclass(frozen=True)
class FoundationArgs:
    """Inputs of :class:`Foundation`."""

    plan: FoundationPlan
    hub_token: pulumi.Input[str] | None = None
    """Value of the Hub token; needed only when the plan creates the secret."""


class Foundation(pulumi.ComponentResource):
    """The parts of a stack that outlive any single deployment.

    It owns the enabled APIs, one Artifact Registry repository, one bucket for staged models and, when the
    stack carries a Hub token, one secret. It never disables an API on destroy, because other work in the
    project may need it, and it grants nobody anything: each deployment binds its own service account to what
    it reads.
    """

    project: str
    region: str
    apis: Mapping[str, projects.Service]
    repository: artifactregistry.Repository
    bucket: storage.Bucket
    hub_token_secret: pulumi.Input[str] | None
    """Secret that jobs mount, or None when the stack has no Hub token."""

    def __init__(self, name: str, args: FoundationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llm:index:Foundation", name, None, opts)
        plan = args.plan
        self.project = plan.project
        self.region = plan.region
        self.apis = {api: self._api(name, api) for api in plan.apis}
        self.repository = self._repository(name, plan)
        self.bucket = self._bucket(name, plan)
        self.hub_token_version: secretmanager.SecretVersion | None = None
        self.hub_token_secret = None
        if plan.hub_token is not None:
            self.hub_token_secret = self._hub_token(name, plan, plan.hub_token, args.hub_token)
        self.register_outputs({"bucket": self.bucket.name, "repository": self.repository.name})

    def api(self, *services: str) -> list[pulumi.Resource]:
        """The enabled APIs of these services (`run`, `storage`, …), for `depends_on`."""
        return [self.apis[f"{service}.googleapis.com"] for service in services]

    def _after(self, *services: str) -> pulumi.ResourceOptions:
        # A resource created before its API is enabled fails, and no value of the API's flows into it.
        return pulumi.ResourceOptions(parent=self, depends_on=self.api(*services))

    def _api(self, name: str, api: str) -> projects.Service:
        return projects.Service(
            f"{name}-api-{api.removesuffix('.googleapis.com')}",
            service=api,
            disable_on_destroy=False,
            disable_dependent_services=False,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _repository(self, name: str, plan: FoundationPlan) -> artifactregistry.Repository:
        return artifactregistry.Repository(
            f"{name}-images",
            repository_id=plan.repository.repository_id,
            location=plan.repository.location,
            format="DOCKER",
            description="Images of the language-model stack",
            labels=plan.labels,
            cleanup_policy_dry_run=False,
            cleanup_policies=[
                {
                    "id": "keep-recent",
                    "action": "KEEP",
                    "most_recent_versions": {"keep_count": plan.repository.keep_recent},
                },
                {
                    "id": "delete-untagged",
                    "action": "DELETE",
                    "condition": {
                        "tag_state": "UNTAGGED",
                        "older_than": f"{plan.repository.delete_untagged_after_seconds}s",
                    },
                },
            ],
            opts=self._after("artifactregistry"),
        )

    def _bucket(self, name: str, plan: FoundationPlan) -> storage.Bucket:
        return storage.Bucket(
            f"{name}-models",
            name=plan.bucket.name,
            location=plan.bucket.location,
            force_destroy=plan.bucket.force_destroy,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            labels=plan.labels,
            soft_delete_policy={"retention_duration_seconds": plan.bucket.soft_delete_seconds},
            lifecycle_rules=[
                {
                    "action": {"type": "AbortIncompleteMultipartUpload"},
                    "condition": {"age": plan.bucket.abort_uploads_after_days},
                }
            ],
            opts=self._after("storage"),
        )

    def _hub_token(
        self, name: str, plan: FoundationPlan, token: HubTokenPlan, value: pulumi.Input[str] | None
    ) -> pulumi.Input[str]:
        if not token.create:
            return token.secret_id
        if value is None:
            raise ValueError("the plan creates the Hub token's secret, so FoundationArgs.hub_token is needed")
        secret = secretmanager.Secret(
            f"{name}-hub-token",
            secret_id=token.secret_id,
            labels=plan.labels,
            # The token stays in the region that uses it.
            replication={"user_managed": {"replicas": [{"location": plan.region}]}},
            deletion_protection=plan.deletion_protection,
            opts=self._after("secretmanager"),
        )
        self.hub_token_version = secretmanager.SecretVersion(
            f"{name}-hub-token-value",
            secret=secret.id,
            secret_data=pulumi.Output.secret(value),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return secret.secret_id
