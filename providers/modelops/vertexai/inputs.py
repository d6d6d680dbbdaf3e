"""What the inputs of all Vertex AI resources share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from providers.base.values import Properties, strip_secrets
from providers.modelops.runners import Text as Text
from providers.modelops.validation import RULE
from providers.modelops.vertexai.names import OWN_LABELS

T = TypeVar("T", bound="VertexInputs")

Project = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.:-]*$")]
Location = Annotated[str, Field(pattern=r"^[a-z]+(-[a-z0-9]+)+$")]
DisplayName = Annotated[str, Field(min_length=1, max_length=128)]
"""Discovery document aiplatform.v1: up to 128 characters of any kind."""
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Folder = Annotated[str, Field(pattern=r"^gs://[a-z0-9][a-z0-9._-]+(/.*)?$")]
Account = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Image = Annotated[str, Field(pattern=r"^([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io)/[^\s]+$")]
"""Discovery document aiplatform.v1, ModelContainerSpec.imageUri: Artifact Registry or Container Registry."""
LabelKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
LabelValue = Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]
"""https://cloud.google.com/resource-manager/docs/labels-overview; without letters of other scripts."""
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]

SHAPES: Final[Mapping[str, str]] = {
    "project": "a project's id",
    "location": "a region, for instance us-central1",
    "imageUri": "an image in Artifact Registry, LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE@sha256:…",
    "artifactUri": "gs://BUCKET/PREFIX",
    "pipelineRoot": "gs://BUCKET/PREFIX",
    "baseOutputDirectory": "gs://BUCKET/PREFIX",
    "serviceAccount": "a service account's e-mail address",
    "predictRoute": "a path that begins with /",
    "healthRoute": "a path that begins with /",
    "path": "a path that begins with /",
    "modelId": "1 to 63 of a-z, 0-9, _ and -, a letter or _ first",
    "runId": "1 to 127 of a-z, 0-9 and -, a letter first",
    "model": "projects/PROJECT/locations/LOCATION/models/MODEL@VERSION",
    "endpoint": "an endpoint's id or full name, projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT",
    "versionAliases": "an alias: a-z first, then a-z, A-Z, 0-9 and -, at most 128, and no - at the end",
}


class Spec(BaseModel):
    """A part of inputs, in camelCase on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )

    def properties(self) -> Properties:
        """As the engine names it, without what is not set."""
        return self.model_dump(by_alias=True, exclude_none=True)


class VertexInputs(Spec):
    """Validated, known inputs of a resource in a project and region."""

    project: Project
    location: Location

    @property
    def parent(self) -> str:
        """Full name of the location."""
        return f"projects/{self.project}/locations/{self.location}"

    @classmethod
    def of(cls: type[T], properties: Properties) -> T:
        """The inputs among the properties of a resource; outputs beside them are passed over."""
        plain = strip_secrets(properties)
        return cls.model_validate({name: plain[name] for name in cls.names() if plain.get(name) is not None})

    @classmethod
    def names(cls) -> list[str]:
        """The inputs' names on the wire."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def defaults(cls) -> Properties:
        """Values of the inputs that have one without being given."""
        return {
            field.alias or name: field.get_default(call_default_factory=True)
            for name, field in cls.model_fields.items()
            if not field.is_required() and field.default is not None
        }


class RunInputs(VertexInputs):
    """Validated, known inputs of something that runs once."""

    display_name: DisplayName
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    wait: bool
    """Whether a deployment waits until it has ended."""

    @model_validator(mode="after")
    def _own_labels(self) -> RunInputs:
        taken = sorted(OWN_LABELS & self.labels.keys())
        if taken:
            raise refuse("labels", "{names} is set by the provider itself", names=", ".join(taken))
        return self


def refuse(path: str, said: str, **context: str) -> PydanticCustomError:
    """A refusal by a rule of our own.

    Args:
        path: the input that it is about, below what the rule looks at; empty for that itself.
        said: what stands after the input's name, with `{names}` of the context.
        context: what is filled in.
    """
    return PydanticCustomError(RULE, said, {**context, "path": path})
