"""One row's choice of its next token, by the request's own values and its own random numbers.

A row draws from a generator that nothing else draws from, so a seed repeats an answer whoever shares the
batch. (What is left is rounding: a batch of another shape may change the last bits of a probability.)
"""

from __future__ import annotations

import torch

from serve.engines.base import GenerateRequest

UNLIKELY = float("-inf")


class Chooser:
    """Chooses the tokens of one request.

    Args:
        request: gives temperature, top_k, top_p and seed.
        device: where the scores are.
    """

    def __init__(self, request: GenerateRequest, device: torch.device) -> None:
        self.greedy = not request.do_sample
        self._temperature = request.temperature
        self._top_k = request.top_k
        self._top_p = request.top_p
        self._generator = torch.Generator(device=device)
        if request.seed is not None:
            self._generator.manual_seed(request.seed)
        else:
            self._generator.seed()

    def choose(self, scores: torch.Tensor) -> int:
        """The next token.

        Args:
            scores: the scores of all tokens, one dimension, float32.
        """
        if self.greedy:
            return int(scores.argmax())
        scores = _likeliest(scores / self._temperature, self._top_k)
        scores = _nucleus(scores, self._top_p)
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._generator))


def choose_all(choosers: list[Chooser], scores: torch.Tensor) -> list[int]:
    """The next token of every row.

    Args:
        choosers: one for each row.
        scores: rows of scores.
    """
    # On the CPU numpy's: the same answer in a tenth of torch's 2 ms for 32 rows of 32,128 scores.
    tokens: list[int] = (scores.numpy() if scores.is_cpu else scores).argmax(-1).tolist()
    for row, chooser in enumerate(choosers):
        if not chooser.greedy:
            tokens[row] = chooser.choose(scores[row])
    return tokens


def _likeliest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Keeps the `count` likeliest tokens, all with 0; ties with the last are kept, as transformers does."""
    if not 0 < count < scores.numel():
        return scores
    return scores.masked_fill(scores < scores.topk(count).values[-1], UNLIKELY)


def _nucleus(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Keeps the likeliest tokens that together have probability `share`; at least one."""
    if share >= 1:
        return scores
    ascending, order = scores.sort()
    drop = ascending.softmax(-1).cumsum(-1) <= 1 - share
    drop[-1] = False
    return scores.masked_fill(drop.scatter(0, order, drop), UNLIKELY)
