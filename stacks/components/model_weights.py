"""The weights of one deployment: the job that stages them, and the staged model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_gcp import cloudrunv2, secretmanager, serviceaccount, storage

from stacks.components.foundation import Foundation
from stacks.components.job_definitions import kubernetes_definition, vertex_definition
from stacks.components.service_account import service_account
from stacks.components.workload_identity import workload_identity
from stacks.modelops import StagedModel
from stacks.plan.runners import VERTEX
from stacks.plan.types_gke import IdentityPlan
from stacks.plan.types_weights import StagedModelPlan, WeightsJobPlan

_WRITES = "roles/storage.objectUser"
_READS = "roles/storage.objectViewer"


@dataclass(frozen=True)
class WeightsCluster:
    """The cluster that a weights job runs in."""

    path: str
    """`projects/P/locations/L/clusters/C`."""
    access: pulumi.Input[Mapping[str, Any]]
    """How our own provider reaches it."""
    identity: IdentityPlan
    """Whom the job's pods are to Google."""
    ready: Sequence[pulumi.Resource]
    """The cluster with its nodes, and the job's namespace with its account."""


@dataclass(frozen=True)
class ModelWeightsArgs:
    """Inputs of :class:`ModelWeights`."""

    job: WeightsJobPlan
    staged: StagedModelPlan
    foundation: Foundation
    image: pulumi.Input[str]
    """Reference of the weights image, by digest."""
    location: str
    """Region of the job."""
    cluster: WeightsCluster | None = None
    """Given where the job runs in a cluster, and only there."""


class ModelWeights(pulumi.ComponentResource):
    """Puts a model's files into the bucket before anything serves them.

    It owns the job's identity, which may write objects in this one bucket and read what it stages from,
    nothing else, and a `StagedModel`, which runs a job as that identity only when the bucket does not hold
    the model yet. The identity is a service account, or in a cluster that of the job's pods. On Cloud Run the
    job is a resource that it owns too; the other platforms keep none, so there the `StagedModel` carries what
    to run. Switching the model or the platform updates in place; what was staged stays.
    """

    staged: StagedModel

    def __init__(self, name: str, args: ModelWeightsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llm:index:ModelWeights", name, None, opts)
        if args.cluster is not None:
            self.staged = self._in_cluster(name, args, args.cluster)
        else:
            self.staged = self._at_google(name, args)
        self.register_outputs({"target": self.staged.target})

    def _at_google(self, name: str, args: ModelWeightsArgs) -> StagedModel:
        if args.job.account is None:
            raise ValueError(f"{name}: a job outside a cluster needs a service account")
        account = service_account(f"{name}-account", args.job.account, args.foundation, self)
        grants = self._grants(name, args, account.member, _WRITES)
        if args.job.runner == VERTEX:
            definition = vertex_definition(args.job, args.image, account.email)
            after = self._ready("aiplatform", args, grants)
            return self._staged(name, args, _custom_job(args), after, definition)
        job = self._job(name, args, account, self._ready("run", args, grants))
        return self._staged(name, args, job.id, [job, *grants])

    def _in_cluster(self, name: str, args: ModelWeightsArgs, cluster: WeightsCluster) -> StagedModel:
        plan = cluster.identity
        identity = workload_identity(name, plan, args.foundation, cluster.ready, self)
        grants = self._grants(name, args, identity.member, plan.bucket_role)
        after = self._ready("container", args, [*grants, *identity.grants, *cluster.ready])
        job = f"{cluster.path}/k8s/namespaces/{plan.namespace}/jobs/{args.job.job_name}"
        definition = kubernetes_definition(args.job, args.image, cluster.access)
        return self._staged(name, args, job, after, definition)

    def _grants(
        self, name: str, args: ModelWeightsArgs, member: pulumi.Input[str], role: str
    ) -> list[pulumi.Resource]:
        """What the job may do: write the bucket, and read what it stages from."""
        own = pulumi.ResourceOptions(parent=self)
        grants: list[pulumi.Resource] = []
        if args.job.source_bucket is not None:
            source = storage.BucketIAMMember(
                f"{name}-reads-source", bucket=args.job.source_bucket, role=_READS, member=member, opts=own
            )
            grants.append(source)
        if args.job.hub_token:
            grants.append(self._reads_token(name, args, member))
        writer = storage.BucketIAMMember(
            f"{name}-writes-bucket",
            bucket=args.foundation.bucket.name,
            role=role,
            member=member,
            opts=own,
        )
        return [writer, *grants]

    def _reads_token(self, name: str, args: ModelWeightsArgs, member: pulumi.Input[str]) -> pulumi.Resource:
        if args.foundation.hub_token_secret is None:
            raise ValueError(f"{name}: the job reads a Hub token, but the foundation has none")
        return secretmanager.SecretIamMember(
            f"{name}-reads-token",
            secret_id=args.foundation.hub_token_secret,
            role="roles/secretmanager.secretAccessor",
            member=member,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _ready(
        self, api: str, args: ModelWeightsArgs, grants: list[pulumi.Resource]
    ) -> list[pulumi.Resource]:
        """What must be there before a job can run: its API, its grants, and the token that it reads."""
        token = args.foundation.hub_token_version
        return [*args.foundation.api(api), *grants, *([token] if token else [])]

    def _job(
        self,
        name: str,
        args: ModelWeightsArgs,
        account: serviceaccount.Account,
        after: list[pulumi.Resource],
    ) -> cloudrunv2.Job:
        plan = args.job
        return cloudrunv2.Job(
            f"{name}-job",
            name=plan.job_name,
            location=args.location,
            labels=plan.labels,
            # It holds nothing that could be lost, and another runner removes it.
            deletion_protection=False,
            template=cloudrunv2.JobTemplateArgs(
                labels=plan.execution_labels,
                task_count=1,
                template=cloudrunv2.JobTemplateTemplateArgs(
                    service_account=account.email,
                    timeout=f"{plan.task_timeout_seconds}s",
                    max_retries=plan.max_retries,
                    containers=[
                        cloudrunv2.JobTemplateTemplateContainerArgs(
                            image=args.image,
                            args=list(plan.args),
                            envs=self._envs(args),
                            resources=cloudrunv2.JobTemplateTemplateContainerResourcesArgs(
                                limits={"cpu": plan.cpu, "memory": plan.memory}
                            ),
                        )
                    ],
                ),
            ),
            # Cloud Run checks a job's secrets when the job is created, so the grants come first.
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )

    def _envs(self, args: ModelWeightsArgs) -> list[cloudrunv2.JobTemplateTemplateContainerEnvArgs]:
        envs = [
            cloudrunv2.JobTemplateTemplateContainerEnvArgs(name=key, value=value)
            for key, value in args.job.env.items()
        ]
        secret = args.foundation.hub_token_secret
        if args.job.hub_token and secret is not None:
            envs.append(
                cloudrunv2.JobTemplateTemplateContainerEnvArgs(
                    name="HF_TOKEN",
                    value_source=cloudrunv2.JobTemplateTemplateContainerEnvValueSourceArgs(
                        secret_key_ref=(
                            cloudrunv2.JobTemplateTemplateContainerEnvValueSourceSecretKeyRefArgs(
                                secret=secret, version="latest"
                            )
                        )
                    ),
                )
            )
        return envs

    def _staged(
        self,
        name: str,
        args: ModelWeightsArgs,
        job: pulumi.Input[str],
        after: list[pulumi.Resource],
        definition: pulumi.Input[Mapping[str, Any]] | None = None,
    ) -> StagedModel:
        plan = args.staged
        return StagedModel(
            f"{name}-staged",
            job=job,
            definition=definition,
            target=plan.uri,
            repository=plan.repository,
            revision=plan.revision,
            format=plan.format,
            dtype=plan.dtype,
            target_label=args.job.execution_labels["llm-target"],
            retain=plan.retain,
            # The job's own definition is what runs, so an update of it must be there first; and the objects
            # can be checked only while the bucket exists.
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*after, args.foundation.bucket],
                custom_timeouts=pulumi.CustomTimeouts(
                    create=f"{plan.timeout_seconds}s", update=f"{plan.timeout_seconds}s"
                ),
            ),
        )


def _custom_job(args: ModelWeightsArgs) -> str:
    """The name that the custom jobs of a deployment show."""
    project = args.foundation.project
    return f"projects/{project}/locations/{args.location}/customJobs/{args.job.job_name}"
