"""The control plane of a rehearsed stack's cluster: started where its programs are, trusted, stopped."""

from __future__ import annotations

import base64
import os
import ssl
import sys
import time
from pathlib import Path

import certifi
import psutil

from rehearsal.cluster.programs import missing
from rehearsal.cluster.state import ClusterState, running
from rehearsal.detached import start_detached
from rehearsal.driver_errors import RehearsalError
from rehearsal.driver_stack import read_config
from rehearsal.runner.types import tail
from stacks.config import ConfigError, from_stack_file
from stacks.plan import build_plan

TRUST = "trust.pem"
"""Whom programs of the rehearsal trust: everybody whom this machine trusts, and the cluster."""
_TOPOLOGY = "gke-tpu"
_START_SECONDS = 180.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.2


def prepare(folder: Path, stack_file: Path) -> None:
    """Have the control plane of a stack's cluster run, and no other.

    Args:
        folder: the world's folder.
        stack_file: says whether the stack has a cluster, and which.

    Raises:
        RehearsalError: the control plane does not start.
    """
    wanted, found = _cluster(stack_file), running(folder, jobs=True)
    if found is not None and found.cluster != wanted:
        stop(folder)
    if wanted is None:
        (folder / TRUST).unlink(missing_ok=True)
        return
    if missing():
        sys.stderr.write(
            "no control plane is installed: Kubernetes objects are checked by their types alone, and only "
            "weights jobs run; `make kube-tools` installs one\n"
        )
    _trust(folder, running(folder, wanted, jobs=True) or _start(folder, wanted))


def stop(folder: Path) -> None:
    """Stop the control plane with every pod, if it runs."""
    state = running(folder, jobs=True)
    if state is None:
        return
    try:
        process = psutil.Process(state.process)
        process.terminate()
        process.wait(_STOP_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        process.kill()


def _cluster(stack_file: Path) -> str | None:
    """`projects/P/locations/L/clusters/C`; None where the stack has no cluster, or its file is wrong.

    What is wrong in it is left to those who check it.
    """
    deployments = read_config(stack_file).get("llm:deployments")
    each = deployments.values() if isinstance(deployments, dict) else ()
    if not any(isinstance(one, dict) and one.get("topology") == _TOPOLOGY for one in each):
        return None
    try:
        plan = build_plan(from_stack_file(stack_file))
    except ConfigError:
        return None
    if plan.cluster is None:
        return None
    project = plan.foundation.project
    return f"projects/{project}/locations/{plan.cluster.location}/clusters/{plan.cluster.name}"


def _start(folder: Path, cluster: str) -> ClusterState:
    log = folder / "cluster.log"
    nodes = "--jobs-only" if missing() else "--pools"
    arguments = ("--folder", str(folder), "--cluster", cluster, nodes, "--with-cloud")
    process = start_detached(folder, log, "rehearsal.cluster", *arguments)
    deadline = time.monotonic() + _START_SECONDS
    while (state := running(folder, cluster, jobs=True)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            raise RehearsalError(f"the rehearsed cluster does not start: {' | '.join(tail(log, 3))}")
        time.sleep(_POLL_SECONDS)
    return state


def _trust(folder: Path, state: ClusterState) -> None:
    """Write down whom to trust: the cluster's certificate is from an authority of its own."""
    own = folder / TRUST
    given = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().openssl_cafile)
    others = [Path(path) for path in given if path and Path(path) != own and Path(path).is_file()]
    texts = [path.read_text(encoding="utf-8") for path in (Path(certifi.where()), *others[:1])]
    texts.append(base64.b64decode(state.ca_certificate).decode())
    temporary = own.with_name(f".{TRUST}.{os.getpid()}")
    temporary.write_text("\n".join(texts), encoding="utf-8")
    temporary.replace(own)
