"""The JSON of the server's own routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.engines.base import FinishReason

StopString = Annotated[str, Field(min_length=1, max_length=256)]
Stop = StopString | Annotated[list[StopString], Field(max_length=8)]
LEAST_TEMPERATURE = 0.01
LARGEST_SEED = 2**63


class Parameters(BaseModel):
    """How to answer a prompt. What is left out is greedy, up to the server's limit of new tokens."""

    model_config = ConfigDict(extra="forbid", strict=True)

    max_new_tokens: int | None = Field(
        default=None, ge=1, description="Most tokens to generate; default: the server's limit."
    )
    do_sample: bool | None = Field(
        default=None,
        description="Draw tokens at random; default: true when temperature, top_p or top_k is given.",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=10, description=f"0 for greedy, else at least {LEAST_TEMPERATURE}; default: 1."
    )
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Draw from the likeliest tokens of this mass; default: 1, all."
    )
    top_k: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Draw from this many likeliest tokens; default: all."
    )
    seed: int | None = Field(
        default=None, ge=0, lt=LARGEST_SEED, description="Makes a random answer repeatable."
    )
    stop: Stop = Field(default_factory=list, description="Text that ends the answer and is not part of it.")
    truncate: Literal["never", "start", "end"] = Field(
        default="never",
        description="Which end of a prompt longer than the limit is cut off; `never` refuses such a prompt. "
        "Special tokens stay. `usage.truncated_tokens` says how many tokens were cut.",
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Refuse with 504 when the answer takes longer; default and most: the server's limit.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Parameters:
        if self.temperature is not None and 0 < self.temperature < LEAST_TEMPERATURE:
            raise ValueError(
                f"temperature is {self.temperature}: give 0, which is greedy, or at least {LEAST_TEMPERATURE}"
            )
        if self.do_sample is False and self._random():
            raise ValueError(
                "do_sample is false, so temperature, top_p and top_k have no effect: leave them out"
            )
        if self.do_sample and self.temperature == 0:
            raise ValueError("temperature is 0, which is greedy, but do_sample is true")
        if self.temperature == 0 and (self.top_p is not None or self.top_k is not None):
            raise ValueError(
                "temperature is 0, which is greedy, so top_p and top_k have no effect: leave them out"
            )
        return self

    def _random(self) -> bool:
        return bool(self.temperature) or self.top_p is not None or self.top_k is not None

    def sampling(self) -> dict[str, Any]:
        """The sampling fields of an engine's `GenerateRequest`."""
        return {
            "do_sample": self._random() if self.do_sample is None else self.do_sample,
            "temperature": self.temperature or 1.0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": self.top_k or 0,
            "seed": self.seed,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
        }


class PredictBody(Parameters):
    """A prompt and how to answer it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "Translate to German: How old are you?", "max_new_tokens": 32}]
        }
    )

    prompt: str = Field(description="The text to answer or to continue.")

    @model_validator(mode="after")
    def _some_prompt(self) -> PredictBody:
        if not self.prompt.strip():
            raise ValueError("prompt is empty")
        return self


class GenerateBody(PredictBody):
    """As for `/predict`, and whether to stream."""

    stream: bool = Field(default=False, description="Send the answer piece by piece, as server-sent events.")


class Prediction(BaseModel):
    """The answer of `/predict`."""

    generated_text: str


class Usage(BaseModel):
    """Tokens of one request."""

    prompt_tokens: int
    generated_tokens: int = Field(description="The model's end token is not counted.")
    truncated_tokens: int = Field(default=0, description="Tokens that `truncate` cut off the prompt.")


class Completion(BaseModel):
    """The answer of `/generate`. The last event of a stream is the same, with `done: true`."""

    model: str
    generated_text: str = Field(description="The model's text alone; the prompt is not repeated.")
    finish_reason: FinishReason
    usage: Usage


class VertexInstance(BaseModel):
    """One prompt of a Vertex AI request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str


class VertexBody(BaseModel):
    """What Vertex AI sends to a container's predict route: prompts, and one set of parameters for all.

    https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#request_requirements
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"instances": ["Tell me a joke", "Hello"], "parameters": {"max_new_tokens": 32}}]
        },
    )

    instances: Annotated[list[str | VertexInstance], Field(min_length=1)]
    parameters: Parameters | None = None

    @model_validator(mode="after")
    def _some_prompts(self) -> VertexBody:
        for number, prompt in enumerate(self.prompts()):
            if not prompt.strip():
                raise ValueError(f"instances.{number} is empty")
        return self

    def prompts(self) -> list[str]:
        """The prompts, in order."""
        return [each if isinstance(each, str) else each.prompt for each in self.instances]


class VertexPredictions(BaseModel):
    """The answers to a Vertex AI request, in the order of its instances."""

    predictions: list[str]


class ErrorDetail(BaseModel):
    """A short name for programs, one line for people."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every refusal, but on `/v1`."""

    error: ErrorDetail


class State(BaseModel):
    """The answer of `/health` and `/ready`."""

    status: str
    detail: str = ""
