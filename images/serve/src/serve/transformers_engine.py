"""The default engine: transformers' own `generate`, on the CPU or one GPU, one request at a time.

Importing this module imports torch, which takes seconds: only the engine's thread does, so that the port is
open in the meantime.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
)

from serve.engine import ModelInfo, WorkQueue
from serve.generation import Generation, Sampling

LOG = logging.getLogger(__name__)


class TransformersEngine:
    """Runs encoder-decoder and decoder-only models, whichever the model's own configuration says it is.

    Args:
        folder: a complete staged model with safetensors weights.
        dtype: element type to compute in. Weights staged in another are converted, tensor by tensor, as they
            are read.
        threads: threads that one forward pass uses on the CPU.
    """

    def __init__(self, folder: Path, dtype: str, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._encoding = threading.Lock()

    def load(self) -> ModelInfo:
        """Reads tokenizer and weights.

        Raises:
            ValueError: the files lack weights that the architecture has, or the model has no end token.
        """
        torch.set_num_threads(self._threads)
        transformers.logging.disable_default_handler()
        transformers.logging.enable_propagation()
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        config = AutoConfig.from_pretrained(self._folder, local_files_only=True)
        self._is_encoder_decoder = bool(config.is_encoder_decoder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
        self._model = self._load_model()
        self._end_ids = self._find_end_ids()
        self._pad_id = self._find_pad_id()
        return ModelInfo(
            kind="encoder-decoder" if self._is_encoder_decoder else "decoder-only",
            parameters=self._model.num_parameters(),
            device=self._device,
            dtype=str(self._dtype).removeprefix("torch."),
            end_ids=self._end_ids,
            context_tokens=None
            if self._is_encoder_decoder
            else getattr(config, "max_position_embeddings", None),
        )

    def encode(self, text: str) -> list[int]:
        """Text to token ids; never truncates."""
        # Fast tokenizers refuse to be used from two threads while one of them changes truncation settings.
        with self._encoding:
            return list(self._tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids to text, blanks as the model wrote them."""
        # Tidying blanks looks at neighbouring words, so a streamed text could not be tidied in the same way.
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def run(self, work: WorkQueue) -> None:
        """Answers one request after the other."""
        while generations := work.take():
            for generation in generations:
                try:
                    self._generate(generation)
                except Exception as error:
                    LOG.exception("generation failed")
                    generation.fail(error)

    def _generate(self, generation: Generation) -> None:
        sampling = generation.sampling
        prompt = torch.tensor([list(generation.prompt_ids)], device=self._device)
        if sampling.do_sample:
            # Without a seed, seed anew: else the request before would decide this one's answer.
            torch.manual_seed(sampling.seed) if sampling.seed is not None else torch.seed()
        with torch.inference_mode():
            self._model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                stopping_criteria=StoppingCriteriaList([_Forward(generation)]),
                pad_token_id=self._pad_id,
                num_beams=1,
                **_options(sampling),
            )
        generation.complete()

    def _load_model(self) -> Any:
        kind: Any = AutoModelForSeq2SeqLM if self._is_encoder_decoder else AutoModelForCausalLM
        model, report = kind.from_pretrained(
            self._folder,
            dtype=self._dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        if missing := sorted(report["missing_keys"]):
            # The library would go on with random numbers in their place.
            raise ValueError(f"{len(missing)} weights are not in the files, the first is {missing[0]}")
        return model.to(self._device).eval()

    def _context(self, config: Any) -> int | None:
        """Encoder-decoder models here have relative positions: nothing bounds prompt and answer together."""
        return None if self._is_encoder_decoder else getattr(config, "max_position_embeddings", None)

    def _find_end_ids(self) -> frozenset[int]:
        end = self._model.generation_config.eos_token_id
        if end is None:
            raise ValueError("neither generation_config.json nor config.json gives eos_token_id")
        return frozenset([end] if isinstance(end, int) else end)

    def _find_pad_id(self) -> int:
        """The padding token; models often have none, and any token serves where nothing is padded."""
        pad = self._model.generation_config.pad_token_id
        return min(self._end_ids) if pad is None else int(pad)


class _Forward(StoppingCriteria):
    """Hands each new token to its request and stops when that wants no more.

    `generate` calls a stopping criterion after every token, with all tokens so far: the one place that can
    both see a token and end the loop.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002
        done = self._generation.push(int(input_ids[0, -1]))
        return torch.tensor([done], device=input_ids.device)


def _options(sampling: Sampling) -> dict[str, Any]:
    chosen = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    given = {name: value for name, value in chosen.items() if value is not None}
    return {"max_new_tokens": sampling.max_new_tokens, "do_sample": sampling.do_sample} | given
