"""What a platform must offer so that a staged model can be staged on it.

Each platform has one class that implements `Runner`, registered in `providers.modelops.registry`. Whatever
starts the container, the same image is run with the same arguments, and the same exit codes come back.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from providers.modelops.client import Google

LABEL = "llm-target"
"""Label of an execution that says what it stages; an interrupted deployment finds it again by this."""
DEFINITION_LABEL = "llm-definition"
"""Label of an execution with `Definition.digest`, where the platform keeps no definition: one that runs by
another definition is stopped, for what a person has just corrected would otherwise not be what runs."""

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Definition(BaseModel):
    """What to run, where the platform keeps no definition of a job between executions.

    Cloud Run keeps one, a resource of its own; for the other platforms the resource carries it. It never
    holds a secret: a container that needs one reads it from where `env` says.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )

    image: Text
    """Reference of the weights image, by digest."""
    args: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    """Arguments of the image, the command first: `stage --repo … --target …`."""
    env: dict[Name, str] = Field(default_factory=dict)
    service_account: Text
    """Who the container is: an e-mail address at Google, an account's name in a cluster."""
    timeout_seconds: Annotated[int, Field(ge=1)]
    """Longest that an execution may take, in seconds."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of each execution, beside `llm-target` and `llm-definition`."""

    no_work: ClassVar[frozenset[str]] = frozenset({"labels"})
    """Fields that do not change what an execution does."""

    @property
    def digest(self) -> str:
        """Value of `DEFINITION_LABEL`: the same for definitions whose executions do the same."""
        fields = self.model_dump(mode="json", exclude=set(self.no_work))
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Work:
    """What to stage with which job."""

    job: str
    """Full name of the job, in the form that the runner's `pattern` describes."""
    label: str
    """Value of `LABEL` on the executions that stage this target."""
    definition: Definition | None = None
    """An instance of the runner's `definition_type`; None where the platform keeps the definition."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a job."""

    name: str
    """Full name, by which the platform finds it."""
    done: bool
    succeeded: bool
    message: str
    """What the platform says of its state, on one line; may be empty."""
    log_uri: str
    """Where a person reads its log; empty where there is no address."""
    short: str = ""
    """How messages name it, where that is not the last part of `name`."""

    @property
    def short_name(self) -> str:
        """How messages name it."""
        return self.short or self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Job:
    """What a job's definition says."""

    name: str
    args: tuple[str, ...]
    label: str
    """The `llm-target` of its executions."""
    account: str
    """Whom it runs as; empty where the definition names nobody."""


class Runner(ABC):
    """Runs the weights image on one platform. Every method blocks; each may be called from any thread.

    Methods raise `client.NotFound` where what they name does not exist (unless they say otherwise),
    `client.TemporaryError` where the platform cannot be reached after all attempts, `errors.Cancelled` where
    the engine asked to stop in between, and `ProviderError` for a refusal; messages name the remedy.

    Args:
        google: gives the clients of Google's APIs, and ends a retry when the engine cancels.
    """

    platform: ClassVar[str]
    """What messages call it: "Cloud Run"."""
    pattern: ClassVar[re.Pattern[str]]
    """What a job's full name looks like; says which runner a job belongs to."""
    shape: ClassVar[str]
    """The same for a person: "projects/PROJECT/locations/LOCATION/jobs/JOB"."""
    definition_type: ClassVar[type[Definition] | None] = None
    """What the resource's input `definition` must be; None where it must be absent."""

    def __init__(self, google: Google) -> None:
        self.google = google

    @abstractmethod
    def begin(self, work: Work) -> Execution:
        """An execution that stages the work's target: one that runs already by the same definition, else a
        new one.

        Starting may not be idempotent on the platform: when an answer is lost, the execution may run all the
        same. So each attempt looks first.
        """

    @abstractmethod
    def running(self, work: Work) -> Execution | None:
        """The newest execution of the job that stages the target and has not ended; None if there is none."""

    def outdated(self, work: Work) -> Execution | None:  # noqa: ARG002
        """An execution that stages the target and has not ended, by another definition than the work's.

        None where there is none, and on a platform that keeps definitions: there it is the job that changes.
        """
        return None

    @abstractmethod
    def execution(self, name: str) -> Execution:
        """An execution as it is now, by its full name."""

    @abstractmethod
    def cancel(self, name: str) -> None:
        """Asks an execution to stop; one that is gone or has ended already is no error."""

    @abstractmethod
    def exit_code(self, execution: Execution) -> tuple[int | None, str]:
        """Exit code, if the platform tells it, and message of an execution that failed."""

    @abstractmethod
    def job(self, name: str) -> Job:
        """What a job runs, for an import: its definition, or what its newest execution was started with."""

    @abstractmethod
    def stages_elsewhere(self, work: Work) -> list[str]:
        """Names of other jobs that stage the same target, as far as the platform knows them."""
