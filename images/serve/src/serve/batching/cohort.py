"""A batch that runs token by token through transformers' own model and preparation.

`generate` prepares everything as it always does (encoder, cache, masks, positions, the processors that the
model's generation config asks for) and hands the loop to us by its `custom_generate` argument. Ours is only
the loop: each row's token is chosen by its own request, and rows that have ended are dropped, so that a batch
costs what its living rows cost. See https://huggingface.co/docs/transformers/generation_strategies, "Custom
decoding methods".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from serve.batching.answer import Answer
from serve.batching.cache import use_rows_layers
from serve.batching.policy import may_merge
from serve.batching.rows import MERGED, compact, merge, select
from serve.batching.sampling import Chooser, choose_all

RELATIVE_POSITIONS = frozenset({"t5", "mt5", "umt5"})
"""Model types whose decoders know of distances between tokens only, never of a token's own position."""


class Cohort:
    """Requests that started together and leave one by one.

    Args:
        model: a loaded transformers model that can generate.
        answers: the requests, at least one.
        pad_id: the token that fills rows up to the longest prompt.

    Raises:
        Exception: whatever the model raises on these prompts; nothing has been delivered then.
    """

    def __init__(self, model: Any, answers: Sequence[Answer], pad_id: int) -> None:
        self._model = model
        self._is_encoder_decoder = bool(model.config.is_encoder_decoder)
        self._first = True
        self._ids: torch.Tensor
        self.answers = list(answers)
        self._choosers = [Chooser(answer.request, model.device) for answer in answers]
        ids, mask = _pad([answer.request.prompt_ids for answer in answers], pad_id, self._is_encoder_decoder)
        most = max(answer.request.max_new_tokens for answer in answers)
        _prepare(model, ids, mask, most, pad_id, self._take_over)
        self._rules = self._own_rules(pad_id)

    def step(self) -> int:
        """Makes one token for every row, then drops the rows that have ended; returns how many it made."""
        with torch.inference_mode():
            scores = self._forward()
            tokens = choose_all(self._choosers, scores)
            self._force_ends(tokens)
            self._ids = torch.cat([self._ids, torch.tensor(tokens, device=self._ids.device)[:, None]], dim=1)
            for answer, token in zip(self.answers, tokens, strict=True):
                answer.push(token)
            self.drop_ended()
        return len(tokens)

    def drop_ended(self) -> None:
        """Takes the rows out whose answers have ended; nothing is left of them in memory."""
        keep = [row for row, answer in enumerate(self.answers) if not answer.ended]
        if len(keep) == len(self.answers):
            return
        order = compact(keep)
        self.answers = [self.answers[row] for row in order]
        self._choosers = [self._choosers[row] for row in order]
        with torch.inference_mode():
            self._select(order)

    def merges_with(self, other: Cohort) -> bool:
        """Whether `absorb` can take the other's rows without changing any answer, and at little cost."""
        if not (self._mergeable and other._mergeable) or self._first or other._first:
            return False
        if self._is_encoder_decoder and (len(self._processors) or self._forced_end is not None):
            return False
        return may_merge(self._sizes(), other._sizes())

    def absorb(self, other: Cohort) -> None:
        """Takes the rows of another cohort in; see `merges_with`."""
        widths = [cohort._ids.shape[1] for cohort in (self, other)]
        with torch.inference_mode():
            merge(self._state, widths[0], other._state, widths[1])
            # What the left is filled with is never read.
            fills = [max(widths) - width for width in widths]
            self._ids = torch.cat([pad(self._ids, (fills[0], 0)), pad(other._ids, (fills[1], 0))])
        for cohort, fill in zip((self, other), fills, strict=True):
            for rules in cohort._rules:
                rules.shift(fill)
        self._rules += other._rules
        self.answers += other.answers
        self._choosers += other._choosers

    def _sizes(self) -> list[tuple[int, int]]:
        """Of each row, the tokens that its encoder has read, and those that its decoder has."""
        prompts = [len(answer.request.prompt_ids) for answer in self.answers]
        made = [answer.generated + 1 for answer in self.answers]
        if self._is_encoder_decoder:
            return list(zip(prompts, made, strict=True))
        return [(0, prompt + answer) for prompt, answer in zip(prompts, made, strict=True)]

    def _take_over(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,  # noqa: ARG002  each request has its own, in its Answer
        generation_config: Any,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        """Called by `generate` in place of its loop, with everything prepared."""
        self._ids = input_ids
        self._processors = logits_processor
        self._forced_end = generation_config.forced_eos_token_id
        self._state = model_kwargs
        self._mergeable = _take_rows_layers(model, model_kwargs)
        return input_ids

    def _forward(self) -> torch.Tensor:
        """The scores of every row's next token, float32, after the model's own processors."""
        inputs = self._model.prepare_inputs_for_generation(
            self._ids,
            next_sequence_length=None if self._first else 1,
            is_first_iteration=self._first,
            **self._state,
        )
        outputs = self._model(**inputs, return_dict=True)
        self._first = False
        self._state = self._model._update_model_kwargs_for_generation(
            outputs, self._state, is_encoder_decoder=self._is_encoder_decoder
        )
        logits = outputs.logits[:, -1].float()
        if self._rules:
            logits, rows = logits.clone(), enumerate(self._rules)
            return torch.cat([rules.apply(self._ids[row], logits[row]) for row, rules in rows])
        if not len(self._processors):
            return logits
        scores: torch.Tensor = self._processors(self._ids, logits.clone())
        return scores

    def _own_rules(self, pad_id: int) -> list[_Rules]:
        """Rules for each row by itself where the rows are padded; none where one set serves all.

        The library's processors count padding as tokens that were written (a minimal length, a forbidden
        n-gram), and some keep a value for each row of the batch that they were made for. Answers of
        encoder-decoder models all begin at the same place, so these share one set.
        """
        if self._is_encoder_decoder or not len(self._processors):
            return []
        return [_Rules(self._model, answer, pad_id, self._ids.shape[1]) for answer in self.answers]

    def _force_ends(self, tokens: list[int]) -> None:
        """Some models' answers must end with a certain token at their limit, which is each request's own."""
        if self._forced_end is None or self._rules:
            return
        end = self._forced_end if isinstance(self._forced_end, int) else self._forced_end[0]
        for row, answer in enumerate(self.answers):
            if answer.generated + 1 == answer.request.max_new_tokens:
                tokens[row] = end

    def _select(self, order: Sequence[int]) -> None:
        unused = select(self._state, order)
        self._ids = self._ids[torch.tensor(order, dtype=torch.long), unused:]
        self._rules = [self._rules[row] for row in order] if self._rules else []
        for rules in self._rules:
            rules.shift(-unused)


class _Rules:
    """What the model's generation config asks of one answer, as if it were alone."""

    def __init__(self, model: Any, answer: Answer, pad_id: int, width: int) -> None:
        prompt, limit = answer.request.prompt_ids, answer.request.max_new_tokens
        self._start = width - len(prompt)
        self._processors = processors_of(model, prompt, limit, pad_id)

    def shift(self, columns: int) -> None:
        """Notes that columns of padding were put before the row, or taken away if the number is negative."""
        self._start += columns

    def apply(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """The scores of a row, as a batch of one.

        Args:
            ids: the row's tokens, padding first.
            logits: its scores as the model gave them.
        """
        scores: torch.Tensor = self._processors(ids[None, self._start :], logits[None])
        return scores


def processors_of(model: Any, prompt: Sequence[int], limit: int, pad_id: int) -> Any:
    """The processors by which a decoder-only model's generation config changes the scores of one answer.

    Args:
        model: a loaded transformers model.
        prompt: the prompt's tokens.
        limit: most new tokens.
        pad_id: any token that may fill rows; there is nothing to fill here.

    Returns:
        A list, empty where the config asks for nothing.
    """
    processors, _ = _prepared(model, prompt, limit, pad_id)
    return processors


def can_merge(model: Any, pad_id: int) -> bool:
    """Whether rows of this model that began at different times can run as one batch, with the same answers.

    Args:
        model: a loaded transformers model.
        pad_id: the token that fills rows.
    """
    _, state = _prepared(model, [pad_id], 2, pad_id)
    return _take_rows_layers(model, state)


def _prepared(model: Any, prompt: Sequence[int], limit: int, pad_id: int) -> tuple[Any, dict[str, Any]]:
    """The processors and the state with which `generate` would begin one answer."""
    found: list[tuple[Any, dict[str, Any]]] = []

    def take_over(
        model: Any,  # noqa: ARG001
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,  # noqa: ARG001
        generation_config: Any,  # noqa: ARG001
        **model_kwargs: Any,
    ) -> torch.Tensor:
        found.append((logits_processor, model_kwargs))
        return input_ids

    ids = torch.tensor([list(prompt)])
    _prepare(model, ids, torch.ones_like(ids), limit, pad_id, take_over)
    return found[0]


def _take_rows_layers(model: Any, state: dict[str, Any]) -> bool:
    """Puts our layers into the cache that `generate` has made; returns whether batches can be merged.

    Rows that began at different times stand at different places. That changes nothing where positions are
    told to the model for each row, or where its decoder knows of distances only, and the columns that a row
    lacks are masked. All that is kept must be by rows in a way that is known here.
    """
    plain = use_rows_layers(state.get("past_key_values"))
    if model.config.is_encoder_decoder:
        placed = model.config.model_type in RELATIVE_POSITIONS
    else:
        positions = state.get("position_ids")
        placed = positions is not None and positions.ndim == 2
    return plain and placed and {key for key, value in state.items() if value is not None} <= MERGED


def rows_at_once(model: Any, most: int) -> int:
    """How many rows of this model may share a batch.

    Args:
        model: a loaded transformers model.
        most: how many the settings allow.
    """
    config = model.generation_config
    looks_at_prompt = (config.encoder_repetition_penalty or 1.0) != 1.0 or config.encoder_no_repeat_ngram_size
    # The library's processors for these take padding for a part of the prompt.
    return 1 if looks_at_prompt else most


def _prepare(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, limit: int, pad_id: int, take_over: Callable[..., Any]
) -> None:
    """Lets `generate` prepare a greedy answer and then call `take_over` in place of its loop."""
    with torch.inference_mode():
        model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            custom_generate=take_over,
            max_new_tokens=limit,
            pad_token_id=pad_id,
            do_sample=False,
            num_beams=1,
            # A model may be configured without: a step would then see one token and nothing before it.
            use_cache=True,
        )


def _pad(prompts: Sequence[Sequence[int]], pad_id: int, right: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of different lengths as one tensor and its mask; decoders are filled on the left."""
    longest = max(len(prompt) for prompt in prompts)
    ids, mask = [], []
    for prompt in prompts:
        fill = longest - len(prompt)
        padding, ones = [pad_id] * fill, [1] * len(prompt)
        ids.append([*prompt, *padding] if right else [*padding, *prompt])
        mask.append([*ones, *[0] * fill] if right else [*[0] * fill, *ones])
    return torch.tensor(ids), torch.tensor(mask)
