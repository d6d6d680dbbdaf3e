"""Requests handed to vLLM as they come, its tokens handed to their answers.

vLLM runs the model in a process of its own and batches continuously; here is its client, which needs an event
loop. The loop has a thread; the engine's thread waits at the inbox and hands each request over.

Only token ids are taken from vLLM. Text, stop strings, limits, deadlines and cancellation are the `Answer`'s,
as in every engine: so the same tokens are the same text, whole or streamed, whichever engine made them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs.engine import tokens_input
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.metrics.loggers import StatLoggerBase

from serve.batching.answer import Answer
from serve.batching.inbox import Inbox
from serve.batching.worker import Worker
from serve.engines.base import EngineSettings, GenerateRequest

T = TypeVar("T")
LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.05
"""Longest time without a look at cancellations, deadlines and whether vLLM lives."""
SHUTDOWN_SECONDS = 0.2
"""What vLLM's processes get to end by themselves: nothing is left to finish, and the driver frees the GPU."""
SEEDS = 2**63
"""Seeds that vLLM takes: not negative, as -1 means none there."""


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and waits for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """Ends the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class VllmWorker(Worker):
    """Starts vLLM and keeps at most `max_batch` requests in it.

    Args:
        args: how vLLM is to run the model.
        end_ids: the tokens that end an answer.
        sampling: values that every request's `SamplingParams` has.
        settings: bounds of the batch.

    Raises:
        Exception: vLLM's own, where the model cannot be run; its log has the cause.
    """

    def __init__(
        self,
        args: AsyncEngineArgs,
        end_ids: frozenset[int],
        sampling: dict[str, Any],
        settings: EngineSettings,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._sampling = sampling | {"stop_token_ids": sorted(end_ids)}
        self._answers: dict[Answer, asyncio.Task[None]] = {}
        self._places = threading.Semaphore(settings.max_batch)
        self._number = 0
        self._death: Exception | None = None
        self._thread = LoopThread()
        try:
            self._llm = self._thread.run(self._start(args))
        except BaseException:
            self._thread.stop()
            raise

    @property
    def running(self) -> int:
        """Requests that vLLM holds."""
        return len(self._answers)

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together: the model's bound, or what the memory has room for."""
        return int(self._llm.model_config.max_model_len)

    def run(self, inbox: Inbox) -> None:
        """Works until the inbox is closed.

        Raises:
            Exception: why vLLM answers nothing any more.
        """
        try:
            self._thread.run(self._watch_over(inbox))
            while inbox.wait():
                # Waits a little only: who waits in the inbox may give up or be too late.
                if self._places.acquire(timeout=POLL_SECONDS):
                    self._admit(inbox)
        finally:
            self.stop()
        if self._death is not None:
            raise self._death

    def stop(self) -> None:
        """Ends vLLM and its processes."""
        self._thread.run(self._end())
        self._thread.stop()

    def _admit(self, inbox: Inbox) -> None:
        answers = inbox.take(1, self._settings.max_batch_tokens)
        if answers:
            self._thread.run(self._begin(answers[0], inbox))
        else:
            self._places.release()

    async def _start(self, args: AsyncEngineArgs) -> AsyncLLM:
        return AsyncLLM.from_engine_args(args, stat_loggers=[self._step_counter])

    def _step_counter(self, *_: Any) -> StatLoggerBase:
        return StepCounter(self)

    async def _watch_over(self, inbox: Inbox) -> None:
        self._watch = asyncio.ensure_future(self._look(inbox))

    async def _look(self, inbox: Inbox) -> None:
        """Gives up what was cancelled or is too late, and closes the inbox when vLLM has died."""
        while not self._llm.errored:
            now = time.monotonic()
            for answer, task in list(self._answers.items()):
                if answer.expire(now):
                    task.cancel()
            await asyncio.sleep(POLL_SECONDS)
        self._die(RuntimeError("vLLM's process ended; its log says why"), inbox)

    def _die(self, error: Exception, inbox: Inbox) -> None:
        if self._death is None:
            self._death = error
            inbox.close()

    async def _begin(self, answer: Answer, inbox: Inbox) -> None:
        # Not the request's own name: that may come back while vLLM still holds a cancelled one.
        self._number += 1
        task = asyncio.ensure_future(self._answer(answer, str(self._number), inbox))
        self._answers[answer] = task
        task.add_done_callback(lambda _: self._forget(answer))

    def _forget(self, answer: Answer) -> None:
        del self._answers[answer]
        self._places.release()

    async def _answer(self, answer: Answer, name: str, inbox: Inbox) -> None:
        try:
            await self._generate(answer, name)
        except EngineDeadError:
            # `_look` sees it too, and whoever holds the engine gives up all answers at once.
            return
        except Exception as error:
            try:
                self._fail([answer], error)
            except RuntimeError as fatal:
                self._die(fatal, inbox)

    async def _generate(self, answer: Answer, name: str) -> None:
        """Hands vLLM's tokens on; leaving its generator before the end makes it drop the request."""
        params = sampling_params(answer.request, self._sampling)
        outputs = self._llm.generate(tokens_input(list(answer.request.prompt_ids)), params, name)
        try:
            async for output in outputs:
                tokens = output.outputs[0].token_ids
                self.tokens += len(tokens)
                self._failures = 0
                if any(answer.push(token) for token in tokens):
                    return
            if not answer.ended:
                raise RuntimeError(f"vLLM ended an answer early ({output.outputs[0].finish_reason})")
        finally:
            await outputs.aclose()

    async def _end(self) -> None:
        self._watch.cancel()
        for task in self._answers.values():
            task.cancel()
        await asyncio.gather(*self._answers.values(), return_exceptions=True)
        await asyncio.to_thread(self._llm.shutdown, SHUTDOWN_SECONDS)


class StepCounter(StatLoggerBase):
    """Is told by vLLM of each forward pass.

    Args:
        worker: what counts them.
    """

    def __init__(self, worker: VllmWorker) -> None:
        self._worker = worker

    def record(self, _scheduler: Any, iteration: Any, *_: Any, **__: Any) -> None:
        """Counts one, by the number of answers that it carried on; a part of a prompt carries on none."""
        self._worker.steps += 1
        if iteration is not None and iteration.num_generation_tokens:
            self._worker.steps_by_rows[iteration.num_generation_tokens] += 1

    def log_engine_initialized(self) -> None:
        """Part of vLLM's interface; the server logs what was loaded."""


def sampling_params(request: GenerateRequest, common: dict[str, Any]) -> SamplingParams:
    """A request's values as vLLM takes them.

    Args:
        request: the request.
        common: values of every request.
    """
    chosen: dict[str, Any] = {"temperature": 0.0}
    # The model may ask for more tokens than the request allows, which vLLM refuses.
    fewest = min(common.get("min_tokens", 0), request.max_new_tokens)
    if request.do_sample:
        chosen = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
        if request.seed is not None:
            chosen["seed"] = request.seed % SEEDS
    return SamplingParams(
        max_tokens=request.max_new_tokens,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        **common | chosen | {"min_tokens": fewest},
    )
