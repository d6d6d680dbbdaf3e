"""The part of the Hub's HTTP API that downloads a model.

What is here was seen on the wire of huggingface_hub 2.4: model info, tree, and `resolve` with HEAD, GET and
ranges. Files in LFS are answered with a redirect that carries their sha256, as on the Hub, where the bytes
come from another host.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from rehearsal.hub.repository import HubFile, NotFoundError, Revision, find


def create_app(root: Path, storage: str) -> Starlette:
    """The Hub over the repositories below `root`.

    Args:
        root: folder of all repositories.
        storage: another address at which this application answers too, `http://127.0.0.1:PORT`: redirects for
            files in LFS lead there. On the Hub it is another host; to clients another port is as foreign.
    """
    hub = _Hub(root, storage)
    return Starlette(
        routes=[
            Route("/api/models/{repository:path}/revision/{revision}", hub.model),
            Route("/api/models/{repository:path}/tree/{revision}", hub.tree),
            Route("/api/models/{repository:path}", hub.model),
            Route("/cdn/{oid}/{repository:path}/{revision}/-/{name:path}", hub.large),
            Route("/{repository:path}/resolve/{revision}/{name:path}", hub.resolve),
        ],
        exception_handlers={NotFoundError: _not_found},
    )


class _Hub:
    def __init__(self, root: Path, storage: str) -> None:
        self._root = root
        self._storage = storage

    def model(self, request: Request) -> Response:
        """Model info: the commit, and the files' names (with `blobs=true` their sizes and hashes too)."""
        revision = self._revision(request)
        blobs = request.query_params.get("blobs", "").lower() == "true"
        return JSONResponse(
            {
                "_id": revision.sha[:24],
                "id": revision.repository,
                "modelId": revision.repository,
                "sha": revision.sha,
                "private": False,
                "disabled": False,
                "gated": False if revision.tokens is None else "manual",
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [_sibling(file, blobs) for file in revision.files()],
            }
        )

    def tree(self, request: Request) -> Response:
        """All files with size and hashes; without `recursive=true`, those at the top and the folders."""
        files = self._revision(request).files()
        if request.query_params.get("recursive", "").lower() == "true":
            return JSONResponse([file.tree_entry() for file in files])
        top = [file.tree_entry() for file in files if "/" not in file.name]
        folders = sorted({file.name.partition("/")[0] for file in files if "/" in file.name})
        return JSONResponse([{"type": "directory", "path": name, "size": 0} for name in folders] + top)

    def resolve(self, request: Request) -> Response:
        """One file, or where it lies."""
        revision = self._revision(request)
        refused = _gate(request, revision)
        if refused:
            return refused
        file = revision.file(request.path_params["name"])
        headers = {"X-Repo-Commit": revision.sha, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if not file.lfs_oid:
            return FileResponse(file.path, headers=headers)
        path = f"/cdn/{file.lfs_oid}/{revision.repository}/{revision.sha}/-/{quote(file.name)}"
        linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": headers.pop("ETag")}
        return RedirectResponse(self._storage + path, status_code=302, headers=headers | linked)

    def large(self, request: Request) -> Response:
        """The bytes of a file in LFS. The hash in the address stands for a signature: no token is asked.

        A token is even refused, as signed addresses of object stores do: no client may hand its own on.
        """
        if "authorization" in request.headers:
            return _error(
                400, "InvalidArgument", "only one way to authorize is allowed, the address is signed"
            )
        file = self._revision(request).file(request.path_params["name"])
        if file.lfs_oid != request.path_params["oid"]:
            raise NotFoundError("EntryNotFound", "no file of that hash")
        return FileResponse(file.path, headers={"ETag": f'"{file.lfs_oid}"'})

    def _revision(self, request: Request) -> Revision:
        found: Mapping[str, str] = request.path_params
        return find(self._root, found["repository"], found.get("revision", "main"))


def _sibling(file: HubFile, blobs: bool) -> dict[str, object]:
    if not blobs:
        return {"rfilename": file.name}
    sibling: dict[str, object] = {"rfilename": file.name, "size": file.size, "blobId": file.oid}
    lfs = file.tree_entry().get("lfs")
    if isinstance(lfs, dict):
        sibling["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
    return sibling


def _gate(request: Request, revision: Revision) -> Response | None:
    """The refusal of a gated repository's file: 401 without a token, 403 with one that may not read it."""
    if revision.tokens is None:
        return None
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        message = (
            f"Access to model {revision.repository} is restricted: log in with a token that may read it."
        )
        return _error(401, "GatedRepo", message)
    if revision.tokens and token not in revision.tokens:
        return _error(
            403, "GatedRepo", f"Access to model {revision.repository} is restricted for this token."
        )
    return None


def _not_found(request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, NotFoundError) else "EntryNotFound"
    # The Hub does not tell strangers whether a repository exists: without a token it answers 401.
    hidden = code == "RepoNotFound" and "authorization" not in request.headers
    return _error(401 if hidden else 404, code, str(error))


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})
