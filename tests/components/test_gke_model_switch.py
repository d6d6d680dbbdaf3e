"""What another model, another number of replicas or another image changes of a deployment on TPUs."""

from __future__ import annotations

from stacks.stack import build_stack
from tests.components.conftest import Plan, Recorder
from tests.components.gke import DISK, GEMMA, LARGE, LLAMA, Run, text


def changed(first: Recorder, second: Recorder) -> set[str]:
    """Logical names of what another plan changes, adds or removes."""
    # The stack itself is registered in the first run of a process alone.
    old, new = (
        {each.name: each for each in one.resources if each.type != "pulumi:pulumi:Stack"}
        for one in (first, second)
    )
    common = old.keys() & new.keys()
    return (old.keys() ^ new.keys()) | {name for name in common if old[name].inputs != new[name].inputs}


def both(plan_of: Plan, run: Run, first: str, second: str) -> set[str]:
    old, new = plan_of(first), plan_of(second)
    return changed(run(lambda: build_stack(old)), run(lambda: build_stack(new)))


def test_another_model_touches_what_is_staged_and_the_server_alone(plan_of: Plan, run: Run) -> None:
    names = both(plan_of, run, text(GEMMA, LARGE), text(LLAMA, LARGE))
    assert names == {"assistant-weights-staged", "assistant-deployment"}


def test_another_model_on_disks_gets_disks_of_its_own(plan_of: Plan, run: Run) -> None:
    names = both(plan_of, run, text(GEMMA, LARGE + DISK), text(LLAMA, LARGE + DISK))
    objects = {"assistant-fill-volume", "assistant-fill-claim"}
    assert {"assistant-disk", *objects} <= names
    # The old job goes and the new one comes: neither is an update of the other.
    assert len({name for name in names - objects if name.startswith("assistant-fill-")}) == 2
    assert not {name for name in names if name.startswith("cluster") or "pool" in name}


def test_a_larger_model_without_a_named_machine_changes_the_pool_and_not_the_cluster(
    plan_of: Plan, run: Run
) -> None:
    names = both(plan_of, run, text(GEMMA), text(LLAMA))
    assert names == {"assistant-weights-staged", "assistant-deployment", "assistant-pool"}


def test_another_replica_count_touches_no_weights(plan_of: Plan, run: Run) -> None:
    names = both(plan_of, run, text(), text(deployment="      scaling: {min: 2}\n"))
    assert names <= {"assistant-deployment", "assistant-pool", "assistant-disruption-budget"}


def test_another_image_of_the_weights_job_touches_nothing_in_the_cluster(plan_of: Plan, run: Run) -> None:
    digest = "sha256:" + "b" * 64
    given = f"  llm:images: {{weights: {{digest: '{digest}'}}}}"
    names = both(plan_of, run, text(), text(more=given))
    assert names == {"image-weights-build", "assistant-weights-staged"}


def test_no_logical_name_carries_the_model(plan_of: Plan, run: Run) -> None:
    old, new = plan_of(text(GEMMA)), plan_of(text(LLAMA))
    first, second = run(lambda: build_stack(old)), run(lambda: build_stack(new))
    assert {each.name for each in first.resources} == {each.name for each in second.resources}
