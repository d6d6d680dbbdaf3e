"""The plan's rules: what no refusal of Google's stands behind, and that each rule is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacks.plan.report import Report
from stacks.plan.rules import RULES, Rule, examine
from stacks.plan.rules.facts import google_names
from stacks.plan.types import StackPlan
from tests.unit.config_sources import good
from tests.unit.plan_evidence import (
    Broken,
    Change,
    deployment,
    env,
    foundation,
    image,
    inside,
    within,
    without_api,
)
from tests.unit.plan_refusals_names import NAMES
from tests.unit.plan_refusals_run import RUN
from tests.unit.plan_refusals_vertex import VERTEX
from tests.unit.recorded_plan import planned

OWN: dict[str, tuple[str, Change]] = {
    "no project": ("is not a project ID", foundation(project="")),
    "no API to enable APIs": ("is not enabled, and enabling an API needs it", without_api("serviceusage")),
    "no API for buckets": ('"storage.googleapis.com" is not enabled', without_api("storage")),
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


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> StackPlan:
    config = {**good(scaling={"max": 3}), "llm:hubTokenSecret": "hub-token"}
    return planned(config, tmp_path_factory.mktemp("plan"))


def told(report: Report) -> list[str]:
    return [f"{p.path} {p.value} {p.reason} {p.remedy}" for p in report.problems] + report.warnings


@pytest.mark.parametrize("name", OWN)
def test_what_would_go_wrong_is_found(name: str, plan: StackPlan) -> None:
    says, change = OWN[name]
    assert any(says in line for line in told(examine(change(plan))))


@pytest.mark.parametrize("rule", RULES, ids=[f"{rule.__module__}.{rule.__name__}" for rule in RULES])
def test_without_a_rule_something_would_pass(rule: Rule, plan: StackPlan) -> None:
    cases = [(case.says, case.change) for case in (*NAMES, *RUN, *VERTEX) if isinstance(case, Broken)]
    assert any(_only(rule, says, change(plan)) for says, change in (*cases, *OWN.values()))


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
