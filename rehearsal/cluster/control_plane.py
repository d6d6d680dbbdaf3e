"""The real control plane of Kubernetes on loopback.

Flags: https://kubernetes.io/docs/reference/command-line-tools-reference/ and https://etcd.io/docs/v3.6/op-guide/
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from rehearsal.cluster.certificates import Authority, Pair, signing_keys
from rehearsal.cluster.programs import ClusterError, Program, free_port

START_SECONDS = 120.0
_POLL_SECONDS = 0.2
CONTROLLERS = (
    "job-controller",
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "endpointslice-controller",
    "disruption-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
)
"""Those that have to do with what our programs make, and what that needs; others would only take time."""


class ControlPlane:
    """etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

    Args:
        folder: an empty folder for certificates, data and logs.
        tokens: address of a token webhook, for tokens that the cluster has not issued itself; may be empty.
    """

    def __init__(self, folder: Path, tokens: str = "") -> None:
        self._folder = folder
        self._tokens = tokens
        self._programs: list[Program] = []
        self.authority = Authority(folder)
        """Whom the cluster trusts."""
        self.endpoint = f"https://127.0.0.1:{free_port()}"
        """The address of its API."""

    def start(self) -> None:
        """Start everything and wait until the API is ready.

        Raises:
            ClusterError: a program ended, or the API was not ready within two minutes.
        """
        try:
            store = self._etcd()
            admin = self.authority.certify("admin", "admin", "system:masters")
            self._apiserver(store)
            self._until(lambda: self._ready(admin))
            self._controllers_and_scheduler()
        except BaseException:
            self.stop()
            raise

    def require(self) -> None:
        """Raises `ClusterError` when one of the programs has ended."""
        for program in self._programs:
            program.require()

    def stop(self) -> None:
        """Stop everything, in the order that leaves nobody without what he needs."""
        for program in reversed(self._programs):
            program.stop()
        self._programs.clear()

    def kubeconfig(self, name: str, user: str, *groups: str) -> Path:
        """A kubeconfig of somebody with a certificate of the cluster's.

        Args:
            name: of the files.
            user: who it is.
            groups: whom it belongs to.
        """
        pair = self.authority.certify(name, user, *groups)
        who = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        return self._write_config(
            name, {"server": self.endpoint, "certificate-authority": str(self.authority.file)}, who
        )

    def _etcd(self) -> str:
        pair = self.authority.certify("etcd", "etcd")
        address, peers = (f"{scheme}://127.0.0.1:{free_port()}" for scheme in ("https", "http"))
        flags = {
            "name": "rehearsal",
            "data-dir": self._folder / "etcd",
            "listen-client-urls": address,
            "advertise-client-urls": address,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"rehearsal={peers}",
            "cert-file": pair.certificate,
            "key-file": pair.key,
            "trusted-ca-file": self.authority.file,
            "client-cert-auth": "true",
            # Nothing in it outlives the processes, so nothing has to reach the disk.
            "unsafe-no-fsync": "true",
        }
        self._run("etcd", flags)
        return address

    def _apiserver(self, store: str) -> None:
        serving = self.authority.certify("apiserver", "kube-apiserver")
        keys = signing_keys(self._folder)
        flags = {
            "etcd-servers": store,
            "etcd-cafile": self.authority.file,
            "etcd-certfile": serving.certificate,
            "etcd-keyfile": serving.key,
            "bind-address": "127.0.0.1",
            "secure-port": self.endpoint.rpartition(":")[2],
            "tls-cert-file": serving.certificate,
            "tls-private-key-file": serving.key,
            "client-ca-file": self.authority.file,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": keys.certificate,
            "service-account-signing-key-file": keys.key,
            "service-cluster-ip-range": "10.96.0.0/16",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "endpoint-reconciler-type": "none",
        }
        if self._tokens:
            flags["authentication-token-webhook-config-file"] = self._write_config(
                "tokens", {"server": self._tokens}, {}
            )
        self._run("kube-apiserver", flags)

    def _controllers_and_scheduler(self) -> None:
        common = {"leader-elect": "false", "secure-port": "0"}
        controllers = {
            **common,
            "kubeconfig": self.kubeconfig("controllers", "system:kube-controller-manager"),
            "controllers": ",".join(CONTROLLERS),
            "root-ca-file": self.authority.file,
            # Each controller as its own account, as on GKE: the common one may create no pods.
            "use-service-account-credentials": "true",
            "service-account-private-key-file": self._folder / "accounts.key",
        }
        self._run("kube-controller-manager", controllers)
        scheduler = {**common, "kubeconfig": self.kubeconfig("scheduler", "system:kube-scheduler")}
        self._run("kube-scheduler", scheduler)

    def _run(self, name: str, flags: dict[str, Any]) -> None:
        self._programs.append(
            Program(name, [f"--{key}={value}" for key, value in flags.items()], self._folder)
        )

    def _until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            self.require()
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"the API of the rehearsed cluster is not ready after {START_SECONDS:g} s; "
                    f"its logs are in {self._folder}"
                )
            time.sleep(_POLL_SECONDS)

    def _ready(self, admin: Pair) -> bool:
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.load_cert_chain(admin.certificate, admin.key)
        try:
            with httpx.Client(verify=context, trust_env=False, timeout=5.0) as client:
                return client.get(f"{self.endpoint}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def _write_config(self, name: str, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
        path = self._folder / f"{name}.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "rehearsal", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "rehearsal", "context": {"cluster": "rehearsal", "user": name}}],
            "current-context": "rehearsal",
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path
