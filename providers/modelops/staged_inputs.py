"""The inputs of a `StagedModel`: types, checks and default, and how they follow from a job's arguments."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from providers.base.paths import format_path
from providers.base.provider import CheckFailure
from providers.base.values import UNKNOWN, Properties, has_unknown, strip_secrets
from providers.modelops.jobs import Job
from providers.modelops.manifest import Source
from providers.modelops.storage import Target

_JOB = r"^projects/[^/]+/locations/[^/]+/jobs/[^/]+$"
_TARGET = r"^gs://[a-z0-9][a-z0-9._-]+/[^/].*[^/]$"
_LABEL = r"^[a-z0-9_-]{1,63}$"
_SHAPES = {
    "job": "a job's full name, projects/PROJECT/locations/LOCATION/jobs/JOB",
    "target": "gs://BUCKET/PREFIX without a trailing slash",
    "targetLabel": "a label's value: 1 to 63 of a-z, 0-9, _ and -",
}
_ARGUMENTS = ("repo", "revision", "target", "format", "dtype")

Text = Annotated[str, Field(min_length=1)]


class StagedInputs(BaseModel):
    """Validated, known inputs."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )

    job: Annotated[str, Field(pattern=_JOB)]
    target: Annotated[str, Field(pattern=_TARGET)]
    repository: Text
    revision: Text
    format: Text
    dtype: Text
    target_label: Annotated[str, Field(pattern=_LABEL)]
    retain: bool = True

    @property
    def source(self) -> Source:
        """Which weights."""
        return Source(self.repository, self.revision, self.format, self.dtype)

    @property
    def place(self) -> Target:
        """Where they lie."""
        return Target.parse(self.target)

    def properties(self) -> Properties:
        """The inputs as the engine names them."""
        return self.model_dump(by_alias=True)

    @staticmethod
    def of(properties: Properties) -> StagedInputs:
        """The inputs among the properties of a resource; outputs beside them are passed over."""
        plain = strip_secrets(properties)
        names = [field.alias or name for name, field in StagedInputs.model_fields.items()]
        return StagedInputs.model_validate({name: plain[name] for name in names if name in plain})

    @staticmethod
    def from_job(job: Job) -> StagedInputs | None:
        """What a weights job stages, read from its arguments; None where it is no such job."""
        pairs = dict(zip(job.args[1::2], job.args[2::2], strict=False))
        if (
            job.args[:1] != ("stage",)
            or not all(f"--{name}" in pairs for name in _ARGUMENTS)
            or not job.label
        ):
            return None
        return StagedInputs(
            job=job.name,
            target=pairs["--target"].rstrip("/"),
            repository=pairs["--repo"],
            revision=pairs["--revision"],
            format=pairs["--format"],
            dtype=pairs["--dtype"],
            target_label=job.label,
        )


def failures(news: Properties) -> list[CheckFailure]:
    """What is wrong with inputs of which some may be unknown yet."""
    unknown = {name for name, value in news.items() if has_unknown(value)}
    known = {
        name: strip_secrets(value)
        for name, value in news.items()
        if name not in unknown and value is not None
    }
    try:
        StagedInputs.model_validate(known)
    except ValidationError as error:
        found = [(str(item["loc"][0]), item["type"], item["msg"], item["input"]) for item in error.errors()]
        return [
            CheckFailure(format_path((name,)), _reason(name, kind, message, value))
            for name, kind, message, value in found
            if not (kind == "missing" and name in unknown)
        ]
    return []


def _reason(name: str, kind: str, message: str, value: object) -> str:
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return "is no input of StagedModel"
    if kind == "string_pattern_mismatch":
        return f"{value!r} is not {_SHAPES[name]}"
    return f"{message[0].lower()}{message[1:]}, got {value!r}"


def with_default(news: Properties) -> Properties:
    """The inputs with `retain` filled in where it is not given."""
    return news if news.get("retain") is not None else {**news, "retain": True}


def foretold(inputs: Properties) -> Properties:
    """The outputs that a preview can give: the inputs; what only the staged files can tell is unknown."""
    return {**inputs, **dict.fromkeys(("files", "totalBytes", "manifestSha256", "toolVersion"), UNKNOWN)}
