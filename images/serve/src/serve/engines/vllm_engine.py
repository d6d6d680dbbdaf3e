"""vLLM on one GPU, for decoder-only models; an image of its own (ENGINE=vllm)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from serve.batching.worker import Worker
from serve.engines.base import Capabilities, EngineSettings, UnsupportedError
from serve.engines.local import LocalEngine

ENVIRONMENT = {
    # A forked child of a process with threads may hang; a spawned one starts afresh.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # It compiles kernels by nvcc, which the image lacks; vLLM's own kernels choose tokens instead.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    # One form of log lines for all processes of the container.
    "VLLM_LOGGING_CONFIG_PATH": str(Path(__file__).with_name("vllm_logging.json")),
}
"""What vLLM reads when it is imported; what the environment has already goes first.
https://docs.vllm.ai/en/latest/configuration/env_vars.html"""


class VllmEngine(LocalEngine):
    """Continuous batching by vLLM.

    Args:
        eager: runs the model as it is written. Without, vLLM compiles it and captures graphs when it starts:
            that takes a minute or so and makes each step faster.
    """

    def __init__(self, *, eager: bool = False) -> None:
        super().__init__()
        self._eager = eager

    def _prepare(self, path: Path, settings: EngineSettings) -> tuple[Capabilities, Any, Worker]:
        os.environ |= {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
        # Imports torch, which takes seconds; on this thread, so that the port is open in the meantime.
        from vllm.platforms import current_platform

        from serve.engines import vllm_checkpoint

        if not current_platform.device_type:
            raise UnsupportedError(
                "vLLM finds no GPU here: give the container one, or set ENGINE to transformers"
            )
        checkpoint = vllm_checkpoint.read(path)
        worker = self._worker_of(checkpoint, path, settings)
        capabilities = Capabilities(
            kind="decoder-only",
            batching="continuous",
            parameters=checkpoint.parameters,
            device=current_platform.device_type,
            dtype=settings.dtype,
            end_ids=checkpoint.end_ids,
            context_tokens=worker.context_tokens,
            chat_template=bool(getattr(checkpoint.tokenizer, "chat_template", None)),
        )
        return capabilities, checkpoint.tokenizer, worker

    def _worker_of(self, checkpoint: Any, path: Path, settings: EngineSettings) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs

        from serve.engines.vllm_worker import VllmWorker

        args = AsyncEngineArgs(
            model=str(path),
            # The tokenizer is the server's, as in every engine; vLLM sees token ids only.
            skip_tokenizer_init=True,
            load_format="safetensors",
            use_tqdm_on_load=False,
            dtype=settings.dtype,
            # As long as the model allows and the GPU's memory has room for.
            max_model_len=-1,
            max_num_seqs=settings.max_batch,
            enforce_eager=self._eager,
            # Of requests without a seed: two starts of the server are not to draw the same answers.
            seed=secrets.randbits(31),
            disable_log_stats=True,
        )
        return VllmWorker(args, checkpoint.end_ids, checkpoint.sampling, settings)
