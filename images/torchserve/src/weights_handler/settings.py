"""The settings of the start and of each worker, from the environment that `contract.json` names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weights_handler.errors import Exit, StartupError

GCS = "gs://"
CHECKOUT = Path(__file__).resolve().parents[2]
HIGHEST_LOOPBACK_PORT = 65532


class Settings(BaseModel):
    """One field for each environment variable; the alias is the variable's name."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    model_path: Path = Field(alias="MODEL_PATH")
    port: int = Field(alias="PORT", default=8080, ge=1, le=65535)
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(alias="DTYPE", default=None)
    max_input_tokens: int = Field(alias="MAX_INPUT_TOKENS", default=1024, ge=1)
    max_new_tokens: int = Field(alias="MAX_NEW_TOKENS", default=256, ge=1)
    max_queue: int = Field(alias="MAX_QUEUE", default=100, ge=1)
    max_instances: int = Field(alias="MAX_INSTANCES", default=32, ge=1)
    threads: int = Field(alias="THREADS", default=1, ge=1)
    workers: int = Field(alias="WORKERS", default=1, ge=1)
    batch_size: int = Field(alias="BATCH_SIZE", default=8, ge=1)
    batch_delay_ms: int = Field(alias="BATCH_DELAY_MS", default=20, ge=1)
    response_seconds: int = Field(alias="RESPONSE_SECONDS", default=600, ge=1)
    startup_seconds: int = Field(alias="STARTUP_SECONDS", default=1800, ge=1)
    prompt_format: Literal["auto", "plain", "dolly"] = Field(alias="PROMPT_FORMAT", default="auto")
    storage_uri: str | None = Field(alias="AIP_STORAGE_URI", default=None)
    model_cache: Path = Field(alias="MODEL_CACHE", default=Path("/tmp/model"))  # noqa: S108  the container's own
    host: str = Field(alias="HOST", default="0.0.0.0")  # noqa: S104  a container answers on every address
    """Address of the inference port; not part of the contract, for running outside a container."""
    loopback_port: int = Field(alias="LOOPBACK_PORT", default=8081, ge=1, le=HIGHEST_LOOPBACK_PORT)
    """First of the four ports that stay on the loopback interface; not part of the contract, for several
    servers on one machine."""

    @property
    def download_from(self) -> str | None:
        """The `gs://` address that the model is downloaded from; None where it is in its folder already."""
        uri = self.storage_uri or ""
        return uri if uri.startswith(GCS) and self.model_path == cached(self.model_cache, uri) else None


def cached(cache: Path, uri: str) -> Path:
    """The folder below `cache` for the model of a `gs://` address; each address has its own."""
    return cache / uri.removeprefix(GCS).strip("/")


def packaged(name: str) -> Path:
    """A data file: of the installed package, or of the folder above `src` in a checkout."""
    inside = Path(__file__).with_name(name)
    return inside if inside.exists() else CHECKOUT / name


@cache
def contract() -> dict[str, Any]:
    """The table that this image and whoever deploys it both read."""
    table: dict[str, Any] = json.loads(packaged("contract.json").read_bytes())
    return table


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Args:
        environment: variables by name, normally `os.environ`. An empty value counts as absent.

    Raises:
        StartupError: variables are missing or wrong; the message names all of them.
    """
    known = [field.alias for field in Settings.model_fields.values() if field.alias]
    values = {name: environment[name] for name in known if environment.get(name)}
    if port := environment.get("AIP_HTTP_PORT"):
        values["PORT"] = port
    if "MODEL_PATH" not in values and (folder := _given_by_vertex(values)):
        values["MODEL_PATH"] = folder
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_explain(values, str(item["loc"][0]), item["msg"]) for item in error.errors())
        raise StartupError(Exit.SETTINGS, f"environment: {problems}") from None


def _given_by_vertex(values: Mapping[str, str]) -> str | None:
    """The model's folder as AIP_STORAGE_URI says: a folder itself, or the cache of an address in a bucket.

    https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables
    """
    uri = values.get("AIP_STORAGE_URI", "")
    if uri.startswith(GCS) and uri.removeprefix(GCS).strip("/"):
        default = str(Settings.model_fields["model_cache"].default)
        return str(cached(Path(values.get("MODEL_CACHE", default)), uri))
    return uri if uri.startswith("/") else None


def _explain(values: Mapping[str, str], name: str, message: str) -> str:
    if name not in values:
        return f"{name} is not set ({contract()['environment'][name]['meaning']})"
    return f"{name} is {values[name]!r}: {message[0].lower()}{message[1:]}"
