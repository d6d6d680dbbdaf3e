"""Sampled answers: repeated by a seed whoever shares the batch, and drawn from the right distribution."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
import torch
from running import ask, random_prompts, running, tokens_of
from serve.batching.sampling import Chooser, choose_all
from serve.engines.base import GenerateRequest
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

CPU = torch.device("cpu")


def sampled(name: str, prompt: list[int], seed: int | None, **values: float) -> GenerateRequest:
    """A request that samples at a temperature that leaves many tokens possible."""
    return GenerateRequest(name, prompt, 12, do_sample=True, seed=seed, **({"temperature": 2.0} | values))


def test_a_seed_repeats_an_answer_alone_and_among_any_batch_mates(staged: Path) -> None:
    async def scenario() -> None:
        async with running(staged) as engine:
            prompts = random_prompts(engine, 12)
            alone = [
                tokens_of((await ask(engine, sampled("a", prompt, seed)))[0])
                for seed, prompt in enumerate(prompts)
            ]
            together = await ask(
                engine,
                *(sampled(f"s{seed}", prompt, seed) for seed, prompt in enumerate(prompts)),
                *(GenerateRequest(f"g{i}", prompt, 3 + i) for i, prompt in enumerate(prompts)),
                *(sampled(f"n{i}", prompt, None, top_k=5) for i, prompt in enumerate(prompts)),
            )
            assert [tokens_of(answer) for answer in together[: len(prompts)]] == alone
            # A model of random weights may well give two prompts the same answer.
            assert len({tuple(answer) for answer in alone}) > len(prompts) // 2

    asyncio.run(scenario())


def test_without_a_seed_each_answer_is_drawn_anew(staged: Path) -> None:
    async def scenario() -> None:
        async with running(staged) as engine:
            prompt = engine.encode("Tell me a joke")
            found = await ask(engine, *(sampled(str(i), prompt, None) for i in range(8)))
            assert len({tuple(tokens_of(answer)) for answer in found}) > 4

    asyncio.run(scenario())


def test_requests_in_one_batch_each_have_their_own_sampling_values(staged: Path) -> None:
    async def scenario() -> None:
        async with running(staged) as engine:
            prompt = engine.encode("Tell me a joke")
            greedy, one, cold, *hot = await ask(
                engine,
                GenerateRequest("greedy", prompt, 12),
                sampled("one", prompt, 1, top_k=1),
                sampled("cold", prompt, 2, temperature=1e-4),
                *(sampled(f"hot{i}", prompt, i, temperature=50.0) for i in range(5)),
            )
            assert tokens_of(one) == tokens_of(cold) == tokens_of(greedy)
            assert len({tuple(tokens_of(answer)) for answer in hot}) == 5

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0.7},
        {"top_k": 7},
        {"top_p": 0.6},
        {"temperature": 1.5, "top_k": 20, "top_p": 0.8},
        {"top_p": 1e-9},
        {"top_k": 1000},
    ],
)
def test_a_choice_follows_the_distribution_of_transformers_own_warpers(values: dict[str, float]) -> None:
    scores = torch.randn(30, generator=torch.Generator().manual_seed(1)) * 2
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(values.get("temperature", 1.0)))])
    if "top_k" in values:
        warpers.append(TopKLogitsWarper(int(values["top_k"])))
    if "top_p" in values:
        warpers.append(TopPLogitsWarper(values["top_p"]))
    expected = warpers(torch.zeros(1, 1), scores[None].clone())[0].softmax(-1)
    chooser = Chooser(GenerateRequest("a", [1], 1, do_sample=True, seed=4, **values), CPU)
    draws = 4000
    counts = Counter(chooser.choose(scores) for _ in range(draws))
    assert set(counts) <= set(expected.nonzero().flatten().tolist())
    # Four standard deviations of a share; the draws are the same in every run.
    for token, share in enumerate(expected.tolist()):
        assert abs(counts[token] / draws - share) <= 4 * (share * (1 - share) / draws) ** 0.5 + 1e-9


def test_a_greedy_row_takes_the_likeliest_token_beside_rows_that_sample() -> None:
    scores = torch.tensor([[0.0, 3.0, 1.0], [0.0, 0.0, 0.0], [5.0, 1.0, 1.0]])
    greedy, random_ = GenerateRequest("g", [1], 1), GenerateRequest("r", [1], 1, do_sample=True, seed=1)
    rows = [Chooser(request, CPU) for request in (greedy, random_, greedy)]
    found = [choose_all(rows, scores) for _ in range(30)]
    assert {(first, last) for first, _, last in found} == {(1, 0)}
    assert {middle for _, middle, _ in found} == {0, 1, 2}
