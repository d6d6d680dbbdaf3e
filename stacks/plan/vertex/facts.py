"""What Vertex AI asks of a model that it serves: `data/vertex_serving.yaml`."""

from __future__ import annotations

from functools import cache

from stacks.plan.facts import Fact, read_table
from stacks.plan.spec import Strict


class EndpointFacts(Strict):
    """What a kind of endpoint lets through; seconds and bytes."""

    request_seconds: Fact[int]
    body_bytes: Fact[int]


class QuotaFacts(Strict):
    """Ids of quotas at aiplatform.googleapis.com, and what stands in them for what is counted."""

    on_demand: Fact[str]
    """The id, with `{what}` for what is counted."""
    spot: Fact[str]
    """The same of spot machines."""
    cpus: Fact[str]
    gpus: Fact[dict[str, str]]
    """By the GPU's name in Compute Engine."""


class ServingFacts(Strict):
    """Limits, names and prices."""

    endpoints: dict[str, EndpointFacts]
    deployment_seconds_max: Fact[int]
    variables_max: Fact[int]
    variable_max: Fact[int]
    """Most bytes of NAME=value."""
    variables_total_max: Fact[int]
    """Most bytes of all variables together."""
    reserved_prefix: Fact[str]
    """What the platform's own variables begin with."""
    display_name_max: Fact[int]
    endpoint_id: Fact[str]
    """A pattern that the whole must match, as the next two are."""
    model_id: Fact[str]
    version_alias: Fact[str]
    invoker_role: Fact[str]
    metrics: Fact[dict[str, str]]
    """Full names of metrics by their short ones."""
    management_share: Fact[float]
    gpu_hourly_usd: Fact[dict[str, float]]
    """Of one GPU that an N1 machine takes."""
    quotas: QuotaFacts


@cache
def serving_facts() -> ServingFacts:
    """Reads the table."""
    return ServingFacts.model_validate(read_table("vertex_serving"))
