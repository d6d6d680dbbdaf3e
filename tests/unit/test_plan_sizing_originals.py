"""The machine tables of the original systems, computed anew: which hold, which do not, and what is right.

Each test names the machine that an original wrote down and asserts what the plan says of it.
"""

from __future__ import annotations

import pytest

from stacks.plan import probes, runners, staging
from stacks.plan.architecture import cache_bytes, parameters
from stacks.plan.catalog import catalog
from stacks.plan.hardware import accelerators, compute_machines, tpu_slices
from stacks.plan.limits import cloud_run_limits
from stacks.plan.quantity import GIB, MIB
from stacks.plan.sizing import serving, streaming, terms, tpu, training
from stacks.plan.sizing import staging as staging_size
from stacks.plan.sizing.candidates import Candidate
from stacks.plan.sizing.dtypes import default_dtype, refusal
from stacks.plan.spec import ModelSpec
from stacks.plan.tokens import TokenLimits, default_tokens


def t5(size: str) -> ModelSpec:
    return catalog()["google/flan-ul2" if size == "ul2" else f"google/flan-t5-{size}"]


def memory(machine: str) -> int:
    return compute_machines()[machine].memory_bytes


# --- streaming on Dataflow ---


def worker_need(size: str, processes: int = 1) -> int:
    model = t5(size)
    return terms.total(streaming.worker_lines(model, default_tokens(model), processes))


@pytest.mark.parametrize(
    ("size", "original", "corrected", "right"),
    [
        ("small", "n2-standard-2", "n2-highmem-2", "n2-standard-2"),
        ("base", "n2-standard-2", "n2-highmem-2", "n2-standard-2"),
        ("large", "n2-standard-2", "n2-highmem-4", "n2-standard-2"),
        ("xl", "n2-highmem-2", "n2-highmem-4", "n2-highmem-4"),
        ("xxl", "n2-highmem-8", "n2-highmem-8", "n2-highmem-16"),
        ("ul2", "n2-highmem-16", "n2-highmem-16", "n2-highmem-16"),
    ],
)
def test_a_streaming_worker_is_the_smallest_that_holds_one_model(
    size: str, original: str, corrected: str, right: str
) -> None:
    chosen = streaming.choose_worker(t5(size), default_tokens(t5(size)))
    assert (chosen.machine, chosen.fits) == (right, True)
    assert (worker_need(size) <= memory(original)) == (memory(original) >= memory(right))
    assert (worker_need(size) <= memory(corrected)) == (memory(corrected) >= memory(right))


def test_the_original_s_worker_for_xl_was_too_small_and_its_correction_is_right() -> None:
    model = t5("xl")
    copied_in = parameters(model) * (4 + 2)
    assert copied_in == 17_098_543_104
    assert copied_in < memory("n2-highmem-2") < worker_need("xl") <= memory("n2-highmem-4")


def test_the_worker_for_xxl_was_too_small_in_the_correction_too() -> None:
    """The two copies of the weights alone leave 1.8 GiB of 64 for everything else on the machine."""
    model = t5("xxl")
    left = memory("n2-highmem-8") - parameters(model) * (4 + 2)
    assert 0 < left < streaming.HARNESS_BYTES + terms.RUNTIME_BYTES + GIB
    assert worker_need("xxl") > memory("n2-highmem-8")


def test_one_model_for_each_cpu_is_what_the_small_workers_could_not_hold() -> None:
    """Without its experiments, a worker of two CPUs runs two models: that is why `large` was moved."""
    assert worker_need("large") <= memory("n2-standard-2") < worker_need("large", processes=2)
    assert worker_need("xl", processes=4) > memory("n2-highmem-4")


# --- conversion ---


@pytest.mark.parametrize(
    ("size", "original", "corrected"),
    [
        ("small", "e2-standard-2", "e2-standard-4"),
        ("base", "e2-standard-2", "e2-standard-4"),
        ("large", "e2-standard-2", "e2-standard-4"),
        ("xl", "e2-highmem-4", "e2-highmem-4"),
        ("xxl", "e2-highmem-16", "e2-highmem-16"),
        ("ul2", "e2-highmem-16", "e2-highmem-16"),
    ],
)
def test_a_loader_that_holds_the_whole_model_fits_the_corrected_machines(
    size: str, original: str, corrected: str
) -> None:
    need = terms.total(staging_size.whole_model_lines(t5(size), "bfloat16"))
    assert need <= memory(original)
    assert need <= memory(corrected)
    assert compute_machines()[corrected].vertex_training
    # The small ones had memory enough; Vertex AI runs no custom job on that machine type.
    assert compute_machines()[original].vertex_training == (original == corrected)


@pytest.mark.parametrize("name", catalog())
def test_our_staging_job_is_the_smallest_instance_where_the_original_needed_up_to_128_gib(name: str) -> None:
    model = catalog()[name]
    ours = runners.machine(runners.CLOUD_RUN).sizing
    whole = terms.total(staging_size.whole_model_lines(model, "bfloat16"))
    assert (ours.need_bytes, ours.machine) == (256 * MIB, "1 CPU, 512Mi")
    assert whole > 4 * ours.need_bytes


def test_a_checkpoint_of_30_gb_has_time_to_be_staged_and_its_server_time_to_start() -> None:
    """A Cloud Run job may take 168 hours; a service without GPU has ten minutes to start."""
    model = t5("xl").model_copy(update={"checkpoint_bytes": 30_000_000_000})
    seconds = staging.task_timeout(model)
    assert seconds > 3 * 30_000_000_000 / staging.HUB_BYTES_PER_SECOND
    assert seconds < cloud_run_limits().job_task_timeout_max.value
    assert probes.load_seconds(30_000_000_000) < probes.longest_window(gpu=True)


# --- Cloud Run ---


def test_cloud_run_s_default_memory_of_the_original_holds_no_model_at_all() -> None:
    """It set no memory, and gen2's default is 512 MiB: python with its libraries alone is more."""
    default = cloud_run_limits().memory_min.value
    assert default == 512 * MIB < terms.RUNTIME_BYTES
    for model in catalog().values():
        assert terms.total(serving.host_lines(model, default_tokens(model), "bfloat16")) > default


def test_float16_on_a_cpu_as_the_original_asked_would_overflow_in_its_model() -> None:
    model = t5("base")
    assert default_dtype(model, None) == "float32"
    assert "overflows" in str(refusal(model, "float16", None))


# --- Vertex AI ---


@pytest.mark.parametrize(
    ("name", "dtype", "spare_gib"),
    [
        ("gpt2", "float32", 13.2),
        ("databricks/dolly-v2-3b", "float32", 0.7),
        ("databricks/dolly-v2-3b", "float16", 7.3),
    ],
)
def test_n1_standard_8_with_a_t4_holds_the_models_of_the_vertex_original(
    name: str, dtype: str, spare_gib: float
) -> None:
    """dolly in float32 fits with little to spare: in float16 it needs half."""
    model, t4 = catalog()[name], accelerators()["nvidia-tesla-t4"]
    need = terms.total(serving.gpu_lines(model, default_tokens(model), dtype, engine="torchserve"))
    assert (t4.memory_bytes - need) / GIB == pytest.approx(spare_gib, abs=0.06)
    host = terms.total(serving.gpu_host_lines(model, dtype, mounted=False))
    assert host <= memory("n1-standard-8")
    assert t4.n1_counts is not None
    assert 1 in t4.n1_counts.value[compute_machines()["n1-standard-8"].cpus]


def test_a_smaller_machine_than_the_vertex_original_s_would_do_for_gpt2() -> None:
    model = catalog()["gpt2"]
    chosen = serving.vertex_gpu(model, default_tokens(model), "transformers")
    assert (chosen.machine, chosen.fits) == ("n1-standard-4, 1 nvidia-tesla-t4", True)


@pytest.mark.parametrize("gpu", ["nvidia-tesla-t4", "nvidia-tesla-v100"])
def test_bfloat16_is_not_planned_on_gpus_without_it(gpu: str) -> None:
    assert default_dtype(catalog()["databricks/dolly-v2-3b"], gpu) == "float16"
    assert default_dtype(t5("base"), gpu) == "float32"


# --- training on A2 ---

CONFIGS = {
    "small1vm1gpu": ("t5-small", "a2-highgpu-1g", 1, 128),
    "small2vm16gpu": ("t5-small", "a2-megagpu-16g", 2, 128),
    "xxl2vm16gpu": ("google/t5-v1_1-xxl", "a2-megagpu-16g", 2, 5),
    "xxl8vm16gpu": ("google/t5-v1_1-xxl", "a2-megagpu-16g", 8, 5),
    "xxl16vm8a2plus": ("google/t5-v1_1-xxl", "a2-ultragpu-8g", 16, 19),
    "xxl16vma3": ("google/t5-v1_1-xxl", "a3-highgpu-8g", 16, 16),
    "bart2vm16gpu": ("facebook/bart-base", "a2-megagpu-16g", 2, 128),
}


def sized(config: str) -> Candidate:
    name, machine, nodes, sequences = CONFIGS[config]
    batch = training.Batch(sequences, 256, 30)
    return training.on_cluster(catalog()[name], batch, compute_machines()[machine], nodes)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_training_of_the_original_fits_the_gpus_that_it_had(config: str) -> None:
    candidate = sized(config)
    assert candidate.fits, candidate.reason
    assert candidate.need <= candidate.have


def test_the_state_of_a_trained_parameter_is_sixteen_bytes_shared_by_all_gpus() -> None:
    model = catalog()["google/t5-v1_1-xxl"]
    lines = {line.what: line.bytes for line in sized("xxl2vm16gpu").lines}
    state = lines["weights"] + lines["gradients"] + lines["optimizer"]
    assert 0 <= state - parameters(model) * 16 / 32 < 3
    assert parameters(model) * 16 == 178_165_317_632


def test_one_machine_of_eight_gpus_would_do_where_the_original_took_two_of_sixteen_for_xxl() -> None:
    """With the original's batch of five; its two machines have room for far larger ones."""
    model, batch = catalog()["google/t5-v1_1-xxl"], training.Batch(5, 256, 30)
    machines = compute_machines()
    four = training.on_cluster(model, batch, machines["a2-highgpu-4g"], 1)
    assert not four.fits
    assert "for each GPU" in four.reason
    assert training.on_cluster(model, batch, machines["a2-highgpu-8g"], 1).fits
    chosen = training.choose_cluster(model, batch)
    assert chosen.machine == "1 × a2-ultragpu-4g (4 nvidia-a100-80gb)"


def test_fifteen_slots_on_machines_of_sixteen_gpus_left_two_gpus_idle_for_no_need() -> None:
    model, batch = catalog()["google/t5-v1_1-xxl"], training.Batch(5, 256, 30)
    idle = terms.total(training.gpu_lines(model, batch, 2 * 15))
    full = terms.total(training.gpu_lines(model, batch, 2 * 16))
    assert full < idle <= accelerators()["nvidia-tesla-a100"].memory_bytes


def test_the_trained_xxl_does_not_fit_one_of_its_two_40_gb_gpus_in_float32_but_does_in_bfloat16() -> None:
    """The serving container of the original put the model on one GPU: the second one could not help."""
    model, have = catalog()["google/t5-v1_1-xxl"], accelerators()["nvidia-tesla-a100"].memory_bytes
    tokens = default_tokens(model)
    assert terms.total(serving.gpu_lines(model, tokens, "float32")) > have
    assert terms.total(serving.gpu_lines(model, tokens, "bfloat16")) <= have


# --- JetStream on TPU ---

SLICE_2X4 = next(part for part in tpu_slices("v5e") if (part.topology, part.hosts) == ("2x4", 1))
ORIGINAL_TOKENS = TokenLimits(1024, 1024)
"""Cache of 2048 tokens for each of the sequences."""


@pytest.mark.parametrize(
    ("name", "sequences", "gb_per_chip"),
    [
        ("meta-llama/Llama-2-7b-hf", 80, 12.4),
        ("meta-llama/Meta-Llama-3-8B", 80, 4.7),
        ("meta-llama/Meta-Llama-3-8B", 30, 3.0),
        ("google/gemma-2b", 80, 3.6),
    ],
)
def test_the_tpu_original_s_models_fit_eight_chips_of_v5e(
    name: str, sequences: int, gb_per_chip: float
) -> None:
    candidate = tpu.on_slice(catalog()[name], ORIGINAL_TOKENS, "bfloat16", SLICE_2X4, sequences=sequences)
    assert candidate.fits, candidate.reason
    assert candidate.need / 1e9 == pytest.approx(gb_per_chip, abs=0.06)
    assert candidate.have == 16_000_000_000 * 9 // 10


def test_the_cache_of_llama_2_decides_its_slice_and_grouped_heads_need_a_quarter_of_it() -> None:
    llama_2, llama_3 = catalog()["meta-llama/Llama-2-7b-hf"], catalog()["meta-llama/Meta-Llama-3-8B"]
    assert cache_bytes(llama_2.architecture, 2048, 2) == 4 * cache_bytes(llama_3.architecture, 2048, 2)
    chosen = {
        model.repository: tpu.choose_slice(
            model, ORIGINAL_TOKENS, "jetstream", "bfloat16", "v5e", sequences=80
        ).machine
        for model in (llama_2, llama_3)
    }
    assert chosen[llama_2.repository] == "v5e 2x4, 1 × ct5lp-hightpu-8t (one host)"
    assert chosen[llama_3.repository] == "v5e 2x2, 1 × ct5lp-hightpu-4t (one host)"


def test_a_gemma_with_one_key_value_head_gains_no_cache_from_more_chips() -> None:
    model = catalog()["google/gemma-2b"]
    caches = [
        next(line for line in candidate.lines if line.what == "cache").bytes
        for part in tpu_slices("v5e")
        if part.chips <= 8
        for candidate in [tpu.on_slice(model, ORIGINAL_TOKENS, "bfloat16", part, sequences=80)]
    ]
    assert len(set(caches)) == 1


def test_two_nodes_of_the_original_s_pool_were_two_slices_where_one_fits_the_model() -> None:
    candidate = tpu.choose_slice(
        catalog()["meta-llama/Llama-2-7b-hf"], ORIGINAL_TOKENS, "jetstream", "bfloat16", "v5e", sequences=80
    )
    assert candidate.fits
    assert "1 × ct5lp-hightpu-8t (one host)" in candidate.machine
