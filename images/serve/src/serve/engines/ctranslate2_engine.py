"""The engine for T5 models on the CPU: CTranslate2, several times as fast, and without PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from serve.batching.worker import Worker
from serve.engines import ctranslate2_files as files
from serve.engines.base import Capabilities, EngineSettings, GenerateRequest, TokenStream, UnsupportedError
from serve.engines.ctranslate2_options import Options
from serve.engines.local import LocalEngine

COMPUTE_TYPES = {"int8": "int8_float32"}
"""What CTranslate2 calls a dtype, where it is another name: eight bits in matrices, float32 elsewhere."""


class CTranslate2Engine(LocalEngine):
    """Encoder-decoder models in the staged format `ctranslate2`, by dynamic batching."""

    def submit(self, request: GenerateRequest) -> TokenStream:
        """Queues a request at once and returns its events; see `Engine.submit`.

        Raises:
            UnsupportedError: it is to be sampled with a seed.
        """
        if request.do_sample and request.seed is not None:
            # The library's random numbers belong to its threads and start once; they cannot be set again.
            raise UnsupportedError(
                "this server's engine, CTranslate2, cannot repeat a sampled answer: leave seed out, "
                "ask without sampling, or deploy with ENGINE=transformers"
            )
        return super().submit(request)

    def _prepare(self, path: Path, settings: EngineSettings) -> tuple[Capabilities, Any, Worker]:
        # transformers is here for its tokenizers, and would say at its import that it has no PyTorch.
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        # Both take a second to import; on this thread, so that the port is open in the meantime.
        import ctranslate2
        from transformers import AutoTokenizer, T5Config

        from serve.engines.ctranslate2_worker import LANES, CTranslate2Worker

        compute_type = _compute_type(settings, ctranslate2.get_supported_compute_types("cpu"))
        found = files.read(path)
        options = Options(found.generation, found.config, found.vocabulary)
        # config.json is CTranslate2's: where no file names the tokenizer's class, the library would take none
        # of its own, and split text otherwise than it does beside T5's config.json.
        tokenizer = AutoTokenizer.from_pretrained(path, config=T5Config(), local_files_only=True)
        files.check_vocabulary(found.vocabulary, tokenizer.get_vocab())
        try:
            translator = ctranslate2.Translator(
                str(path),
                device="cpu",
                compute_type=compute_type,
                inter_threads=LANES,
                intra_threads=settings.threads,
            )
        except RuntimeError as error:
            raise ValueError(f"{path} does not load: {error}; stage the model again") from error
        capabilities = Capabilities(
            kind="encoder-decoder",
            batching="dynamic",
            parameters=found.parameters,
            device="cpu",
            dtype=settings.dtype,
            end_ids=options.end_ids,
            # T5 has no positions, only distances, of which the largest all count the same.
            context_tokens=None,
            chat_template=bool(tokenizer.chat_template),
        )
        return capabilities, tokenizer, CTranslate2Worker(translator, found.vocabulary, options, settings)


def _compute_type(settings: EngineSettings, supported: set[str]) -> str:
    if settings.device not in (None, "cpu"):
        raise ValueError(f"ENGINE=ctranslate2 runs on the CPU, not on {settings.device!r}")
    wanted: str = COMPUTE_TYPES.get(settings.dtype, settings.dtype)
    if wanted not in supported:
        possible: list[str] = [name for name in ("float32", "bfloat16", "float16") if name in supported]
        possible += ["int8"] if COMPUTE_TYPES["int8"] in supported else []
        raise ValueError(
            f"DTYPE is {settings.dtype!r}, and CTranslate2 computes on this machine's CPU in "
            f"{', '.join(possible)} (ctranslate2.get_supported_compute_types); choose one of these"
        )
    return wanted
