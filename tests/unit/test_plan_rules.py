"""The plan's rules: what no refusal of Google's stands behind, and that each rule is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacks.plan.report import Report
from stacks.plan.rules import RULES, Rule, examine
from stacks.plan.rules.facts import google_names
from stacks.plan.types import StackPlan
from tests.unit.config_sources import good
from tests.unit.gke_stacks import stack
from tests.unit.plan_evidence import (
    Broken,
    Change,
    cluster,
    deployment,
    env,
    foundation,
    image,
    inside,
    replace,
    within,
    without_api,
)
from tests.unit.plan_refusals_container import CONTAINER, WHOLE, pool
from tests.unit.plan_refusals_names import NAMES
from tests.unit.plan_refusals_run import RUN
from tests.unit.plan_refusals_vertex import VERTEX
from tests.unit.recorded_plan import planned
from tests.unit.vertex_mistakes import BROKEN
from tests.unit.vertex_stacks import T4
from tests.unit.vertex_stacks import stack as vertex_stack

OWN: dict[str, tuple[str, Change]] = {
    "no project": ("is not a project ID", foundation(project="")),
    "no API to enable APIs": ("is not enabled, and enabling an API needs it", without_api("serviceusage")),
    "no API for buckets": ('"storage.googleapis.com" is not enabled', without_api("storage")),
    "no API for the service": ("is not enabled, and service dev-assistant needs it", without_api("run")),
    "no API for the job": ("is not enabled, and job dev-assistant-weights needs it", without_api("run")),
    "uploads that never go": ("no age of an upload", within("bucket", abort_uploads_after_days=-1)),
    "no image kept": ("keeps no version", within("repository", keep_recent=0)),
    "retries below none": ("no number of retries", inside("weights", max_retries=-1)),
    "digest cut off": ("no digest of an image", image(digest="sha256:abc")),
    "bucket elsewhere": ("where the bucket is", within("bucket", location="EU")),
    "repository elsewhere": ("where the repository is", within("repository", location="europe")),
    "staged elsewhere": ("no bucket of this stack", inside("staged", bucket="nowhere")),
    "token in plain text": ("would be in plain text", env(HF_TOKEN="x")),
    "liveness probe that never fails": ("failure_threshold", inside("liveness_probe", failure_threshold=0)),
    "probe of a wrong port": ("is no port", inside("liveness_probe", port=0)),
    "no time to stage": ("that staging may take", inside("weights", task_timeout_seconds=0)),
    "no request at all": ("takes at once", deployment(concurrency=0)),
    "job's labels": ("no value of a label", inside("weights", execution_labels={"llm-target": "A"})),
}

ON_TPU: dict[str, tuple[str, Change]] = {
    "two kinds of capacity": ("has several kinds of capacity", pool(spot=True, reservation="bought")),
    "a disk in another zone": ("is not the zone of the slices", inside("disk", zone="us-west1-a")),
    "pods of another workload pool": (
        "is no workload pool of this project",
        inside("server_identity", workload_pool="other.svc.id.goog"),
    ),
    "a pool without TPUs that shrinks below none": (
        "is no least number of nodes",
        lambda plan: cluster(cpu_pool=replace(plan.cluster.cpu_pool, min_nodes=-1) if plan.cluster else None)(
            plan
        ),
    ),
    "a node account of no length": (
        "no id of a service account",
        lambda plan: cluster(account=replace(plan.cluster.account, account_id="a") if plan.cluster else None)(
            plan
        ),
    ),
    "no API for the nodes' account": (
        "is not enabled, and service account dev-cluster-nodes needs it",
        without_api("iam"),
    ),
    "an image of pods that nobody builds": (
        "is an image that the plan does not have",
        deployment(objects=lambda found: (*found, replace(found[0], images={"torchserve": "a/b:c"}))),
    ),
    "labels of slices": ("no value of a label", deployment(labels={"env": "a.b"})),
    "no API for the Gateway's certificates": (
        '"certificatemanager.googleapis.com" is not enabled',
        without_api("certificatemanager"),
    ),
}
"""As `OWN`, of a plan for TPUs."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> StackPlan:
    config = {**good(scaling={"max": 3}), "llm:hubTokenSecret": "hub-token"}
    return planned(config, tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def tpu_plan(tmp_path_factory: pytest.TempPathFactory) -> StackPlan:
    return planned(WHOLE, tmp_path_factory.mktemp("tpu"))


@pytest.fixture(scope="module")
def vertex_plan(tmp_path_factory: pytest.TempPathFactory) -> StackPlan:
    return planned(vertex_stack(machine=T4), tmp_path_factory.mktemp("vertex"))


def told(report: Report) -> list[str]:
    return [f"{p.path} {p.value} {p.reason} {p.remedy}" for p in report.problems] + report.warnings


@pytest.mark.parametrize("name", OWN)
def test_what_would_go_wrong_is_found(name: str, plan: StackPlan) -> None:
    says, change = OWN[name]
    assert any(says in line for line in told(examine(change(plan))))


@pytest.mark.parametrize("name", ON_TPU)
def test_what_would_go_wrong_on_tpus_is_found(name: str, tpu_plan: StackPlan) -> None:
    says, change = ON_TPU[name]
    assert any(says in line for line in told(examine(change(tpu_plan))))


def test_a_job_of_a_server_on_tpus_that_runs_elsewhere_is_looked_at_like_any_other(tmp_path: Path) -> None:
    found = planned(stack(weights={"runner": "cloud-run"}), tmp_path)
    assert examine(found).problems == []
    (problem,) = examine(inside("weights", memory="1Ki")(found)).problems
    assert problem.path == "llm:deployments.llama.resources.memory"
    assert problem.reason == "is no amount of memory"


@pytest.mark.parametrize("rule", RULES, ids=[f"{rule.__module__}.{rule.__name__}" for rule in RULES])
def test_without_a_rule_something_would_pass(
    rule: Rule, plan: StackPlan, tpu_plan: StackPlan, vertex_plan: StackPlan
) -> None:
    evidence = [case for case in (*NAMES, *RUN, *VERTEX, *CONTAINER) if isinstance(case, Broken)]
    cases = [(case.says, case.change, tpu_plan if case.tpu else plan) for case in evidence]
    cases += [(says, change, plan) for says, change in OWN.values()]
    cases += [(says, change, tpu_plan) for says, change in ON_TPU.values()]
    cases += [(says, change, vertex_plan) for says, change in BROKEN.values()]
    assert any(_only(rule, says, change(found)) for says, change, found in cases)


def _only(rule: Rule, says: str, plan: StackPlan) -> bool:
    finders = []
    for each in RULES:
        report = Report()
        each(plan, report)
        if any(says in line for line in told(report)):
            finders.append(each)
    return finders == [rule]


def test_every_fact_has_a_source() -> None:
    names = google_names()
    facts = [*names.patterns.values(), *names.limits.values(), *names.lists.values()]
    assert all(fact.source for fact in facts)


def test_an_invoker_of_the_stack_itself_needs_no_warning(tmp_path: Path) -> None:
    own = "serviceAccount:dev-assistant-serve@acme-ml-dev.iam.gserviceaccount.com"
    found = planned(good(access={"invokers": [own]}), tmp_path)
    assert found.deployments["assistant"].account.email in own
    assert examine(found).warnings == []
