"""The JSON of OpenAI's completions and chat completions, as far as a plain language model can honour it.

Fields after https://platform.openai.com/docs/api-reference/completions and `/chat`. A field that would change
the answer and is not implemented is refused, not ignored; fields that only label the request are accepted.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.api.schemas import LARGEST_SEED, LEAST_TEMPERATURE, StopString

DEFAULT_COMPLETION_TOKENS = 16
"""What OpenAI's completions generate where `max_tokens` is left out."""
MOST_PROMPTS = 64
MOST_CHOICES = 16

_FINISH = Literal["stop", "length"]


class StreamOptions(BaseModel):
    """What a stream says beside the text."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = Field(default=False, description="Send a last chunk with `usage` and no choices.")
    include_obfuscation: bool = Field(default=False, description="Accepted; nothing is padded.")


class Common(BaseModel):
    """What both kinds of completion take."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(description="The name that `/v1/models` lists.")
    max_tokens: int | None = Field(default=None, ge=1, description="Most tokens to generate.")
    temperature: float | None = Field(
        default=None, ge=0, le=2, description=f"0 for greedy, else at least {LEAST_TEMPERATURE}; default: 1."
    )
    top_p: float | None = Field(default=None, gt=0, le=1, description="Default: 1.")
    top_k: int | None = Field(default=None, ge=1, description="Not OpenAI's; default: all.")
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES, description="Answers to each prompt.")
    seed: int | None = Field(default=None, ge=-LARGEST_SEED, lt=LARGEST_SEED)
    stop: StopString | Annotated[list[StopString], Field(max_length=8)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = Field(default=None, ge=0, le=0, description="Only 0.")
    frequency_penalty: float | None = Field(default=None, ge=0, le=0, description="Only 0.")
    logit_bias: Annotated[dict[str, int], Field(max_length=0)] | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _honoured(self) -> Common:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        if self.temperature is not None and 0 < self.temperature < LEAST_TEMPERATURE:
            raise ValueError(
                f"temperature is {self.temperature}: give 0, which is greedy, or at least {LEAST_TEMPERATURE}"
            )
        return self

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    def sampling(self, choice: int) -> dict[str, Any]:
        """The sampling fields of an engine's `GenerateRequest` for one of the answers to a prompt."""
        temperature = 1.0 if self.temperature is None else self.temperature
        stop = self.stop or []
        return {
            "do_sample": temperature > 0,
            "temperature": temperature or 1.0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": self.top_k or 0,
            # The same number for all would give n times the same answer.
            "seed": None if self.seed is None else (self.seed + choice) % LARGEST_SEED,
            "stop": (stop,) if isinstance(stop, str) else tuple(stop),
        }


class CompletionBody(Common):
    """A request for completions of one or several prompts."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "owner/name", "prompt": "Tell me a joke", "max_tokens": 32, "temperature": 0}
            ]
        }
    )

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
    max_tokens: int | None = Field(
        default=None, ge=1, description=f"Most tokens to generate; default: {DEFAULT_COMPLETION_TOKENS}."
    )
    echo: Literal[False] | None = None
    logprobs: None = None
    suffix: None = None
    best_of: Literal[1] | None = None

    @model_validator(mode="after")
    def _some_prompts(self) -> CompletionBody:
        if not all(prompt.strip() for prompt in self.prompts()):
            raise ValueError("prompt is empty")
        return self

    def prompts(self) -> list[str]:
        """The prompts, in order."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class TextPart(BaseModel):
    """Text of a message; images and sound are not understood."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """The message as chat templates read it; `developer` is OpenAI's newer name of `system`."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class TextFormat(BaseModel):
    """The form of the answer; only text."""

    type: Literal["text"]


class ChatBody(Common):
    """A request for the next message of a conversation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "owner/name",
                    "messages": [{"role": "user", "content": "Tell me a joke"}],
                    "max_tokens": 32,
                }
            ]
        }
    )

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_completion_tokens: int | None = Field(
        default=None, ge=1, description="Most tokens to generate; default: the server's limit."
    )
    response_format: TextFormat | None = None
    logprobs: Literal[False] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    store: Literal[False] | None = None
    metadata: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> ChatBody:
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise ValueError("give max_completion_tokens or max_tokens, its older name, not both")
        return self


class OpenAIUsage(BaseModel):
    """Tokens of all prompts and answers of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionChoice(BaseModel):
    """One answer, or more of it."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: _FINISH | None


class TextCompletion(BaseModel):
    """The answer of `/v1/completions`, and each event of its stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: OpenAIUsage | None = None


class ChatMessage(BaseModel):
    """The model's message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatMessage
    logprobs: None = None
    finish_reason: _FINISH


class ChatCompletion(BaseModel):
    """The answer of `/v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: OpenAIUsage


class Model(BaseModel):
    """The model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When this server started, in seconds since 1970.")
    owned_by: str


class ModelList(BaseModel):
    """The models that are served: one."""

    object: Literal["list"] = "list"
    data: list[Model]


class OpenAIErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorBody(BaseModel):
    """The body of every refusal on `/v1`."""

    error: OpenAIErrorDetail
