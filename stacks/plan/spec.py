"""What is known of a model: the same fields for a catalog entry and for a model written inline.

Keys are camelCase in YAML, as everywhere in a stack file.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from stacks.config_errors import refuse

Certainty = Literal["C", "D", "U"]
"""C: read in the source named. D: computed from such facts. U: unconfirmed, from memory."""

Dtype = Literal["float32", "float16", "bfloat16"]

DTYPE_BYTES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}

_REPOSITORY = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Strict(BaseModel):
    """A frozen mapping with camelCase keys that refuses unknown keys and never converts a type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


def _repository(value: str) -> str:
    if not _REPOSITORY.fullmatch(value) or "--" in value or ".." in value:
        refuse("is not a Hub repository", "write OWNER/NAME as on the Hub, for instance google/flan-t5-base")
    return value


def _commit(value: str) -> str:
    if not _COMMIT.fullmatch(value):
        refuse(
            "is not a commit",
            "write the 40 lower-case hex digits of a commit; a branch or tag could change under a deployment",
        )
    return value


Repository = Annotated[str, AfterValidator(_repository)]
Commit = Annotated[str, AfterValidator(_commit)]
Count = Annotated[int, Field(ge=1)]


class Architecture(Strict):
    """The shape of a transformer, enough to compute its parameters and its cache.

    `kind` names the formula in `stacks.plan.architecture`. Sizes are numbers of elements.
    """

    kind: Literal["t5-gated", "gpt2", "llama"]
    d_model: Count
    d_ff: Count
    encoder_layers: Annotated[int, Field(ge=0)] = 0
    decoder_layers: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    vocab: Count
    tied_embeddings: bool
    positions: Annotated[int, Field(ge=0)] = 0
    """Learned position embeddings; zero where positions are relative or rotary."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.kind == "t5-gated") != (self.encoder_layers > 0):
            refuse(
                f"does not go with kind {self.kind}",
                "t5-gated needs encoderLayers; gpt2 and llama have none",
                key="encoderLayers",
            )
        if self.heads % self.kv_heads:
            refuse(
                f"cannot be shared evenly by {self.heads} heads",
                "make heads a multiple of kvHeads",
                key="kvHeads",
            )
        if self.kind == "gpt2" and not self.positions:
            refuse(
                "is required for kind gpt2", "write the number of learned positions: 1024", key="positions"
            )
        return self


class ModelSpec(Strict):
    """One model of the Hub.

    `context` is the longest sequence in tokens: of the prompt for an encoder-decoder, of prompt and
    answer together for a decoder. `certainty` and `sources` say how far the fields can be trusted;
    a field that is not named in `certainty` is as certain as its sources.
    """

    repository: Repository
    revision: Commit
    family: Literal["encoder-decoder", "decoder"]
    architecture: Architecture
    parameters: Count | None = None
    """Number of parameters; computed from the architecture where it is left out."""
    checkpoint_dtype: Dtype = "float32"
    checkpoint_bytes: Count | None = None
    """Size of the safetensors files, where it is more than parameters times their size."""
    context: Count
    licence: str = "unknown"
    gated: bool = False
    sources: Annotated[tuple[str, ...], Field(strict=False)] = ()
    certainty: dict[str, Certainty] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _family_matches(self) -> Self:
        encoder = self.architecture.encoder_layers > 0
        if encoder != (self.family == "encoder-decoder"):
            right = "encoder-decoder" if encoder else "decoder"
            refuse("does not go with the architecture", f"write family: {right}", key="family")
        return self
