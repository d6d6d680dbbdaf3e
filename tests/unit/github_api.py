"""A stand-in for the part of GitHub's REST API that a comment needs, on loopback.

Paths, parameters, statuses and fields follow docs.github.com/en/rest: issues/comments and pulls/pulls,
version 2022-11-28; pages follow .../rest/using-the-rest-api/using-pagination-in-the-rest-api.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_ATokenOfTheTests"
BOT = "github-actions[bot]"
LONGEST = 65_536
LARGEST_PAGE = 100


class Api:
    """One repository: its pull requests and their comments.

    Args:
        repository: `OWNER/NAME`.
    """

    def __init__(self, repository: str = "acme/llm") -> None:
        self.repository = repository
        self.pulls: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.read_only = False
        self.failures = 0
        """How many of the next requests are answered with 502."""
        self.requests: list[str] = []
        self.address = ""

    def open_pull(self, number: int, sha: str, head: str = "", branch: str = "topic") -> None:
        """Open a pull request, by default from a branch of the repository itself."""
        head = head or self.repository
        self.pulls[number] = {
            "number": number,
            "state": "open",
            "head": {
                "sha": sha,
                "ref": branch,
                "label": f"{head.split('/')[0]}:{branch}",
                "repo": {"full_name": head},
            },
            "base": {"ref": "main", "repo": {"full_name": self.repository}},
        }
        self.comments.setdefault(number, [])

    def say(self, number: int, body: str, login: str = BOT) -> int:
        """Write a comment as somebody; returns its id."""
        identity = 1 + max((c["id"] for each in self.comments.values() for c in each), default=100)
        kind = "Bot" if login.endswith("[bot]") else "User"
        self.comments[number].append({"id": identity, "body": body, "user": {"login": login, "type": kind}})
        return identity

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status and JSON for a request that is authorised."""
        prefix = f"/repos/{self.repository}"
        if method == "GET" and path == f"{prefix}/pulls":
            found = [p for p in self.pulls.values() if p["state"] == query.get("state", "open")]
            wanted = query.get("head")
            return 200, [p for p in found if wanted is None or p["head"]["label"] == wanted]
        if method == "GET" and (match := re.fullmatch(rf"{prefix}/pulls/(\d+)", path)):
            return self._found(self.pulls.get(int(match[1])))
        if match := re.fullmatch(rf"{prefix}/issues/(\d+)/comments", path):
            return self._comments(method, int(match[1]), body)
        if method == "PATCH" and (match := re.fullmatch(rf"{prefix}/issues/comments/(\d+)", path)):
            return self._edit(int(match[1]), body)
        return 404, {"message": "Not Found"}

    def _comments(self, method: str, number: int, body: Any) -> tuple[int, Any]:
        if number not in self.comments:
            return 404, {"message": "Not Found"}
        if method == "GET":
            return 200, self.comments[number]
        refused = self._refused(body)
        if refused is not None:
            return refused
        identity = self.say(number, body["body"])
        return 201, next(c for c in self.comments[number] if c["id"] == identity)

    def _edit(self, identity: int, body: Any) -> tuple[int, Any]:
        refused = self._refused(body)
        if refused is not None:
            return refused
        for comment in (c for each in self.comments.values() for c in each):
            if comment["id"] == identity:
                comment["body"] = body["body"]
                return 200, comment
        return 404, {"message": "Not Found"}

    def _refused(self, body: Any) -> tuple[int, Any] | None:
        if self.read_only:
            return 403, {"message": "Resource not accessible by integration"}
        if set(body) != {"body"} or not isinstance(body["body"], str):
            return 422, {"message": "Validation Failed"}
        if len(body["body"]) > LONGEST:
            return 422, {"message": f"Validation Failed: body is too long (maximum is {LONGEST} characters)"}
        return None

    def _found(self, what: Any) -> tuple[int, Any]:
        return (404, {"message": "Not Found"}) if what is None else (200, what)


@contextmanager
def serving(api: Api) -> Iterator[Api]:
    """Listen on a loopback port until the end."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            api.requests.append(f"{self.command} {url.path}")
            self._reply(*self._answer(url.path, query, body), url.path, query)

        def _answer(self, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
            if api.failures:
                api.failures -= 1
                return 502, {"message": "Server Error"}
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, {"message": "Bad credentials"}
            if self.headers.get("X-GitHub-Api-Version") != "2022-11-28":
                return 400, {"message": "The version is missing"}
            if self.headers.get("Accept") != "application/vnd.github+json":
                return 415, {"message": "Unsupported media type"}
            return api.answer(self.command, path, query, body)

        def _reply(self, status: int, content: Any, path: str, query: dict[str, str]) -> None:
            links = ""
            if isinstance(content, list):
                size, page = min(int(query.get("per_page", 30)), LARGEST_PAGE), int(query.get("page", 1))
                if len(content) > page * size:
                    links = f'<{api.address}{path}?per_page={size}&page={page + 1}>; rel="next"'
                content = content[(page - 1) * size : page * size]
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(raw)))
            if links:
                self.send_header("Link", links)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - the names that the library calls

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    api.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
