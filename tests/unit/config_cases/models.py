"""Faults in a model that is written out in the configuration."""

from __future__ import annotations

from tests.unit.config_cases.builders import ASSISTANT, LLAMA_7B, Case, inline, shaped
from tests.unit.config_sources import TINY, good

_MODEL = f"{ASSISTANT}.model"
_SHAPE = f"{_MODEL}.architecture"


def _below(path: str, least: int) -> tuple[str, str, str, str]:
    """What is told of a number that is one too small."""
    return path, str(least - 1), f"below {least}", f"at least {least}"


# Bounds that keep the formulas of `stacks.plan.architecture` from counting nothing, or less.
_TOO_SMALL: dict[str, Case] = {
    **{
        f"inline {key} zero": (shaped(**{key: 0}), *_below(f"{_SHAPE}.{key}", 1))
        for key in ("dModel", "dFf", "heads", "kvHeads", "headDim", "vocab", "globalEvery")
    },
    **{
        f"inline {key} negative": (shaped(**{key: -1}), *_below(f"{_SHAPE}.{key}", 0))
        for key in ("encoderLayers", "positions", "slidingWindow")
    },
    **{
        f"inline {key} zero": (inline(**{key: 0}), *_below(f"{_MODEL}.{key}", 1))
        for key in ("parameters", "checkpointBytes")
    },
    "inline visionParameters negative": (
        inline(visionParameters=-1),
        *_below(f"{_MODEL}.visionParameters", 0),
    ),
}

_UNKNOWN_WORDS: dict[str, Case] = {
    "inline family unknown": (
        inline(family="encoder"),
        f"{_MODEL}.family",
        '"encoder"',
        "not a valid value",
        "encoder-decoder",
    ),
    "inline task unknown": (
        inline(task="chat"),
        f"{_MODEL}.task",
        '"chat"',
        "not a valid value",
        "text-generation",
    ),
    "inline checkpoint of another format": (
        inline(checkpointFormat="gguf"),
        f"{_MODEL}.checkpointFormat",
        '"gguf"',
        "not a valid value",
        "safetensors",
    ),
    "inline certainty unknown": (
        inline(certainty={"context": "sure"}),
        f"{_MODEL}.certainty.context",
        '"sure"',
        "not a valid value",
        "C, D",
    ),
}

CASES: dict[str, Case] = {
    **_TOO_SMALL,
    **_UNKNOWN_WORDS,
    "inline model without context": (
        good(model={key: value for key, value in TINY.items() if key != "context"}),
        f"{ASSISTANT}.model.context",
        None,
        "missing",
        "add context",
    ),
    "inline model with unknown key": (
        inline(licens="MIT"),
        f"{ASSISTANT}.model.licens",
        '"MIT"',
        "not a known key",
        "did you mean licence",
    ),
    "inline shape with unknown key": (
        shaped(dmodel=3),
        f"{ASSISTANT}.model.architecture.dmodel",
        "3",
        "not a known key",
        "did you mean dModel",
    ),
    "inline repository illegal": (
        inline(repository="https://huggingface.co/acme/tiny"),
        f"{ASSISTANT}.model.repository",
        "https",
        "not a Hub repository",
        "OWNER/NAME",
    ),
    "inline family wrong": (
        inline(family="encoder-decoder"),
        f"{ASSISTANT}.model.family",
        "encoder-decoder",
        "does not go with the architecture",
        "write family: decoder",
    ),
    "inline kind unknown": (
        shaped(kind="lama"),
        f"{ASSISTANT}.model.architecture.kind",
        "lama",
        "valid",
        "mean llama",
    ),
    "inline heads uneven": (
        shaped(kvHeads=3),
        f"{ASSISTANT}.model.architecture.kvHeads",
        "3",
        "shared evenly by 4",
        "multiple",
    ),
    "inline encoder of a decoder": (
        shaped(encoderLayers=2),
        f"{ASSISTANT}.model.architecture.encoderLayers",
        "2",
        "kind llama",
        "have none",
    ),
    "inline positions missing": (
        shaped(kind="gpt2"),
        f"{ASSISTANT}.model.architecture.positions",
        None,
        "required for kind gpt2",
        "1024",
    ),
    "inline parameters wrong": (
        inline(parameters=1_000_000),
        f"{ASSISTANT}.model.parameters",
        "1000000",
        "not what the architecture has",
        "leave it out",
    ),
    "inline checkpoint of another type": (
        inline(checkpointDtype="float64"),
        f"{ASSISTANT}.model.checkpointDtype",
        "float64",
        "not a valid value",
        "did you mean float",
    ),
    "inline model without a repository": (
        good(model={key: value for key, value in TINY.items() if key != "repository"}),
        f"{ASSISTANT}.model.repository",
        None,
        "missing",
        "add repository",
    ),
    "inline revision cut": (
        inline(revision="0" * 12),
        f"{ASSISTANT}.model.revision",
        '"000000000000"',
        "not a commit",
        "40 lower-case hex digits",
    ),
    "inline context zero": (inline(context=0), f"{ASSISTANT}.model.context", "0", "below 1", "at least 1"),
    "inline layers negative": (
        shaped(decoderLayers=-2),
        f"{ASSISTANT}.model.architecture.decoderLayers",
        "-2",
        "below 1",
        "at least 1",
    ),
    "inline width in quotes": (
        shaped(dModel="64"),
        f"{ASSISTANT}.model.architecture.dModel",
        '"64"',
        "not a whole number",
        "without quotes: 64",
    ),
    "inline gated without token": (
        inline(gated=True),
        f"{ASSISTANT}.model",
        "acme/tiny",
        "gated and there is no Hub token",
        "llm:hubToken",
    ),
    "inline model far too large": (
        shaped(dModel=8192, dFf=28672, decoderLayers=80, heads=64, kvHeads=8, headDim=128, vocab=128256),
        f"{ASSISTANT}.model",
        "acme/tiny",
        "a Cloud Run instance has at most 32Gi (weights",
        "would work: ",
    ),
    "inline model too large for the GPU": (
        good(model={**TINY, "architecture": LLAMA_7B}, resources={"gpu": "nvidia-l4"}),
        f"{ASSISTANT}.resources.gpu",
        "nvidia-l4",
        "and nvidia-l4 has 22.35 GiB",
        "would work: dtype: bfloat16",
    ),
}
