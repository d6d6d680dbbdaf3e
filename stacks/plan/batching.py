"""How many requests a server runs at once, and how many tokens these have.

The server is told what is decided here (`MAX_BATCH`, `MAX_BATCH_TOKENS`, `CACHE_TOKENS`), and the sizing
counts the same numbers: what a machine is chosen for is the most that the server can hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stacks.plan.tokens import TokenLimits

CPU_ROWS = 32
"""Most requests that run at once on a CPU: the server's own bound, beyond which a step gains little."""

GPU_ROWS = 256
"""Most requests that run at once on a GPU: what vLLM takes for `max_num_seqs` (vllm/config/scheduler.py)."""

PROMPT_TOKENS = 4096
"""Prompt tokens that start together at most, unless one prompt alone may be longer. Assumed: a CPU reads no
token faster in a larger batch, and a pass's live tensors grow with it."""

STEP_TOKENS = 512
"""Prompt tokens that a step of continuous batching reads at most: the server's own bound (`prefill_tokens` in
images/serve)."""

LANES = 4
"""Batches that CTranslate2 runs side by side, on threads of their own: the server's own number (`MAX_COHORTS`
in images/serve). transformers' take turns."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What runs at once in one container."""

    rows: int
    """Requests."""
    prompt_tokens: int
    """Prompt tokens that one pass reads, padding included."""
    cache_tokens: int
    """Tokens of prompts and answers in the key-value cache."""

    def environment(self) -> dict[str, str]:
        """What the server is told."""
        return {
            "MAX_BATCH": str(self.rows),
            "MAX_BATCH_TOKENS": str(self.prompt_tokens),
            "CACHE_TOKENS": str(self.cache_tokens),
        }


def batch_of(rows: int, tokens: TokenLimits) -> Batch:
    """Gives the batch of so many requests, each as long as it may be."""
    return Batch(
        rows=rows,
        prompt_tokens=min(rows * tokens.max_input, max(PROMPT_TOKENS, tokens.max_input)),
        cache_tokens=rows * (tokens.max_input + tokens.max_new),
    )


def batches(queue: int, tokens: TokenLimits, *, gpu: bool) -> Iterator[Batch]:
    """Gives the batches to try on a machine, the largest first; the last runs one request after the other.

    Args:
        queue: requests that the server holds, those that run included.
        tokens: limits of one request.
        gpu: whether a GPU computes.
    """
    for rows in range(most_rows(queue, gpu=gpu), 0, -1):
        yield batch_of(rows, tokens)


def most_rows(queue: int, *, gpu: bool) -> int:
    """Gives how many of the requests that a server holds run at once where memory sets no bound."""
    return min(queue, GPU_ROWS if gpu else CPU_ROWS)
