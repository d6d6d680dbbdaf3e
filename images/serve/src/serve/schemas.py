"""The JSON that clients send and get."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.generation import Reason, Sampling

StopString = Annotated[str, Field(min_length=1, max_length=256)]
LEAST_TEMPERATURE = 0.01


class PredictRequest(BaseModel):
    """A prompt and how to continue it. What is left out is greedy, up to the server's limit of new tokens."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(description="The text to answer or to continue.")
    max_new_tokens: int | None = Field(
        default=None, ge=1, description="Most tokens to generate; default: the server's limit."
    )
    do_sample: bool | None = Field(
        default=None,
        description="Draw tokens at random; default: true when temperature, top_p or top_k is given.",
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description=f"0 for greedy, else at least {LEAST_TEMPERATURE}; default: the model's own.",
    )
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Draw from the likeliest tokens of this mass."
    )
    top_k: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Draw from this many likeliest tokens."
    )
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Makes a random answer repeatable.")
    stop: StopString | Annotated[list[StopString], Field(max_length=8)] = Field(
        default_factory=list, description="Text that ends the answer and is not part of it."
    )

    @model_validator(mode="after")
    def _consistent(self) -> PredictRequest:
        if not self.prompt.strip():
            raise ValueError("prompt is empty")
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

    def sampling(self, max_new_tokens: int) -> Sampling:
        """The request's sampling with `max_new_tokens` as the checked limit."""
        sample = self._random() if self.do_sample is None else self.do_sample
        return Sampling(
            max_new_tokens=max_new_tokens,
            do_sample=sample,
            temperature=self.temperature if sample else None,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
        )


class GenerateRequest(PredictRequest):
    """As for `/predict`, and whether to stream."""

    stream: bool = Field(default=False, description="Send the answer piece by piece, as server-sent events.")


class Prediction(BaseModel):
    """The answer of `/predict`."""

    generated_text: str


class Usage(BaseModel):
    """Tokens of one request."""

    prompt_tokens: int
    generated_tokens: int = Field(description="The model's end token is not counted.")


class Completion(BaseModel):
    """The answer of `/generate`. The last event of a stream is the same, with `done: true`."""

    model: str
    generated_text: str = Field(description="The model's text alone; the prompt is not repeated.")
    finish_reason: Reason
    usage: Usage


class ErrorDetail(BaseModel):
    """A short name for programs, one line for people."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: ErrorDetail


class State(BaseModel):
    """The answer of `/health` and `/ready`."""

    status: str
    detail: str = ""
