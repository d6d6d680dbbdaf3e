"""The default engine: transformers on the CPU or one GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve.batching.worker import Worker
from serve.engines.base import Capabilities, EngineSettings, UnsupportedError
from serve.engines.local import LocalEngine

if TYPE_CHECKING:
    from serve.engines.checkpoint import Checkpoint

LOG = logging.getLogger(__name__)


class TransformersEngine(LocalEngine):
    """Dynamic batching, whose batches are merged; on a GPU the library's continuous batching for decoder-only
    models, where it works."""

    def _prepare(self, path: Path, settings: EngineSettings) -> tuple[Capabilities, Any, Worker]:
        # Imports torch, which takes seconds; on this thread, so that the port is open in the meantime.
        from serve.engines import checkpoint

        loaded = checkpoint.load(path, settings)
        worker, batching = _worker(loaded, settings)
        capabilities = Capabilities(
            kind="encoder-decoder" if loaded.is_encoder_decoder else "decoder-only",
            batching="continuous" if batching else "dynamic",
            parameters=loaded.model.num_parameters(),
            device=str(loaded.model.device),
            dtype=settings.dtype,
            end_ids=loaded.end_ids,
            context_tokens=loaded.context_tokens,
            chat_template=bool(getattr(loaded.tokenizer, "chat_template", None)),
        )
        return capabilities, loaded.tokenizer, worker


def _worker(loaded: Checkpoint, settings: EngineSettings) -> tuple[Worker, bool]:
    """What runs the model, and whether requests join and leave a running batch."""
    from serve.batching.cohort import can_merge
    from serve.batching.dynamic import DynamicWorker

    if loaded.is_encoder_decoder:
        return DynamicWorker(loaded.model, loaded.pad_id, settings), False
    if not merged_is_faster(loaded):
        try:
            # Imported here, because with it come compilers that take a second to import.
            from serve.batching.continuous import ContinuousWorker

            return ContinuousWorker(loaded.model, loaded.end_ids, settings), True
        except UnsupportedError as error:
            LOG.warning("dynamic batching instead: %s", error)
    return DynamicWorker(loaded.model, loaded.pad_id, settings), can_merge(loaded.model, loaded.pad_id)


def merged_is_faster(loaded: Checkpoint) -> bool:
    """Whether batches of ours that are merged answer a decoder-only model faster than the library's batching.

    On a CPU they do, with about twice the tokens in a second: the library gathers all cached keys and values
    anew in every layer for every token. On a GPU it has kernels that read them where they are.
    """
    from serve.batching.cohort import can_merge

    return loaded.model.device.type == "cpu" and can_merge(loaded.model, loaded.pad_id)
