"""Google's published converter in a rehearsal: its job is made and placed, and said not to have converted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.lab import STACK
from tests.kubernetes.test_gke_lifecycle import SHARED, assert_destroyed, assert_unchanged
from tests.kubernetes.tpu_stack import SERVERS, Cluster, removed, staged, tpu_stack

CONVERTED = f"""{SHARED}
      weights: {{converter: published}}
  llm:cluster: {{cpuPool: {{machine: e2-highmem-8}}}}
"""


def test_a_stack_with_the_published_converter_from_its_first_up_to_its_destroy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tpu_stack(tmp_path, CONVERTED, monkeypatch) as (lab, _):
        first = lab.up()
        assert not first.failed, first.output
        assert "a rehearsed node has not Google's converter: nothing was converted" in first.output
        cluster = Cluster(lab)
        (job,) = [each for each in cluster.jobs() if each.metadata.name.startswith("convert-")]
        assert job.status.succeeded == 1
        (pod,) = cluster.pods(f"batch.kubernetes.io/job-name={job.metadata.name}")
        assert cluster.pool(pod) == "cpu"
        # What it would have read is there; nothing is where it would have written.
        assert {each.split("/")[-2] for each in staged(lab)} == {"safetensors-bfloat16"}
        assert [each.status.phase for each in cluster.pods(SERVERS)] == ["Running"]
        assert_unchanged(lab)
        lab.set("llm:deployments.llama.dtype", "int8")
        switch = lab.up()
        assert not switch.failed, switch.output
        (other,) = _converters(cluster)
        assert other != job.metadata.name
        assert f"Job {job.metadata.name}" in removed(lab)
        assert_destroyed(lab, ("Deployment server", "NodePool tpu-llama", f"Cluster {STACK}"))


def _converters(cluster: Cluster) -> list[str]:
    names = [str(each.metadata.name) for each in cluster.jobs()]
    return [name for name in names if name.startswith("convert-")]
