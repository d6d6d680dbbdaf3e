"""Requests to Vertex AI, with errors that name the role, the account or the field to be looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from providers.base.errors import ProviderError
from providers.modelops.client import Conflict, Google, NotFound, TemporaryError
from providers.modelops.vertexai.names import place_of

T = TypeVar("T")

MORE_QUOTA: Final = (
    "ask for more of it (console, IAM & Admin, Quotas), or take fewer replicas or another machine"
)
"""What is done about a quota that is too small."""

_TARGETS = ("name", "parent", "endpoint")
# "The following quota metrics exceed quota limits: …"; of requests a minute it says "Quota exceeded for quota
# metric …". https://github.com/GoogleCloudPlatform/stable-diffusion-on-gcp/issues/12
_TOO_SMALL = re.compile(r"answered 429: (The following quota.*); run the command again")


class VertexApi:
    """The methods below `projects.locations` of the API. All of it blocks, and may be called from any thread.

    Args:
        google: makes the clients, and ends a retry when the engine cancels.
    """

    def __init__(self, google: Google) -> None:
        self._google = google

    def call(
        self, what: str, method: str, *, repeat: bool = True, account: str | None = None, **arguments: Any
    ) -> Any:
        """Calls a method and gives its answer.

        Args:
            what: what is being done, to begin an error's message with: "reading model M".
            method: its name below `projects.locations`: "models.get".
            repeat: False for a request that must not be sent twice without looking first.
            account: the service account that something is to run as.
            arguments: the method's own; `name`, `parent` or `endpoint` says in which region it is called.

        Raises:
            NotFound, Conflict, TemporaryError, Cancelled, ProviderError: as `Google.call` does.
        """
        target = next(str(arguments[key]) for key in _TARGETS if key in arguments)
        project, location = place_of(target)
        *collections, verb = method.split(".")

        def request() -> Any:
            node = self._google.service("aiplatform", location).projects().locations()
            for collection in collections:
                node = getattr(node, collection)()
            return getattr(node, verb)(**arguments)

        role = f"roles/aiplatform.user on project {project or '?'}"
        if account:
            role = f"{role} and roles/iam.serviceAccountUser on {account}"
        try:
            return self._google.call(what, role, request, repeat)
        except TemporaryError as error:
            too_small = _TOO_SMALL.search(str(error))
            if too_small is None:
                raise
            # Waiting a moment does not help: it is about machines, not about requests a minute.
            raise ProviderError(f"{what}: {too_small[1]}; {MORE_QUOTA}") from error
        except (NotFound, Conflict):
            raise
        except ProviderError as error:
            if not account or f"{account} does not exist" not in str(error):
                raise
            # An account that was just made is not known everywhere yet.
            raise TemporaryError(f"{error}; run the command again in some minutes") from error

    def pages(
        self, what: str, method: str, field: str, *, repeat: bool = True, **arguments: Any
    ) -> Iterator[dict[str, Any]]:
        """Every item of a list, whose field in each page is `field`; otherwise as `call`."""
        page: str | None = None
        while True:
            answer = self.call(what, method, repeat=repeat, pageToken=page, **arguments)
            yield from answer.get(field, [])
            page = answer.get("nextPageToken")
            if not page:
                return

    def found(
        self, what: str, method: str, *, repeat: bool = True, **arguments: Any
    ) -> dict[str, Any] | None:
        """The answer of a method that reads something; None where it does not exist."""
        try:
            answer: dict[str, Any] = self.call(what, method, repeat=repeat, **arguments)
        except NotFound:
            return None
        return answer

    def attempts(self, attempt: Callable[[], T]) -> T:
        """The result of an attempt that looks first and then asks for something that must happen only once.

        It is made again, a bounded number of times, after an answer that was lost, and after one that says
        that the thing exists already or is being worked on: the next look finds it.
        """

        def once() -> T:
            try:
                return attempt()
            except Conflict as error:
                raise TemporaryError(f"{error}; run the command again in some minutes") from error

        result: T = self._google.retrying()(once)
        return result
