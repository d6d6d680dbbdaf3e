"""Faults in the engine and the element type of a deployment."""

from __future__ import annotations

from tests.unit.config_cases.builders import ASSISTANT, Case
from tests.unit.config_sources import TINY, good

CASES: dict[str, Case] = {
    "engine unknown": (
        good(engine="transformer"),
        f"{ASSISTANT}.engine",
        '"transformer"',
        "not a known engine",
        "did you mean transformers",
    ),
    "engine in capitals": (
        good(engine="Transformers"),
        f"{ASSISTANT}.engine",
        '"Transformers"',
        "not a known engine",
        "did you mean transformers",
    ),
    "engine a number": (good(engine=1), f"{ASSISTANT}.engine", "1", "not text", 'in quotes: "1"'),
    "engine a list": (good(engine=["vllm"]), f"{ASSISTANT}.engine", '["vllm"]', "not text", "write text"),
    "sequence-to-sequence model on an engine for decoders": (
        good(engine="vllm"),
        f"{ASSISTANT}.engine",
        '"vllm"',
        "takes models of family decoder; google/flan-t5-base is of family encoder-decoder",
        "write engine: transformers",
    ),
    "sequence-to-sequence model on an engine for one kind of decoder": (
        good(engine="jetstream"),
        f"{ASSISTANT}.engine",
        '"jetstream"',
        "takes models of family decoder",
        "write engine: transformers",
    ),
    "engine for other kinds of model": (
        good(model="gpt2", engine="jetstream"),
        f"{ASSISTANT}.engine",
        '"jetstream"',
        "takes models of kind llama; ",
        "write engine: transformers",
    ),
    "engine not on the topology": (
        good(model=TINY, engine="jetstream"),
        f"{ASSISTANT}.engine",
        '"jetstream"',
        "does not run on cloud-run",
        "write engine: transformers, or leave it out",
    ),
    "engine for TPUs": (
        good(model=TINY, engine="vllm-tpu"),
        f"{ASSISTANT}.engine",
        '"vllm-tpu"',
        "does not run on cloud-run",
        "write engine: transformers",
    ),
    "engine of another topology": (
        good(engine="beam"),
        f"{ASSISTANT}.engine",
        '"beam"',
        "does not run on cloud-run",
        "write engine: transformers",
    ),
    "engine not built yet": (
        good(model=TINY, engine="vllm"),
        f"{ASSISTANT}.engine",
        '"vllm"',
        "is not built yet in this version",
        "write engine: transformers",
    ),
    "converting engine not built yet": (
        good(engine="ctranslate2"),
        f"{ASSISTANT}.engine",
        '"ctranslate2"',
        "is not built yet in this version",
        "write engine: transformers",
    ),
    "element type in short": (
        good(dtype="bf16"),
        f"{ASSISTANT}.dtype",
        '"bf16"',
        "not a valid value",
        "did you mean bfloat16",
    ),
    "element type quantised": (
        good(dtype="int8"),
        f"{ASSISTANT}.dtype",
        '"int8"',
        "not a valid value",
        "bfloat16, float16, float32",
    ),
    "element type too wide": (
        good(dtype="float64"),
        f"{ASSISTANT}.dtype",
        '"float64"',
        "not a valid value",
        "did you mean float",
    ),
    "element type a number": (good(dtype=16), f"{ASSISTANT}.dtype", "16", "not a valid value", "bfloat16"),
}
