"""What all deployments of a stack share: APIs, image repository, bucket, Hub token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks.plan import naming
from stacks.plan.apis import required_apis
from stacks.plan.runners import DEFAULTS, KUBERNETES
from stacks.plan.types import BucketPlan, FoundationPlan, HubTokenPlan, Profile, RepositoryPlan

if TYPE_CHECKING:
    from stacks.config_models import StackConfig

_KEEP_RECENT_IMAGES = 10
_DELETE_UNTAGGED_SECONDS = 7 * 24 * 3600
_ABORT_UPLOADS_DAYS = 1


def foundation(config: StackConfig, profile: Profile) -> FoundationPlan:
    """Plans what a stack's deployments share."""
    token = hub_token(config)
    deployments = config.deployments.values()
    topologies = {each.topology for each in deployments}
    chosen = {each.weights.runner or DEFAULTS[each.topology] for each in deployments}
    if "gke-tpu" not in topologies:
        # One that the topology cannot have is reported elsewhere, and has no API.
        chosen.discard(KUBERNETES)
    gateway = any(each.topology == "gke-tpu" and each.access.expose == "gateway" for each in deployments)
    return FoundationPlan(
        project=config.project,
        region=config.region,
        apis=required_apis(topologies, chosen, hub_token=token is not None, gateway=gateway),
        repository=_repository(config),
        bucket=_bucket(config, profile),
        hub_token=token,
        labels=labels(config),
        deletion_protection=profile.deletion_protection,
    )


def labels(config: StackConfig) -> dict[str, str]:
    """Gives the labels of every resource of a stack: the configuration's, and ours."""
    ours = {"managed-by": "llmstack", "stack": naming.label(config.stack), "environment": config.environment}
    return {**config.labels, **ours}


def hub_token(config: StackConfig) -> HubTokenPlan | None:
    """Says which secret holds the Hub token, if there is one."""
    if config.hub_token_secret:
        return HubTokenPlan(secret_id=config.hub_token_secret, create=False)
    return HubTokenPlan(secret_id=naming.secret_id(config.stack), create=True) if config.hub_token else None


def _repository(config: StackConfig) -> RepositoryPlan:
    name = naming.repository_id(config.stack)
    return RepositoryPlan(
        repository_id=name,
        location=config.region,
        url=f"{config.region}-docker.pkg.dev/{config.project}/{name}",
        keep_recent=_KEEP_RECENT_IMAGES,
        delete_untagged_after_seconds=_DELETE_UNTAGGED_SECONDS,
    )


def _bucket(config: StackConfig, profile: Profile) -> BucketPlan:
    return BucketPlan(
        name=naming.bucket_name(config.project, config.stack),
        location=config.region,
        force_destroy=profile.force_destroy_bucket,
        abort_uploads_after_days=_ABORT_UPLOADS_DAYS,
        soft_delete_seconds=profile.soft_delete_seconds,
    )
