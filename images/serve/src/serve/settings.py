"""The server's settings, read from the environment that the contract names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve import contract
from serve.errors import Exit, StartupError


class Settings(BaseModel):
    """One field for each environment variable; the alias is the variable's name."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    model_path: Path = Field(alias="MODEL_PATH")
    model_name: str = Field(alias="MODEL_NAME", min_length=1)
    port: int = Field(alias="PORT", ge=0, le=65535)
    dtype: Literal["float32", "bfloat16", "float16"] = Field(alias="DTYPE")
    max_input_tokens: int = Field(alias="MAX_INPUT_TOKENS", ge=1)
    max_new_tokens: int = Field(alias="MAX_NEW_TOKENS", ge=1)
    max_queue: int = Field(alias="MAX_QUEUE", ge=1)
    threads: int = Field(alias="THREADS", ge=1)
    host: str = Field(alias="HOST", default="0.0.0.0")  # noqa: S104  a container answers on every address
    """Address to listen on; not part of the contract, for running outside a container."""

    @property
    def max_body_bytes(self) -> int:
        """Largest request body: far more than any accepted prompt needs, little enough to hold in memory."""
        return 65_536 + 64 * self.max_input_tokens


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
    missing = [
        name for name, variable in table.environment.items() if variable.required and name not in values
    ]
    problems = [f"{name} is not set ({table.environment[name].meaning})" for name in missing]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [
            _explain(values, item["loc"][0], item["msg"])
            for item in error.errors()
            if item["type"] != "missing"
        ]
        raise StartupError(Exit.SETTINGS, "environment: " + "; ".join(problems)) from None
    return settings


def _explain(values: Mapping[str, str], name: object, message: str) -> str:
    return f"{name} is {values[str(name)]!r}: {message[0].lower()}{message[1:]}"
