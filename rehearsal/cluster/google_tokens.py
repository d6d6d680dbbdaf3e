"""Tells the cluster whose a token of the rehearsed Google is, as GKE's control plane knows Google's own.

The request is a TokenReview:
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rehearsal.cloud.tokens import Tokens


class TokenReviews:
    """A webhook on loopback.

    Args:
        folder: the world's folder, whose key signs the tokens.
    """

    def __init__(self, folder: Path) -> None:
        tokens = Tokens(folder)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                answer = json.dumps(_reviewed(tokens, json.loads(self.rfile.read(length)))).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing: a request holds a token."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where the cluster asks."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _reviewed(tokens: Tokens, review: dict[str, Any]) -> dict[str, Any]:
    caller = tokens.caller(str(review["spec"]["token"]))
    # An identity token is for a service that it names; the control plane takes access tokens.
    known = caller is not None and caller.audience is None
    status: dict[str, Any] = {"authenticated": known}
    if caller is not None and known:
        # To GKE a person and a service account are their e-mail address.
        status["user"] = {"username": caller.member.partition(":")[2]}
    return {"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status}
