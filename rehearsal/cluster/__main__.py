"""`python -m rehearsal.cluster --folder F`: a cluster in the rehearsed cloud of a folder, in the foreground.

It writes `cluster.json` into the folder when it takes jobs, and ends by SIGTERM, with whoever started it
where that is so tied, or with `--with-cloud` when the rehearsed cloud has ended.
"""

from __future__ import annotations

import argparse
import base64
import logging
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from rehearsal.cloud.client import CloudError, alive, ensure_running
from rehearsal.cloud.workloads import Workloads
from rehearsal.cluster.api import NodeApi
from rehearsal.cluster.bootstrap import bootstrap, let_deployer_rule
from rehearsal.cluster.certificates import Authority
from rehearsal.cluster.control_plane import ControlPlane
from rehearsal.cluster.google_tokens import TokenReviews
from rehearsal.cluster.jobs_only import JobsFace
from rehearsal.cluster.kubelet import Kubelet
from rehearsal.cluster.load_balancers import LoadBalancers
from rehearsal.cluster.pod_run import Site, end_strays
from rehearsal.cluster.pools import PoolNodes
from rehearsal.cluster.programs import ClusterError, missing
from rehearsal.cluster.state import STATE_FILE, ClusterState, write_state
from rehearsal.runner import StartError
from rehearsal.runner.choose import choose_runner
from rehearsal.world import World

NODE = "rehearsal"
ONE_NODE, POOLS, JOBS_ONLY = "one-node", "pools", "jobs-only"
Look = Callable[[], None]
"""What is done every second: see that everything runs, and that the nodes are those that there should be."""
_LOOK_SECONDS = 1.0
_CLOUD_GONE_LOOKS = 60
"""A rehearsed cloud that crashed is started again by the next command; the cluster is not."""


def serve(
    folder: Path, cluster: str, stop: threading.Event, *, kind: str = ONE_NODE, with_cloud: bool = False
) -> None:
    """Run a cluster until told to stop.

    Args:
        folder: the world's folder.
        cluster: `projects/P/locations/L/clusters/C`.
        stop: ends it.
        kind: `ONE_NODE`, which takes every pod; `POOLS`, the nodes of the world's node pools; or `JOBS_ONLY`,
            no control plane but what runs weights jobs.
        with_cloud: end a minute after the rehearsed cloud has ended.
    """
    world = World(folder)
    address = ensure_running(folder).removeprefix("http://")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmstack-cluster-")))
        site = Site(world, Workloads(world, choose_runner(), address), cluster.split("/")[1], cluster)
        end_strays(site)
        state, look = (_jobs_only if kind == JOBS_ONLY else _plane)(stack, scratch, site, kind)
        write_state(folder, state)
        stack.callback((folder / STATE_FILE).unlink, missing_ok=True)
        looks = 0
        while not stop.wait(_LOOK_SECONDS) and looks < _CLOUD_GONE_LOOKS:
            look()
            looks = looks + 1 if with_cloud and not alive(folder) else 0


def _jobs_only(stack: ExitStack, scratch: Path, site: Site, kind: str) -> tuple[ClusterState, Look]:  # noqa: ARG001
    """What runs jobs alone."""
    face = JobsFace(site, scratch)
    stack.callback(face.stop)
    return _state(site.cluster, face.endpoint, face.authority, ""), lambda: None


def _plane(stack: ExitStack, scratch: Path, site: Site, kind: str) -> tuple[ClusterState, Look]:
    """A control plane with its nodes."""
    reviews = TokenReviews(site.world.folder)
    stack.callback(reviews.close)
    plane = ControlPlane(scratch, reviews.address)
    plane.start()
    stack.callback(plane.stop)
    admin = plane.kubeconfig("person", "person", "system:masters")
    bootstrap(admin)
    nodes = _follow_pools(stack, plane, site, admin) if kind == POOLS else _one_node(stack, plane, site)

    def look() -> None:
        plane.require()
        nodes()

    return _state(site.cluster, plane.endpoint, plane.authority, str(admin)), look


def _one_node(stack: ExitStack, plane: ControlPlane, site: Site) -> Look:
    """A node that takes every pod; nothing about it has to be looked at again."""
    identity = plane.kubeconfig("node", f"system:node:{NODE}", "system:nodes")
    kubelet = Kubelet(NodeApi(identity, NODE), site, NODE)
    kubelet.start()
    stack.callback(kubelet.stop)
    return lambda: None


def _follow_pools(stack: ExitStack, plane: ControlPlane, site: Site, admin: Path) -> Look:
    let_deployer_rule(admin)
    nodes, balancers = PoolNodes(plane, site, admin), LoadBalancers(site.world, site.cluster, admin)
    stack.callback(nodes.stop)
    balancers.forget()  # those of a process that was killed
    stack.callback(balancers.forget)

    def look() -> None:
        nodes.look()
        balancers.look()

    return look


def _state(cluster: str, endpoint: str, authority: Authority, kubeconfig: str) -> ClusterState:
    encoded = base64.b64encode(authority.pem).decode()
    process = psutil.Process()
    return ClusterState(cluster, endpoint, encoded, kubeconfig, process.pid, process.create_time())


def main() -> int:
    """Parse the command line and serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.cluster", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the rehearsal's folder")
    parser.add_argument("--cluster", required=True, help="projects/PROJECT/locations/LOCATION/clusters/NAME")
    kinds = parser.add_mutually_exclusive_group()
    for name, words in ((POOLS, "have the nodes of the world's node pools"), (JOBS_ONLY, "run jobs alone")):
        kinds.add_argument(f"--{name}", dest="kind", action="store_const", const=name, help=words)
    parser.add_argument("--with-cloud", action="store_true", help="end when the rehearsed cloud has ended")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for library in ("httpx", "urllib3"):
        logging.getLogger(library).setLevel(logging.ERROR)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    kind = options.kind or ONE_NODE
    if kind != JOBS_ONLY and (absent := missing()):
        sys.stderr.write(f"error: {', '.join(absent)} not installed; run `make kube-tools`\n")
        return 1
    try:
        folder = options.folder.resolve()
        serve(folder, options.cluster, stop, kind=kind, with_cloud=options.with_cloud)
    except (ClusterError, CloudError, StartError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
