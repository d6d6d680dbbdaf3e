"""Where the objects of a cluster are: in its API server, or in the world where none runs."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import urllib3

from providers.base.errors import ProviderError, one_line
from rehearsal.cluster.api import connect
from rehearsal.cluster.load_balancers import status_of
from rehearsal.standins.kubernetes.kinds import Kind
from rehearsal.world import AlreadyExists, World

Body = dict[str, Any]

RECORD = "kubernetes.object"
"""Kind of the world's record of an object."""
MANAGER = "pulumi-kubernetes"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Name:
    """Which object is meant; the namespace is empty for one that no namespace holds."""

    kind: Kind
    namespace: str
    name: str

    @property
    def id(self) -> str:
        """As the engine knows it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Refusal(ProviderError):  # noqa: N818 - what it is
    """The cluster refused.

    Args:
        code: of HTTP.
        message: the cluster's own.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Objects(Protocol):
    """The objects of one cluster. `apply` makes and changes; all raise `Refusal`."""

    def get(self, name: Name) -> Body | None: ...

    def apply(self, name: Name, body: Body, *, new: bool, force: bool = False, dry: bool = False) -> Body: ...

    def delete(self, name: Name, propagation: str) -> None: ...

    def listed(self, path: str, **selectors: str) -> list[Body]: ...


class ApiObjects:
    """Objects behind a real API server, which validates every field strictly and applies on its side.

    Args:
        kubeconfig: an administrator's.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._client = connect(kubeconfig)
        self._plurals: dict[str, dict[str, str]] = {}

    def get(self, name: Name) -> Body | None:
        """The object, or None."""
        try:
            return self._ask("GET", self._path(name))
        except Refusal as refusal:
            if refusal.code == 404:
                return None
            raise

    def apply(self, name: Name, body: Body, *, new: bool, force: bool = False, dry: bool = False) -> Body:
        """Make or change the object by server-side apply.

        Args:
            name: which.
            body: what the program wants.
            new: there must be none yet.
            force: take fields over from other managers.
            dry: change nothing.
        """
        if new and self.get(name) is not None:
            raise Refusal(409, f'{name.kind.key} "{name.id}" already exists')
        query = [("fieldManager", MANAGER), ("fieldValidation", "Strict"), ("force", str(force).lower())]
        query += [("dryRun", "All")] if dry else []
        return self._ask("PATCH", self._path(name), body, query, "application/apply-patch+yaml")

    def delete(self, name: Name, propagation: str) -> None:
        """Ask for the object's deletion; one that is gone is no error."""
        try:
            self._ask("DELETE", self._path(name), {"propagationPolicy": propagation})
        except Refusal as refusal:
            if refusal.code != 404:
                raise

    def listed(self, path: str, **selectors: str) -> list[Body]:
        """The objects at a path of the API."""
        found: list[Body] = self._ask("GET", path, query=list(selectors.items()))["items"]
        return found

    def _path(self, name: Name) -> str:
        version = name.kind.api_version
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        holder = f"/namespaces/{name.namespace}" if name.namespace else ""
        return f"{root}{holder}/{self._plural(root, name.kind)}/{name.name}"

    def _plural(self, root: str, kind: Kind) -> str:
        if root not in self._plurals:
            try:
                found = self._ask("GET", root)["resources"]
            except Refusal as refusal:
                if refusal.code != 404:
                    raise
                found = []
            self._plurals[root] = {each["kind"]: each["name"] for each in found if "/" not in each["name"]}
        if kind.name not in self._plurals[root]:
            del self._plurals[root]  # a definition may be made later
            raise Refusal(404, f'no matches for kind "{kind.name}" in version "{kind.api_version}"')
        return self._plurals[root][kind.name]

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: list[tuple[str, str]] | None = None,
        content: str = "application/json",
    ) -> Body:
        request = self._client.param_serialize(
            method,
            path,
            query_params=query or [],
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=_TIMEOUT_SECONDS)
            raw: bytes = answer.read()  # type: ignore[no-untyped-call]
        except urllib3.exceptions.HTTPError as error:
            raise Refusal(503, f"the cluster cannot be reached: {one_line(error)}") from error
        if not 200 <= answer.status < 300:
            raise Refusal(answer.status, _message(raw))
        parsed: Body = json.loads(raw)
        return parsed


def _message(answer: bytes) -> str:
    """What the API server says is wrong: a Status, or plain text where there is nothing at a path."""
    try:
        return one_line(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return one_line(answer.decode(errors="replace"))


class WorldObjects:
    """Objects of a cluster whose control plane does not run: kept, and acted upon by nobody.

    Args:
        world: keeps them.
        cluster: `projects/P/locations/L/clusters/C`.
    """

    def __init__(self, world: World, cluster: str) -> None:
        self._world = world
        self._root = f"container.googleapis.com/{cluster}/k8s"

    def get(self, name: Name) -> Body | None:
        """The object, or None."""
        record = self._world.get(self._path(name))
        return None if record is None else record.body

    def apply(self, name: Name, body: Body, *, new: bool, force: bool = False, dry: bool = False) -> Body:  # noqa: ARG002
        """Keep the object as the program wants it; its namespace must be there."""
        path = self._path(name)
        if name.namespace not in ("", "default", "kube-system") and not self._world.get(
            f"{self._root}/namespaces/{name.namespace}"
        ):
            raise Refusal(404, f'namespaces "{name.namespace}" not found')
        present = self.get(name)
        if new and present is not None:
            raise Refusal(409, f'{name.kind.key} "{name.id}" already exists')
        if dry:
            return self._completed(name, body, present)
        if present is None:
            try:
                return self._world.insert(RECORD, path, self._completed(name, body, None)).body
            except AlreadyExists:
                raise Refusal(409, f'{name.kind.key} "{name.id}" already exists') from None
        return self._world.edit(path, lambda found: self._completed(name, body, found)).body

    def delete(self, name: Name, propagation: str) -> None:  # noqa: ARG002
        """Remove the object; a namespace goes with what is in it."""
        self._world.delete(self._path(name))

    def listed(self, path: str, **selectors: str) -> list[Body]:  # noqa: ARG002
        """Nothing: nobody makes pods or events here."""
        return []

    def _path(self, name: Name) -> str:
        if name.kind.key == "Namespace":
            return f"{self._root}/namespaces/{name.name}"
        holder = f"namespaces/{name.namespace}" if name.namespace else "cluster"
        return f"{self._root}/{holder}/{name.kind.key}/{name.name}"

    def _completed(self, name: Name, body: Body, present: Body | None) -> Body:
        """The object with what every API server adds."""
        known = (present or {}).get("metadata", {})
        metadata = {
            **(body.get("metadata") or {}),
            "uid": known.get("uid") or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name.id} {self._world.now()}")),
            "creationTimestamp": known.get("creationTimestamp") or self._world.now(),
            "resourceVersion": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8],
            "generation": int(known.get("generation", 0)) + 1,
        }
        if name.namespace:
            metadata["namespace"] = name.namespace
        completed = {**body, "metadata": metadata}
        if name.kind.key == "Service" and (body.get("spec") or {}).get("type") == "LoadBalancer":
            # A program reads the address, and GKE's controller is not here to give one.
            completed["status"] = status_of(name.id)
        return completed
