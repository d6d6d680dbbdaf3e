"""Continuous batching: transformers' own, with each request's choice of tokens put in.

transformers runs the model on a thread of its own and hands out each token. It samples with one random
generator for the whole batch, so a seed could not repeat an answer. So its last step stays greedy
here, and a processor before it leaves a sampling request only the token that the request itself has chosen.

It cannot follow generation configs that look back at a request's tokens, such as a repetition penalty: its
`ContinuousBatchingLogitsProcessorList` drops these. `ContinuousWorker` refuses such models, and models whose
first prompt fails; they run by dynamic batching.
"""

from __future__ import annotations

import copy
import logging
import time
from typing import Any

import torch
from transformers import ContinuousBatchingConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
)

from serve.batching.answer import Answer
from serve.batching.cohort import processors_of
from serve.batching.inbox import Inbox
from serve.batching.sampling import UNLIKELY, Chooser
from serve.batching.worker import Worker
from serve.engines.base import EngineSettings, UnsupportedError

LOG = logging.getLogger(__name__)
PAGE_TOKENS = 32
"""Tokens that the cache hands out at once: small, because it pays off only where few requests fill it."""
POLL_SECONDS = 0.05
"""Longest time without a look at cancellations and deadlines."""
FIRST_ANSWER_SECONDS = 120.0
"""How long the first prompt may take before the library counts as unable."""


class RequestChoice(ContinuousBatchingLogitsProcessor):
    """Lets each sampling request choose its own token: all others get the score -inf."""

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012  the library's own declaration
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.choosers: dict[str, Chooser] = {}
        self._rows: list[Chooser | None] = []

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Part of the library's interface; no values travel by tensor here."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """Notes which request is in which row of the coming scores."""
        self._rows = [self.choosers.get(request.state.request_id) for request in requests_with_new_token]
        return torch.zeros(len(self._rows), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Replaces the scores of the rows that sample."""
        for row, chooser in enumerate(self._rows):
            if chooser is not None and not chooser.greedy:
                token = chooser.choose(scores[row])
                scores[row] = UNLIKELY
                scores[row, token] = 0.0
        return scores


class ContinuousWorker(Worker):
    """Feeds transformers' continuous batching and reads its tokens.

    Args:
        model: a loaded decoder-only transformers model.
        end_ids: the tokens that end an answer.
        settings: bounds of the batch and the cache.

    Raises:
        UnsupportedError: the library cannot run this model in this way; the message says why.
    """

    def __init__(self, model: Any, end_ids: frozenset[int], settings: EngineSettings) -> None:
        super().__init__()
        self._settings = settings
        self._end_ids = sorted(end_ids)
        self._answers: dict[str, Answer] = {}
        self._pushed: dict[str, int] = {}
        self._number = 0
        self._choice = RequestChoice()
        self._manager = _manager(model, self._end_ids[0], settings, self._choice)
        self._manager.start()
        try:
            self._try_first()
        except BaseException:
            self._manager.stop(hard_stop=True)
            raise

    @property
    def running(self) -> int:
        """Requests that the library holds."""
        return len(self._answers)

    def run(self, inbox: Inbox) -> None:
        """Works until the inbox is closed."""
        try:
            while self._answers or inbox.wait():
                if inbox.closed:
                    return
                self._admit(inbox)
                self._read()
                self._drop_ended()
        finally:
            self._manager.stop(hard_stop=True)

    @property
    def _room(self) -> int:
        return self._settings.max_batch - len(self._answers)

    def _admit(self, inbox: Inbox) -> None:
        # One by one: each joins by itself, so prompts of similar length are not better company than others.
        while answers := inbox.take(min(1, self._room), self._settings.max_batch_tokens):
            self._add(answers[0])

    def _add(self, answer: Answer) -> None:
        request = answer.request
        # Not the request's own name: that may come back while the library still holds a cancelled one.
        self._number += 1
        name = str(self._number)
        if request.do_sample:
            self._choice.choosers[name] = Chooser(request, self._manager.model.device)
        self._answers[name], self._pushed[name] = answer, 0
        self._manager.add_request(
            list(request.prompt_ids),
            request_id=name,
            max_new_tokens=request.max_new_tokens,
            streaming=True,
            eos_token_id=self._end_ids,
        )

    def _read(self) -> None:
        """Waits for a token, then takes all that are there."""
        output = self._manager.get_result(timeout=POLL_SECONDS)
        if output is None and not self._manager.is_running():
            raise RuntimeError(
                f"continuous batching ended: {self._manager.background_thread_status.fatal_error}"
            )
        tokens = 0
        while output is not None:
            tokens += self._take(output)
            output = None if self._manager.output_router.output_queue.empty() else self._manager.get_result()
        if tokens:
            self._count(tokens)

    def _take(self, output: Any) -> int:
        """Hands one request's new tokens to it; returns how many there were."""
        answer = self._answers.get(output.request_id)
        if answer is None:
            return 0
        if output.error is not None:
            self._forget(output.request_id)
            self._fail([answer], RuntimeError(output.error))
            return 0
        new = output.generated_tokens[self._pushed[output.request_id] :]
        self._pushed[output.request_id] += len(new)
        if any(answer.push(token) for token in new) or output.is_finished():
            self._end(output.request_id, cancel=not output.is_finished())
        return len(new)

    def _drop_ended(self) -> None:
        now = time.monotonic()
        for name in [name for name, answer in self._answers.items() if answer.expire(now)]:
            self._end(name, cancel=True)

    def _end(self, name: str, cancel: bool) -> None:
        if cancel:
            self._manager.cancel_request(name)
        self._forget(name)

    def _forget(self, name: str) -> None:
        del self._answers[name], self._pushed[name]
        self._choice.choosers.pop(name, None)

    def _try_first(self) -> None:
        """Makes two tokens: what the library cannot run fails here and not with a user's prompt."""
        # Token 0 exists in every vocabulary; an end token need not.
        self._manager.add_request([0], request_id="first", max_new_tokens=2, eos_token_id=-1)
        output = self._manager.get_result(timeout=FIRST_ANSWER_SECONDS)
        if output is None or output.error is not None:
            raise UnsupportedError(f"continuous batching does not run this model: {output and output.error}")


def _manager(model: Any, end_id: int, settings: EngineSettings, choice: RequestChoice) -> Any:
    """The library's manager, with our processor last.

    Raises:
        UnsupportedError: the model's generation config asks for what the library would leave out.
    """
    generation = copy.deepcopy(model.generation_config)
    generation.do_sample, generation.num_beams, generation.num_return_sequences = False, 1, 1
    config = ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        num_blocks=-(-settings.cache_tokens // PAGE_TOKENS),
        max_batch_tokens=max(settings.prefill_tokens, settings.max_batch),
        max_requests_per_batch=settings.max_batch,
        # The machine is sized for this cache; the library's own share of free memory would refuse it.
        max_memory_percent=1.0,
        # A captured graph could not ask each request for its choice.
        use_cuda_graph=False,
        use_async_batching=False,
    )
    # Asked of `generate`: the manager's own list silently lacks what needs a prepared config (`min_length`).
    found = processors_of(model, [end_id], 2, end_id)
    wanted = [type(processor).__name__ for processor in found]
    if wanted:
        raise UnsupportedError(
            f"continuous batching cannot follow generation_config.json: {', '.join(wanted)}"
        )
    manager = model.init_continuous_batching(generation, config)
    processors = manager.logit_processor
    processors.logits_processor.append(choice)
    processors.tensors_required += 1
    processors.do_processing = True
    return manager
