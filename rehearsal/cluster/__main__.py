"""`python -m rehearsal.cluster --folder F`: a cluster in the rehearsed cloud of a folder, in the foreground.

It writes `cluster.json` into the folder when it takes jobs, and ends by SIGTERM or with whoever started it.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from rehearsal.cloud.client import CloudError, ensure_running
from rehearsal.cloud.tokens import write_private
from rehearsal.cloud.workloads import Workloads
from rehearsal.cluster.api import NodeApi
from rehearsal.cluster.bootstrap import bootstrap
from rehearsal.cluster.control_plane import ControlPlane
from rehearsal.cluster.google_tokens import TokenReviews
from rehearsal.cluster.kubelet import Kubelet
from rehearsal.cluster.pod_run import Site
from rehearsal.cluster.programs import ClusterError, missing
from rehearsal.runner import StartError
from rehearsal.runner.choose import choose_runner
from rehearsal.world import World

NODE = "rehearsal"
STATE_FILE = "cluster.json"
_LOOK_SECONDS = 1.0


def serve(folder: Path, cluster: str, stop: threading.Event) -> None:
    """Run a cluster until told to stop.

    Args:
        folder: the world's folder.
        cluster: `projects/P/locations/L/clusters/C`.
        stop: ends it.
    """
    world = World(folder)
    address = ensure_running(folder).removeprefix("http://")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmstack-cluster-")))
        reviews = TokenReviews(folder)
        stack.callback(reviews.close)
        plane = ControlPlane(scratch, reviews.address)
        plane.start()
        stack.callback(plane.stop)
        admin = plane.kubeconfig("person", "person", "system:masters")
        bootstrap(admin)
        node = plane.kubeconfig("node", f"system:node:{NODE}", "system:nodes")
        site = Site(world, Workloads(world, choose_runner(), address), cluster.split("/")[1], cluster)
        kubelet = Kubelet(NodeApi(node, NODE), site, NODE)
        kubelet.start()
        stack.callback(kubelet.stop)
        _write_state(folder, plane, admin)
        stack.callback((folder / STATE_FILE).unlink, missing_ok=True)
        while not stop.wait(_LOOK_SECONDS):
            plane.require()


def _write_state(folder: Path, plane: ControlPlane, admin: Path) -> None:
    state = {
        "endpoint": plane.endpoint,
        "caCertificate": base64.b64encode(plane.authority.pem).decode(),
        "kubeconfig": str(admin),
    }
    write_private(folder / STATE_FILE, json.dumps(state))


def main() -> int:
    """Parse the command line and serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.cluster", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the rehearsal's folder")
    parser.add_argument("--cluster", required=True, help="projects/PROJECT/locations/LOCATION/clusters/NAME")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for library in ("httpx", "urllib3"):
        logging.getLogger(library).setLevel(logging.ERROR)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if absent := missing():
        sys.stderr.write(f"error: {', '.join(absent)} not installed; run `make kube-tools`\n")
        return 1
    try:
        serve(options.folder.resolve(), options.cluster, stop)
    except (ClusterError, CloudError, StartError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
