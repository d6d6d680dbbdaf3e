"""A loopback Hub that makes staging slow or wrong on demand, in this process and without a clock."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route

from rehearsal.hub.app import create_app
from stacks.plan.catalog import catalog
from tests.engine.checkpoints import fill_hub, tiny_checkpoint

WEIGHTS = "model.safetensors"
_POLL_SECONDS = 0.02
_OTHER_REVISION = "0" * 40


class TroubledHub:
    """Every model of the catalog; how one is troubled holds until it is put right.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open = threading.Event()
        self._open.set()
        self._asked = threading.Event()
        self._wrong: set[str] = set()
        fill_hub(root)
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.address, storage = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in sockets)
        large = Route("/cdn/{oid}/{repository:path}/{revision}/-/{name:path}", self._large)
        app = Starlette(routes=[large, Mount("/", create_app(root, storage))])
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": sockets}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.release()
        self._server.should_exit = True
        self._thread.join(30)

    def hold(self) -> None:
        """Keep every download of weights waiting."""
        self._asked.clear()
        self._open.clear()

    def keeps_waiting(self) -> bool:
        """Whether a download waits: a job is in the middle of its work."""
        return self._asked.is_set()

    def release(self) -> None:
        """Let downloads go on."""
        self._open.set()

    def serve_wrong_bytes(self, repository: str) -> None:
        """Serve weights other than those that the Hub states, with their size and header."""
        self._wrong.add(repository)

    def gate(self, repository: str, token: str) -> None:
        """Ask for this token."""
        (self._root / repository / "gated").write_text(token)

    def ungate(self, repository: str) -> None:
        """Ask for no token any more."""
        (self._root / repository / "gated").unlink()

    def forget_revision(self, repository: str) -> None:
        """Have another commit of the repository than the catalog's."""
        folder = self._folder(repository)
        folder.rename(folder.with_name(_OTHER_REVISION))

    def put_right(self, repository: str) -> None:
        """Have the catalog's revision, with its own bytes."""
        folder = self._folder(repository)
        if not folder.exists():
            folder.with_name(_OTHER_REVISION).rename(folder)
        self._wrong.discard(repository)

    def _folder(self, repository: str) -> Path:
        return self._root / repository / catalog()[repository].revision

    async def _large(self, request: Request) -> Response:
        found = request.path_params
        path = self._root / found["repository"] / found["revision"] / found["name"]
        while not self._open.is_set():
            self._asked.set()
            await asyncio.sleep(_POLL_SECONDS)
        if found["repository"] in self._wrong:
            path = self._root / "wrong.safetensors"
            path.write_bytes(tiny_checkpoint(seed=len(catalog())))
        return FileResponse(path)
