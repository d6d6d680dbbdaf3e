"""The inputs of a `StagedModel`: types, checks and default, and how they follow from a job's arguments."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from providers.base.paths import format_path
from providers.base.provider import CheckFailure
from providers.base.values import UNKNOWN, Properties, has_unknown, strip_secrets
from providers.modelops.manifest import Source
from providers.modelops.registry import KINDS, kind_of
from providers.modelops.runners import Job, Text, Work
from providers.modelops.storage import Target
from providers.modelops.validation import RULE, errors, reason

_TARGET = r"^gs://[a-z0-9][a-z0-9._-]+/[^/].*[^/]$"
_LABEL = r"^[a-z0-9_-]{1,63}$"
_RESOURCE = "StagedModel"
_SHAPES = {
    "target": "gs://BUCKET/PREFIX without a trailing slash",
    "targetLabel": "a label's value: 1 to 63 of a-z, 0-9, _ and -",
}
_ARGUMENTS = ("repo", "revision", "target", "format", "dtype")
_NOT_THE_FILES = frozenset({"retain", "job", "definition"})
_Data = dict[str, Any]


def _job(value: str) -> str:
    if kind_of(value) is None:
        shapes = " or ".join(kind.shape for kind in KINDS)
        raise PydanticCustomError(
            RULE, "{value} is not a job's full name, {shapes}", {"value": repr(value), "shapes": shapes}
        )
    return value


class StagedInputs(BaseModel):
    """Validated, known inputs."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )

    job: Annotated[str, AfterValidator(_job)]
    target: Annotated[str, Field(pattern=_TARGET)]
    repository: Text
    revision: Text
    format: Text
    dtype: Text
    target_label: Annotated[str, Field(pattern=_LABEL)]
    retain: bool = True
    definition: _Data | None = None
    """What the job runs, where its platform keeps no definition; its shape is the runner's."""

    @property
    def source(self) -> Source:
        """Which weights."""
        return Source(self.repository, self.revision, self.format, self.dtype)

    @property
    def place(self) -> Target:
        """Where they lie."""
        return Target.parse(self.target)

    @property
    def work(self) -> Work:
        """What to stage with which job."""
        kind = kind_of(self.job)
        shape = kind.definition_type if kind else None
        definition = shape.model_validate(self.definition) if shape and self.definition else None
        return Work(self.job, self.target_label, definition)

    def properties(self) -> Properties:
        """The inputs as the engine names them."""
        return self.model_dump(by_alias=True, exclude_none=True)

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


def concerns_the_files(path: tuple[Any, ...]) -> bool:
    """Whether a change at a property path is of what is staged, and not only of who would stage it."""
    return path[0] not in _NOT_THE_FILES


def failures(news: Properties) -> list[CheckFailure]:
    """What is wrong with inputs of which some may be unknown yet."""
    unknown = {name for name, value in news.items() if has_unknown(value)}
    known = {
        name: strip_secrets(value)
        for name, value in news.items()
        if name not in unknown and value is not None
    }
    found: list[CheckFailure] = []
    for error in errors(StagedInputs, known):
        name = str(error["loc"][0])
        if not (error["type"] == "missing" and name in unknown):
            found.append(CheckFailure(format_path((name,)), reason(_RESOURCE, error, _SHAPES, news)))
    if "definition" in unknown or "job" not in known or any(each.path == "job" for each in found):
        return found
    return [*found, *_definition_failures(known["job"], news.get("definition"))]


def _definition_failures(job: str, definition: Any) -> list[CheckFailure]:
    kind = kind_of(job)
    shape = kind.definition_type if kind else None
    if kind is None or (shape is None and definition is None):
        return []
    if shape is None:
        return [CheckFailure("definition", f"is not for a job of {kind.platform}, which keeps its own")]
    if definition is None:
        return [CheckFailure("definition", f"is required for a job of {kind.platform}")]
    return [
        CheckFailure(
            format_path(("definition", *error["loc"])), reason(_RESOURCE, error, _SHAPES, definition)
        )
        for error in errors(shape, strip_secrets(definition))
    ]


def with_default(news: Properties) -> Properties:
    """The inputs with `retain` filled in where it is not given."""
    return news if news.get("retain") is not None else {**news, "retain": True}


def foretold(inputs: Properties) -> Properties:
    """The outputs that a preview can give: the inputs; what only the staged files can tell is unknown."""
    return {**inputs, **dict.fromkeys(("files", "totalBytes", "manifestSha256", "toolVersion"), UNKNOWN)}
