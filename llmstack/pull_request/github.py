"""The part of GitHub's REST API that a comment needs.

Source of paths and fields: https://docs.github.com/en/rest/issues/comments and .../rest/pulls/pulls, version
2022-11-28.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

API = "https://api.github.com"
BOT = "github-actions[bot]"
"""Whom GitHub names as the author of what a workflow's own token writes."""
_VERSION = "2022-11-28"
_PAGE = 100
_TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 3
_UNAVAILABLE = 500


class GitHubError(Exception):
    """GitHub refused or cannot be reached; one line."""


class ForbiddenError(GitHubError):
    """The token may not do this."""


class GitHub:
    """A repository on GitHub.

    Args:
        repository: `OWNER/NAME`.
        token: what authorises the calls.
        api: the API's address.
    """

    def __init__(self, repository: str, token: str, api: str = API) -> None:
        self._repository = f"/repos/{repository}"
        self._client = httpx.Client(
            base_url=api,
            timeout=_TIMEOUT_SECONDS,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {token}",
                "X-GitHub-Api-Version": _VERSION,
                "User-Agent": "llmstack",
            },
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def head_of(self, number: int) -> str:
        """The commit at the head of a pull request."""
        return str(self._get(f"{self._repository}/pulls/{number}").json()["head"]["sha"])

    def open_pull_requests(self, owner: str, branch: str) -> list[dict[str, Any]]:
        """The open pull requests from a branch, which may be a fork's.

        Args:
            owner: who owns the repository that the branch is in.
            branch: its name.
        """
        params = {"state": "open", "head": f"{owner}:{branch}"}
        return list(self._pages(f"{self._repository}/pulls", params))

    def find_comment(self, number: int, marker: str, author: str = BOT) -> int | None:
        """The id of the author's first comment that begins with a marker; None where there is none."""
        for found in self._pages(f"{self._repository}/issues/{number}/comments", {}):
            mine = (found.get("user") or {}).get("login") == author
            if mine and str(found.get("body") or "").startswith(marker):
                return int(found["id"])
        return None

    def create_comment(self, number: int, body: str) -> None:
        """Write a comment. Not repeated on a failure: GitHub may have taken it all the same."""
        self._send("POST", f"{self._repository}/issues/{number}/comments", {"body": body})

    def update_comment(self, comment: int, body: str) -> None:
        """Replace a comment's text."""
        path = f"{self._repository}/issues/comments/{comment}"
        self._repeated(lambda: self._send("PATCH", path, {"body": body}))

    def _pages(self, path: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        answer = self._get(path, {**params, "per_page": str(_PAGE)})
        while True:
            yield from answer.json()
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            answer = self._get(following)

    def _get(self, path: str, params: dict[str, str] | None = None) -> httpx.Response:
        return self._repeated(lambda: self._send("GET", path, None, params))

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None, params: dict[str, str] | None = None
    ) -> httpx.Response:
        answer = self._client.request(method, path, json=body, params=params)
        if answer.status_code >= _UNAVAILABLE:
            answer.raise_for_status()
        if answer.is_success:
            return answer
        said = f"{method} {answer.url.path}: GitHub answers {answer.status_code}: {_message(answer)}"
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise ForbiddenError(f"{said}; the token needs `pull-requests: write`")
        raise GitHubError(said)

    def _repeated(self, call: Any) -> httpx.Response:
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, httpx.HTTPError)),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential(max=8),
            reraise=True,
        )
        answer: httpx.Response = retrying(call)
        return answer


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
