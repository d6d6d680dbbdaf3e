"""Custom jobs of Vertex AI by its API: what the resource and the runner of staging jobs share.

Google gives each custom job a number, so a request to create one must not be sent twice without looking
first; jobs are found again by their display name and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from providers.base.errors import ProviderError, one_line
from providers.modelops.client import NotFound, TemporaryError
from providers.modelops.vertexai.api import VertexApi
from providers.modelops.vertexai.names import log_address, place_of

Body = dict[str, Any]

# Discovery document aiplatform.v1, CustomJob.state and PipelineJob.state.
ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"})
LIVE_FILTER: Final = " OR ".join(f'state="JOB_STATE_{state}"' for state in ("QUEUED", "PENDING", "RUNNING"))


@dataclass(frozen=True, slots=True)
class Run:
    """How a custom job or a pipeline run stands."""

    name: str
    state: str
    """As Google says it, without the prefix: `RUNNING`."""
    message: str
    """Why it ended as it did, else what it does now."""
    log_uri: str

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.state == "SUCCEEDED"


def run_of(body: Body) -> Run:
    """A custom job's state."""
    state = str(body.get("state", "")).removeprefix("JOB_STATE_")
    ended = one_line((body.get("error") or {}).get("message", "")) if state in ENDED else ""
    project, _ = place_of(body["name"])
    number = str(body["name"]).rpartition("/")[2]
    return Run(
        name=body["name"],
        state=state,
        # Google ends the message with an address of the log; ours stands beside it.
        message=ended.partition(" To find out more about why your job exited")[0] or state.lower(),
        # https://cloud.google.com/vertex-ai/docs/training/monitor-debug
        log_uri=log_address(project, 'resource.type="ml_job"', f'resource.labels.job_id="{number}"'),
    )


class CustomJobs:
    """Creates, finds, cancels and deletes custom jobs. Methods block, and raise as `VertexApi.call` does.

    Args:
        api: sends the requests.
    """

    def __init__(self, api: VertexApi) -> None:
        self._api = api

    def found_or_created(
        self, what: str, parent: str, body: Body, where: str, wanted: Callable[[Body], bool]
    ) -> Body:
        """A job that a filter selects and that is wanted; created where there is none.

        Lists may be late: the job of an `up` that was killed a moment ago may not be in them yet. So once one
        was created, the list is read until it has it, and an older one that appears then is taken instead.

        Args:
            what: the job, as an error's message names it: "custom job J".
            parent: the location.
            body: the request.
            where: the filter.
            wanted: whether a job may be taken for the one that would be created.
        """
        made = False

        def there(repeat: bool = True) -> list[Body]:
            found = self.listed(what, parent, where, repeat)
            return sorted((each for each in found if wanted(each)), key=_age)

        def attempt() -> Body:
            nonlocal made
            found = there(repeat=False)
            if found:
                return found[0]
            created = self._create(what, parent, body)
            made = True
            return created

        job = self._api.attempts(attempt)
        return self._eldest(what, job, there) if made else job

    def _eldest(self, what: str, own: Body, there: Callable[[], list[Body]]) -> Body:
        """A job that was just created, or an older one of the same that the list shows by now."""

        def attempt() -> Body:
            found = there()
            if all(each["name"] != own["name"] for each in found) and not self._ended(what, own):
                raise TemporaryError(f"{what}: created, but in no list yet")
            return found[0] if found else own

        try:
            eldest = self._api.attempts(attempt)
        except TemporaryError:
            return own
        if eldest["name"] != own["name"]:
            self.cancel(what, own["name"])
        return eldest

    def _ended(self, what: str, job: Body) -> bool:
        return run_of(self.get(what, job["name"])).done

    def listed(self, what: str, parent: str, wanted: str, repeat: bool = True) -> Iterator[Body]:
        """The custom jobs that a filter selects."""
        return self._api.pages(
            f"looking for {what}",
            "customJobs.list",
            "customJobs",
            repeat=repeat,
            parent=parent,
            filter=wanted,
        )

    def get(self, what: str, name: str) -> Body:
        """A custom job as it is now."""
        body: Body = self._api.call(f"watching {what}", "customJobs.get", name=name)
        return body

    def cancel(self, what: str, name: str) -> None:
        """Asks a custom job to stop; one that is gone or has ended already is no error."""
        try:
            self._api.call(f"stopping {what}", "customJobs.cancel", name=name, body={})
        except NotFound:
            return
        except ProviderError:
            # One that ended since it was looked for is refused.
            if not run_of(self.get(what, name)).done:
                raise

    def _create(self, what: str, parent: str, body: Body) -> Body:
        account = body["jobSpec"].get("serviceAccount")
        created: Body = self._api.call(
            f"creating {what}", "customJobs.create", repeat=False, account=account, parent=parent, body=body
        )
        return created


def shows(name: str) -> str:
    """The filter of those that show a display name, which has no quotation mark."""
    return f'display_name="{name}"'


def has_label(key: str, value: str) -> str:
    """The filter of those that have a label."""
    return f'labels.{key}="{value}"'


def _age(body: Body) -> tuple[str, str]:
    return str(body.get("createTime", "")), str(body["name"])
