"""What is known of a model: the same fields for a catalog entry and for a model written inline.

Keys are camelCase in YAML, as everywhere in a stack file.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from stacks.config_errors import refuse
from stacks.plan.field_texts import field_texts

Certainty = Literal["C", "D", "U"]
"""C: read in the source named. D: computed from such facts. U: unconfirmed, from memory."""

Dtype = Literal["float32", "float16", "bfloat16"]
"""Element types of checkpoints."""

ComputingDtype = Literal["float32", "float16", "bfloat16", "int8"]
"""Element types that a deployment can compute in: those of checkpoints, and what an engine quantises to."""

Family = Literal["encoder-decoder", "decoder"]

Task = Literal["text2text-generation", "text-generation", "image-text-to-text"]
"""What a model does, as the Hub names it."""

CheckpointFormat = Literal["safetensors", "pytorch"]

DTYPE_BYTES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}

ELEMENT_BYTES: dict[str, int] = {**DTYPE_BYTES, "int8": 1}

_REPOSITORY = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Strict(BaseModel):
    """A frozen mapping with camelCase keys that refuses unknown keys and never converts a type.

    The text below a field tells editors what its key is for.
    """

    # Built when first used: a preview uses few of the tables' models.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, defer_build=True
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describes each key by the text below its field."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in field_texts(cls).items():
            properties[to_camel(name)].setdefault("description", text)
        return schema


def shaped(pattern: str) -> WithJsonSchema:
    """Tells editors the shape of a text that a validator checks, by a pattern for the whole of it."""
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$"})


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


Repository = Annotated[str, AfterValidator(_repository), shaped(_REPOSITORY.pattern)]
Commit = Annotated[str, AfterValidator(_commit), shaped(_COMMIT.pattern)]
Count = Annotated[int, Field(ge=1)]


Kind = Literal["t5", "t5-gated", "bart", "gpt2", "gpt-neox", "llama", "gemma3", "qwen3"]
"""Which formula of `stacks.plan.architecture` counts a model's parameters."""

ENCODER_DECODER_KINDS = ("t5", "t5-gated", "bart")
LEARNED_POSITION_KINDS = ("bart", "gpt2")


class Architecture(Strict):
    """The shape of a transformer, enough to compute its parameters and its cache.

    `kind` names the formula in `stacks.plan.architecture`. Sizes are numbers of elements.
    """

    kind: Kind
    """Family of shapes that the model belongs to."""
    d_model: Count
    """Width of the hidden states."""
    d_ff: Count
    """Width of the feed-forward layers."""
    encoder_layers: Annotated[int, Field(ge=0)] = 0
    """Layers of the encoder; zero for a decoder."""
    decoder_layers: Count
    """Layers of the decoder."""
    heads: Count
    """Attention heads of a layer."""
    kv_heads: Count
    """Heads that keys and values have; fewer than `heads` where several share one."""
    head_dim: Count
    """Width of one head."""
    vocab: Count
    """Rows of the embedding."""
    tied_embeddings: bool
    """Whether input and output share one embedding."""
    positions: Annotated[int, Field(ge=0)] = 0
    """Learned position embeddings; zero where positions are relative or rotary."""
    sliding_window: Annotated[int, Field(ge=0)] = 0
    """Tokens that a local layer attends to and caches; zero where every layer attends to all."""
    global_every: Count = 1
    """Every so many-th layer attends to all tokens; the others are local. Needs `sliding_window`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.kind in ENCODER_DECODER_KINDS) != (self.encoder_layers > 0):
            refuse(
                f"does not go with kind {self.kind}",
                f"{', '.join(ENCODER_DECODER_KINDS)} need encoderLayers; the other kinds have none",
                key="encoderLayers",
            )
        if self.heads % self.kv_heads:
            refuse(
                f"cannot be shared evenly by {self.heads} heads",
                "make heads a multiple of kvHeads",
                key="kvHeads",
            )
        if self.kind in LEARNED_POSITION_KINDS and not self.positions:
            refuse(
                f"is required for kind {self.kind}",
                "write the number of learned positions: 1024",
                key="positions",
            )
        if (self.global_every > 1) != (self.sliding_window > 0):
            refuse(
                "needs globalEvery above 1, and the other way round",
                "give both for a model with local layers, neither for another",
                key="slidingWindow",
            )
        return self


class ModelSpec(Strict):
    """One model of the Hub.

    `context` is the longest sequence in tokens: of the prompt for an encoder-decoder, of prompt and
    answer together for a decoder. `certainty` and `sources` say how far the fields can be trusted;
    a field that is not named in `certainty` is as certain as its sources.
    """

    repository: Repository
    """Repository of the Hub: OWNER/NAME."""
    revision: Commit = ""
    """Commit that is staged; empty where nobody has looked it up, and a deployment must give its own."""
    family: Family
    """Whether a prompt is read by an encoder of its own."""
    task: Task | None = None
    """The Hub's name for what the model does; None where it was not said."""
    architecture: Architecture
    """The shape of the transformer."""
    parameters: Count | None = None
    """Number of parameters, all parts; computed from the architecture where it is left out."""
    vision_parameters: Annotated[int, Field(ge=0)] = 0
    """Those of `parameters` that lie beside the language model: a vision tower and its projector."""
    checkpoint_dtype: Dtype = "float32"
    """Element type of the repository's weights."""
    checkpoint_format: CheckpointFormat = "safetensors"
    """What the repository's weights are; `pytorch` where it has pickled files alone, which are read without
    unpickling them."""
    checkpoint_bytes: Count | None = None
    """Size of the weight files, where it is more than parameters times their size."""
    context: Count
    """Longest sequence in tokens: the prompt of an encoder-decoder, prompt and answer of a decoder."""
    licence: str = "unknown"
    """Name of the model's licence."""
    gated: bool = False
    """Whether the Hub gives it only to those who accepted its licence; needs a Hub token."""
    sources: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Where the fields were read."""
    certainty: dict[str, Certainty] = Field(default_factory=dict)
    """By field: C read in a source, D computed, U unconfirmed, which the plan warns of."""

    @model_validator(mode="after")
    def _family_matches(self) -> Self:
        encoder = self.architecture.encoder_layers > 0
        if encoder != (self.family == "encoder-decoder"):
            right = "encoder-decoder" if encoder else "decoder"
            refuse("does not go with the architecture", f"write family: {right}", key="family")
        if self.task and encoder != (self.task == "text2text-generation"):
            refuse(
                f"is not what a model of family {self.family} does",
                "write text2text-generation for an encoder-decoder, text-generation for a decoder",
                key="task",
            )
        return self
