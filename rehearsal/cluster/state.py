"""Where a running cluster says how to reach it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rehearsal.cloud.tokens import write_private
from rehearsal.runner.process import same_process

STATE_FILE = "cluster.json"


@dataclass(frozen=True, slots=True)
class ClusterState:
    """A cluster that runs.

    Attributes:
        cluster: `projects/P/locations/L/clusters/C`.
        endpoint: `https://127.0.0.1:PORT`.
        ca_certificate: whom its certificate is from: PEM in base64, as GKE gives it.
        kubeconfig: path of an administrator's; empty where there is no control plane but what runs jobs.
        process: id of the process that runs it.
        started: when that process was started, in seconds since 1970: ids are given again.
    """

    cluster: str
    endpoint: str
    ca_certificate: str
    kubeconfig: str
    process: int
    started: float

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, as GKE gives a cluster's address."""
        return self.endpoint.removeprefix("https://")


def write_state(folder: Path, state: ClusterState) -> None:
    """Say how to reach a cluster."""
    write_private(folder / STATE_FILE, json.dumps(asdict(state)))


def running(folder: Path, cluster: str | None = None, *, jobs: bool = False) -> ClusterState | None:
    """The control plane that runs in a rehearsal; None where none does.

    Args:
        folder: the world's folder.
        cluster: which one; None for whichever runs.
        jobs: what runs jobs alone will do.
    """
    try:
        state = ClusterState(**json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if same_process(state.process, state.started) is None:
        return None
    return state if cluster in (None, state.cluster) and (jobs or state.kubeconfig) else None
