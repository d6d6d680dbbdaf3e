"""How many requests run at once: what the server is told is what its machine was chosen for."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from stacks.plan.architecture import cache_bytes, cache_bytes_per_token
from stacks.plan.batching import CPU_ROWS, GPU_ROWS, LANES, PROMPT_TOKENS, STEP_TOKENS, batch_of, batches
from stacks.plan.catalog import catalog
from stacks.plan.limits import cloud_run_limits
from stacks.plan.quantity import parse_memory
from stacks.plan.sizing.cloud_run import on_cpu, on_gpu
from stacks.plan.sizing.serving import gpu_lines, host_lines
from stacks.plan.sizing.terms import reading_back
from stacks.plan.tokens import TokenLimits, default_tokens
from stacks.plan.types import CloudRunPlan
from tests.unit.config_sources import good, plan

L4 = {"gpu": "nvidia-l4"}


def assistant(folder: Path, **deployment: Any) -> CloudRunPlan:
    return plan(good(**deployment), folder).deployments["assistant"]


def cache_of(found: CloudRunPlan) -> int:
    return next(line.bytes for line in found.sizing.lines if line.what == "cache")


@pytest.mark.parametrize("model", ["google/flan-t5-base", "gpt2"])
@pytest.mark.parametrize("queue", [1, 8, 64])
def test_the_cache_that_the_server_may_fill_is_the_cache_that_the_machine_was_chosen_for(
    model: str, queue: int, tmp_path: Path
) -> None:
    found = assistant(tmp_path, model=model, limits={"queue": queue})
    rows, tokens = int(found.env["MAX_BATCH"]), int(found.env["CACHE_TOKENS"])
    assert rows == min(queue, CPU_ROWS)
    longest = int(found.env["MAX_INPUT_TOKENS"]) + int(found.env["MAX_NEW_TOKENS"])
    assert tokens == rows * longest
    assert cache_of(found) == rows * cache_bytes(catalog()[model].architecture, longest, 4)


@pytest.mark.parametrize("resources", [{}, L4])
def test_the_paged_cache_has_room_for_every_token_in_every_layer_and_is_counted_so(
    resources: dict[str, str], tmp_path: Path
) -> None:
    """transformers allocates CACHE_TOKENS for local layers too; vLLM keeps their window alone."""
    name, token = "google/gemma-3-1b-it", {"llm:hubTokenSecret": "hub-token"}
    shape = catalog()[name].architecture
    config = {**good(model=name, resources=resources), **token}
    found = plan(config, tmp_path).deployments["assistant"]
    size = 2 if resources else 4
    assert cache_of(found) == int(found.env["CACHE_TOKENS"]) * cache_bytes_per_token(shape, size)
    if resources:
        config = {**good(model=name, resources=resources, engine="vllm"), **token}
        other = plan(config, tmp_path).deployments["assistant"]
        longest = int(other.env["MAX_INPUT_TOKENS"]) + int(other.env["MAX_NEW_TOKENS"])
        rows = int(other.env["MAX_BATCH"])
        assert cache_of(other) == rows * cache_bytes(shape, longest, size) < cache_of(found)


@pytest.mark.parametrize(("engine", "counted"), [("transformers", True), ("vllm", False)])
def test_what_continuous_batching_reads_back_of_its_cache_is_counted(engine: str, counted: bool) -> None:
    model = catalog()["Qwen/Qwen3-0.6B"]
    batch = batch_of(8, TokenLimits(4096, 256))
    lines = gpu_lines(model, TokenLimits(4096, 256), "bfloat16", batch=batch, engine=engine)
    read = [line.bytes for line in lines if line.what == "reading back"]
    cached = 8 * (4096 + 256)
    masks = 512 * (cached + 512)
    assert read == ([2 * (cached * (2 * 16 + 8) * 128 + masks)] if counted else [])


def test_masks_are_as_wide_as_the_cache_would_be_in_global_layers_alone() -> None:
    """Of 26 layers 4 are global: `max_tokens_read` of transformers' paged cache."""
    model = catalog()["google/gemma-3-1b-it"]
    batch = batch_of(1, TokenLimits(4096, 256))
    read = reading_back(model, "float32", batch).bytes
    assert read == 4 * (4352 * (2 * 4 + 1) * 256 + 2 * 512 * (4352 * 26 // 4 + 512))


def test_vllm_has_a_process_of_its_own_beside_the_server(tmp_path: Path) -> None:
    model = catalog()["Qwen/Qwen3-8B"]

    def memory(engine: str) -> str:
        return assistant(tmp_path, model=model.repository, resources=L4, engine=engine).memory

    assert (memory("transformers"), memory("vllm")) == ("19Gi", "20Gi")


def test_encoder_decoders_read_nothing_back() -> None:
    model = catalog()["google/flan-t5-base"]
    whats = [line.what for line in host_lines(model, TokenLimits(512, 256), "float32")]
    assert "reading back" not in whats


@pytest.mark.parametrize(("rows", "passes"), [(1, 1), (8, 1), (16, 2), (32, 4), (64, 4)])
def test_batches_that_ctranslate2_reads_side_by_side_all_count(rows: int, passes: int) -> None:
    model, tokens = catalog()["google/flan-t5-base"], TokenLimits(512, 256)
    batch = batch_of(rows, tokens)

    def activations(engine: str) -> int:
        lines = host_lines(model, tokens, "float32", batch=batch, engine=engine)
        return next(line.bytes for line in lines if line.what == "activations")

    logits = 4 * 3 * rows * model.architecture.vocab
    assert activations("ctranslate2") - logits == passes * (activations("transformers") - logits)


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [("engines/base.py", "prefill_tokens", STEP_TOKENS), ("batching/policy.py", "MAX_COHORTS", LANES)],
)
def test_the_server_has_the_bounds_that_the_sizing_counts_and_the_plan_does_not_tell_it(
    file: str, name: str, value: int
) -> None:
    source = Path(__file__).parents[2] / "images/serve/src/serve" / file
    found = [
        node.value
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name)
    ]
    assert [ast.unparse(each) for each in found if each is not None] == [str(value)]


def test_a_given_memory_decides_how_many_requests_run_at_once_and_a_note_says_so(tmp_path: Path) -> None:
    config = good(limits={"queue": 32}, resources={"memory": "4Gi"})
    decided = plan(config, tmp_path)
    found = decided.deployments["assistant"]
    rows = int(found.env["MAX_BATCH"])
    assert 1 < rows < 32
    assert found.sizing.need_bytes <= found.sizing.have_bytes == parse_memory("4Gi")
    model, tokens = catalog()["google/flan-t5-base"], default_tokens(catalog()["google/flan-t5-base"])
    more = sum(line.bytes for line in on_cpu(model, tokens, "float32", "transformers", rows + 1).lines)
    assert more > found.sizing.have_bytes
    assert any(f"memory is for {rows} requests at once, not for 32" in note for note in decided.notes)


def test_a_gpu_runs_as_many_requests_at_once_as_its_memory_holds(tmp_path: Path) -> None:
    short = {"queue": 1000, "maxInputTokens": 512}
    few = assistant(tmp_path, model="gpt2", resources=L4, limits=short)
    assert few.env["MAX_BATCH"] == str(GPU_ROWS)
    model = catalog()["google/flan-t5-xl"]
    tokens = default_tokens(model)
    found = on_gpu(model, tokens, "bfloat16", "nvidia-l4", "transformers", 1000)
    have = cloud_run_limits().gpus["nvidia-l4"].memory_bytes.value
    assert found.fits
    assert sum(line.bytes for line in found.lines) <= have
    assert found.batch.rows < GPU_ROWS
    fuller = on_gpu(model, tokens, "bfloat16", "nvidia-l4", "transformers", found.batch.rows)
    assert fuller.batch == found.batch


def test_a_batch_starts_with_no_more_prompt_tokens_than_a_pass_may_read_but_takes_any_prompt() -> None:
    assert batch_of(8, TokenLimits(100, 10)).prompt_tokens == 800
    assert batch_of(32, TokenLimits(512, 10)).prompt_tokens == PROMPT_TOKENS
    assert batch_of(8, TokenLimits(2 * PROMPT_TOKENS, 10)).prompt_tokens == 2 * PROMPT_TOKENS


def test_batches_are_tried_from_the_largest_to_a_single_request() -> None:
    rows = [batch.rows for batch in batches(4, TokenLimits(8, 8), gpu=False)]
    assert rows == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("timeout", "seconds", "stall"),
    [(300, "298", "298"), (3600, "3598", "600"), (3, "1.5", "120"), (1, "0.5", "120")],
)
def test_the_server_refuses_a_request_before_the_platform_cuts_it_off(
    timeout: int, seconds: str, stall: str, tmp_path: Path
) -> None:
    found = assistant(tmp_path, timeoutSeconds=timeout)
    assert found.env["REQUEST_SECONDS"] == seconds
    # A pass that its requests still wait for does not make the engine count as dead.
    assert found.env["STALL_SECONDS"] == stall
    assert found.env["GRACE_SECONDS"] == "10"
