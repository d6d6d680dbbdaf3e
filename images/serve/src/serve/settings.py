"""The server's settings, read from the environment that the contract names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from serve import contract
from serve.errors import Exit, StartupError

EngineName = Literal["transformers", "ctranslate2", "vllm"]
USUAL_BATCH = 32
"""Requests that run at once where nothing else is said; more rows hardly make a CPU more efficient."""
USUAL_TOKENS = 16_384
"""Tokens of a batch's prompts, and of the continuous cache, where nothing else is said."""
GCS = "gs://"


class Settings(BaseModel):
    """One field for each environment variable; the alias is the variable's name."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    model_path: Path = Field(alias="MODEL_PATH")
    model_name: str = Field(alias="MODEL_NAME", min_length=1)
    port: int = Field(alias="PORT", ge=0, le=65535)
    engine: EngineName = Field(alias="ENGINE")
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = Field(alias="DTYPE")
    max_input_tokens: int = Field(alias="MAX_INPUT_TOKENS", ge=1)
    max_new_tokens: int = Field(alias="MAX_NEW_TOKENS", ge=1)
    max_queue: int = Field(alias="MAX_QUEUE", ge=1)
    threads: int = Field(alias="THREADS", ge=1)
    max_batch: int = Field(
        alias="MAX_BATCH", ge=1, default_factory=lambda known: min(USUAL_BATCH, known.get("max_queue", 1))
    )
    max_batch_tokens: int = Field(
        alias="MAX_BATCH_TOKENS",
        ge=1,
        default_factory=lambda known: max(USUAL_TOKENS, known.get("max_input_tokens", 1)),
    )
    cache_tokens: int = Field(
        alias="CACHE_TOKENS",
        ge=1,
        default_factory=lambda known: max(
            USUAL_TOKENS, known.get("max_input_tokens", 1) + known.get("max_new_tokens", 1)
        ),
    )
    request_seconds: FiniteFloat = Field(alias="REQUEST_SECONDS", gt=0, default=300)
    grace_seconds: FiniteFloat = Field(alias="GRACE_SECONDS", ge=4, default=10)
    stall_seconds: FiniteFloat = Field(alias="STALL_SECONDS", gt=0, default=120)
    vertex_port: int | None = Field(alias="AIP_HTTP_PORT", ge=1, le=65535, default=None)
    vertex_health_route: str | None = Field(alias="AIP_HEALTH_ROUTE", pattern="^/", default=None)
    vertex_predict_route: str | None = Field(alias="AIP_PREDICT_ROUTE", pattern="^/", default=None)
    vertex_storage_uri: str | None = Field(alias="AIP_STORAGE_URI", default=None)
    model_cache: Path = Field(alias="MODEL_CACHE", default=Path("/tmp/model"))  # noqa: S108  the container's own
    host: str = Field(alias="HOST", default="0.0.0.0")  # noqa: S104  a container answers on every address
    """Address to listen on; not part of the contract, for running outside a container."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.dtype == "int8" and self.engine != "ctranslate2":
            raise ValueError(
                f"DTYPE is 'int8', which only ENGINE=ctranslate2 computes in, and ENGINE is {self.engine!r}"
            )
        for name, value in (("MAX_BATCH_TOKENS", self.max_batch_tokens), ("CACHE_TOKENS", self.cache_tokens)):
            if value < self.max_input_tokens:
                raise ValueError(f"{name} is {value}, less than one prompt of MAX_INPUT_TOKENS may have")
        return self

    @property
    def download_from(self) -> str | None:
        """The `gs://` address that the model is downloaded from at start; None where it is there already."""
        uri = self.vertex_storage_uri or ""
        wanted = uri.startswith(GCS) and self.model_path == cached(self.model_cache, uri)
        return uri if wanted else None

    @property
    def max_body_bytes(self) -> int:
        """Largest request body: far more than any accepted prompt needs, little enough to hold in memory."""
        return 65_536 + 64 * self.max_input_tokens

    @property
    def max_batch_body_bytes(self) -> int:
        """Largest body of a request with several prompts, of which each may be as long as a single one."""
        return 65_536 + 64 * self.max_input_tokens * min(self.max_queue, 64)

    @property
    def listen_port(self) -> int:
        """Vertex AI's port where that platform gives one: it asks for health there and nowhere else."""
        return self.port if self.vertex_port is None else self.vertex_port


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Args:
        environment: variables by name, normally `os.environ`. An empty value counts as absent.

    Raises:
        StartupError: variables are missing or wrong; the message names all of them.
    """
    table = contract.load()
    known = [*table.environment, "HOST"]
    values = {"PORT": str(table.port)} | {name: environment[name] for name in known if environment.get(name)}
    values = _with_vertex(values)
    missing = [
        name for name, variable in table.environment.items() if variable.required and name not in values
    ]
    problems = [f"{name} is not set ({table.environment[name].meaning})" for name in missing]
    if "MODEL_PATH" in missing and "AIP_STORAGE_URI" in values:
        uri = values["AIP_STORAGE_URI"]
        problems.append(f"AIP_STORAGE_URI is {uri!r}: neither gs://BUCKET/FOLDER nor a folder's whole path")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [
            _explain(values, item["loc"], item["msg"])
            for item in error.errors()
            if not item["loc"] or item["loc"][0] in values
        ]
        raise StartupError(Exit.SETTINGS, "environment: " + "; ".join(problems)) from None
    return settings


def cached(cache: Path, uri: str) -> Path:
    """The folder below `cache` for the model of a `gs://` address; each address has its own."""
    return cache / uri.removeprefix(GCS).strip("/")


def _with_vertex(values: dict[str, str]) -> dict[str, str]:
    """Takes the model's folder from AIP_STORAGE_URI where MODEL_PATH is not given.

    Vertex AI copies a model's artifacts to a bucket of its own and gives the container that address. Where a
    model is uploaded without artifacts the variable is empty, and the folder is in the image or mounted.
    https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables
    """
    uri = values.get("AIP_STORAGE_URI", "")
    if "MODEL_PATH" in values:
        return values
    if uri.removeprefix(GCS).strip("/") and uri.startswith(GCS):
        default = Settings.model_fields["model_cache"].default
        return values | {"MODEL_PATH": str(cached(Path(values.get("MODEL_CACHE", default)), uri))}
    folder = uri.removeprefix("file://")
    return values | {"MODEL_PATH": folder} if folder.startswith("/") else values


def _explain(values: Mapping[str, str], where: tuple[str | int, ...], message: str) -> str:
    if not where:
        return message.removeprefix("Value error, ")
    name = str(where[0])
    return f"{name} is {values[name]!r}: {message[0].lower()}{message[1:]}"
