"""One model of transformers, decoder-only or encoder-decoder, that answers prompts in batches.

Importing this module imports torch: only a worker does, never the start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import transformers

from weights_handler import formats
from weights_handler.errors import RequestError
from weights_handler.requests import Sampling

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt on its way through the model."""

    instance: str
    ids: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Limits:
    """What the deployment allows.

    Args:
        input_tokens: longest prompt, in tokens.
        new_tokens: most tokens of an answer.
        rows: most prompts of one forward pass.
    """

    input_tokens: int
    new_tokens: int
    rows: int


class TextModel:
    """Loads a staged model and answers prompts.

    Args:
        folder: configuration, tokenizer and safetensors.
        architecture: the model class, a name of transformers.
        dtype: element type to compute in.
        gpu: number of the GPU; None for the CPU.
        prompt_format: `plain`, `dolly` or `auto`.
        limits: what the deployment allows.

    Raises:
        ValueError: the class is none of transformers' or generates no text, weights are missing, the model
            has no end token, or the format does not suit it.
        OSError: the files cannot be read.
    """

    def __init__(
        self, folder: Path, architecture: str, dtype: str, gpu: int | None, prompt_format: str, limits: Limits
    ) -> None:
        self._limits = limits
        self._device = "cpu" if gpu is None else f"cuda:{gpu}"
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = _load(folder, architecture, getattr(torch, dtype)).to(self._device).eval()
        config = self._model.config
        self._is_encoder_decoder = bool(config.is_encoder_decoder)
        # T5's positions are relative, so it names no such number: nothing but the limits bounds it.
        self._context: int | None = getattr(config, "max_position_embeddings", None)
        special = [token.content for token in self._tokenizer.added_tokens_decoder.values()]
        self.format = formats.choose(prompt_format, self._is_encoder_decoder, special)
        self._end_ids = self._find_end_ids()
        self._pad()

    def job(self, instance: str, sampling: Sampling) -> Job:
        """Turns a prompt into tokens and checks it against the limits; nothing is ever cut off.

        Raises:
            RequestError: 422, the prompt or the answer asked for is too long.
        """
        ids = tuple(
            self._tokenizer(self.format.prompt(instance), truncation=False, verbose=False)["input_ids"]
        )
        if len(ids) > self._limits.input_tokens:
            message = f"a prompt has {len(ids)} tokens, the limit is {self._limits.input_tokens}"
            raise RequestError(422, "prompt_too_long", message)
        asked = sampling.max_new_tokens
        if asked is not None and asked > self._limits.new_tokens:
            message = f"max_new_tokens is {asked}, the limit is {self._limits.new_tokens}"
            raise RequestError(422, "invalid_request", f"parameters.{message}")
        room = self._room(len(ids))
        if room < (asked or 1):
            message = (
                f"a prompt has {len(ids)} tokens and its answer may have {asked or 'some'}, more than the "
            )
            raise RequestError(422, "prompt_too_long", f"{message}model's context of {self._context} tokens")
        return Job(instance, ids, asked or min(room, self._limits.new_tokens), sampling)

    def _room(self, tokens: int) -> int:
        """How many tokens the answer to a prompt may have."""
        if self._context is None:
            return self._limits.new_tokens
        if not self._is_encoder_decoder:
            return self._context - tokens
        # The decoder's first position is its start token.
        return self._context - 1 if tokens <= self._context else 0

    def answer(self, jobs: Sequence[Job]) -> list[str | RequestError]:
        """The prediction for each job, in their order; an error where the model failed on one."""
        answers: list[str | RequestError] = [RequestError(500, "model_failed", "")] * len(jobs)
        for rows in self._batches(jobs):
            for row, answer in zip(rows, self._try([jobs[row] for row in rows]), strict=True):
                answers[row] = answer
        return answers

    def _batches(self, jobs: Sequence[Job]) -> Iterator[list[int]]:
        """Which jobs go through the model together.

        Random ones go alone, so that a seed gives the same answer whatever else is asked. The others share
        a batch where they want as many tokens, which keeps every row within the context, and where their
        lengths are next to each other, which keeps the padding short.
        """
        greedy = [row for row, job in enumerate(jobs) if not job.sampling.do_sample]
        greedy.sort(key=lambda row: (jobs[row].max_new_tokens, len(jobs[row].ids)))
        for _, same in groupby(greedy, key=lambda row: jobs[row].max_new_tokens):
            rows = list(same)
            yield from (rows[at : at + self._limits.rows] for at in range(0, len(rows), self._limits.rows))
        yield from ([row] for row, job in enumerate(jobs) if job.sampling.do_sample)

    def _try(self, jobs: Sequence[Job]) -> Iterable[str | RequestError]:
        try:
            return self._generate(jobs)
        except Exception as error:
            # Only the name: a message may quote what was asked.
            LOG.error("generation failed for %d prompts: %s", len(jobs), type(error).__name__)
            if len(jobs) > 1:
                # Memory that does not hold the batch may hold each prompt.
                return [answer for job in jobs for answer in self._try([job])]
            return [
                RequestError(500, "model_failed", f"the model failed on a prompt: {type(error).__name__}")
            ]

    def _generate(self, jobs: Sequence[Job]) -> list[str]:
        batch = self._tokenizer.pad({"input_ids": [list(job.ids) for job in jobs]}, return_tensors="pt")
        sampling = jobs[0].sampling
        if sampling.do_sample:
            # Without a seed, seed anew: else the request before would decide this one's answer.
            torch.manual_seed(sampling.seed) if sampling.seed is not None else torch.seed()
        with torch.inference_mode():
            tokens = self._model.generate(
                input_ids=batch["input_ids"].to(self._device),
                attention_mask=batch["attention_mask"].to(self._device),
                max_new_tokens=jobs[0].max_new_tokens,
                num_beams=1,
                eos_token_id=self._end_ids,
                pad_token_id=self._tokenizer.pad_token_id,
                **_options(sampling),
            )
        start = 1 if self._is_encoder_decoder else batch["input_ids"].shape[1]
        rows = zip(jobs, tokens[:, start:].tolist(), strict=True)
        return [self.format.prediction(job.instance, self._text(ids)) for job, ids in rows]

    def _text(self, ids: Sequence[int]) -> str:
        """The text up to the end token: behind it stands padding, which may be a token of the vocabulary."""
        end = next((at for at, token in enumerate(ids) if token in self._end_ids), len(ids))
        text: str = self._tokenizer.decode(
            ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _find_end_ids(self) -> list[int]:
        if self.format.name == "dolly":
            return [int(self._tokenizer.convert_tokens_to_ids(formats.END_KEY))]
        end = self._model.generation_config.eos_token_id
        if end is None:
            raise ValueError("neither generation_config.json nor config.json gives eos_token_id")
        return [end] if isinstance(end, int) else list(end)

    def _pad(self) -> None:
        """A decoder's prompts end in one column, where all answers start: padding goes to the left."""
        self._tokenizer.padding_side = "right" if self._is_encoder_decoder else "left"
        if self._tokenizer.pad_token_id is None:
            # Masked, so any token will do; gpt2 has none for it.
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(self._end_ids[0])


def _load(folder: Path, architecture: str, dtype: torch.dtype) -> Any:
    family: Any = getattr(transformers, architecture, None)
    if not (isinstance(family, type) and issubclass(family, transformers.PreTrainedModel)):
        raise ValueError(f"the archive names the architecture {architecture!r}, which transformers has not")
    if not family.can_generate():
        raise ValueError(f"{architecture} generates no text; stage a decoder-only or encoder-decoder model")
    loaded: Any = family.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        # The library would go on with random numbers in their place.
        raise ValueError(f"{len(missing)} weights are not in the files, the first is {missing[0]}")
    return model


def _options(sampling: Sampling) -> dict[str, Any]:
    if not sampling.do_sample:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
    }
