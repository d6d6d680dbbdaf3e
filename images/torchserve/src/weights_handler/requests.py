"""Reading the body of one request: the shape of Vertex AI, every value checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from weights_handler.errors import RequestError

ORIGINAL_TOP_P = 0.92
ORIGINAL_TOP_K = 0
"""What sampling uses unless told otherwise: the values of Databricks' pipeline for dolly
(`instruct_pipeline.py`). 0 tokens are all tokens."""
LEAST_TEMPERATURE = 0.01


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is chosen, all values checked."""

    max_new_tokens: int | None = None
    """None: as many as the server allows and the model's context holds."""
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = ORIGINAL_TOP_P
    top_k: int = ORIGINAL_TOP_K
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """The prompts of one request, in order, and how to answer each."""

    prompts: tuple[str, ...]
    sampling: Sampling


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Parameters(_Strict):
    """`parameters` of a request; without any, the answer is greedy, as the original's was."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    do_sample: bool | None = None
    temperature: float | None = Field(default=None, ge=LEAST_TEMPERATURE, le=10)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=1_000_000)
    seed: int | None = Field(default=None, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> Parameters:
        if self.do_sample is False and self._random():
            raise ValueError("do_sample is false, so temperature, top_p and top_k have no effect: omit them")
        return self

    def _random(self) -> bool:
        return any(value is not None for value in (self.temperature, self.top_p, self.top_k))

    def sampling(self) -> Sampling:
        """The same with the defaults filled in."""
        return Sampling(
            max_new_tokens=self.max_new_tokens,
            do_sample=self._random() if self.do_sample is None else self.do_sample,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=ORIGINAL_TOP_P if self.top_p is None else self.top_p,
            top_k=ORIGINAL_TOP_K if self.top_k is None else self.top_k,
            seed=self.seed,
        )


class Prompt(_Strict):
    """An instance written as an object."""

    prompt: str


class Body(_Strict):
    """The body: `{"instances": ["…", {"prompt": "…"}], "parameters": {…}}`."""

    instances: Annotated[list[str | Prompt], Field(min_length=1)]
    parameters: Parameters | None = None


def parse(body: object, max_instances: int) -> Parsed:
    """Reads a request.

    Args:
        body: the bytes that came; anything else is a body that was not sent as JSON.
        max_instances: most prompts of one request.

    Raises:
        RequestError: 400, it is not UTF-8 or not JSON; 413, too many instances; 415, it came as a form; 422,
            values are wrong: the message names all of them, and repeats none, since one is the prompt.
    """
    if not isinstance(body, (bytes, bytearray)):
        raise RequestError(415, "unsupported_media_type", "send the header Content-Type: application/json")
    try:
        text = bytes(body).decode("utf-8")
        read = Body.model_validate_json(text)
    except UnicodeDecodeError as error:
        message = f"the body is not UTF-8: byte {error.start} is invalid"
        raise RequestError(400, "invalid_utf8", message) from None
    except ValidationError as error:
        raise _invalid(error) from None
    prompts = tuple(each if isinstance(each, str) else each.prompt for each in read.instances)
    if len(prompts) > max_instances:
        message = f"there are {len(prompts)} instances, the limit is {max_instances}: send several requests"
        raise RequestError(413, "too_many_instances", message)
    for number, prompt in enumerate(prompts):
        if not prompt.strip():
            raise RequestError(422, "invalid_request", f"instances.{number}: the prompt is empty")
    return Parsed(prompts, (read.parameters or Parameters()).sampling())


def _invalid(error: ValidationError) -> RequestError:
    found = error.errors(include_input=False, include_url=False)
    if found[0]["type"] == "json_invalid":
        return RequestError(400, "invalid_json", f"the body is not JSON: {found[0]['ctx']['error']}")
    lines = []
    for item in found:
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {message[0].lower()}{message[1:]}" if where else message)
    return RequestError(422, "invalid_request", "; ".join(lines))
