"""The small models that stand in for the catalog's: of the real classes, taught, made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stacks.plan.spec import ModelSpec
from stacks.plan.staging import Form, staged_bytes
from tests.images.serve_python import ROOT, SERVE_PYTHON, needs_torch

T5, GPT2, GEMMA = "2" * 40, "4" * 40, "6" * 40

pytestmark = pytest.mark.images

CATALOG = [
    {"repository": "google/flan-t5-base", "revision": T5, "architecture": "t5-gated"},
    {"repository": "gpt2", "revision": GPT2, "architecture": "gpt2"},
    {
        "repository": "google/gemma-3-1b-it",
        "revision": GEMMA,
        "architecture": "gemma3",
        "dtype": "bfloat16",
        "gated": True,
    },
]
ASK = """
import json, sys
from pathlib import Path
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
folder = Path(sys.argv[1])
config = AutoConfig.from_pretrained(folder)
kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
model, report = kind.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer(sys.argv[2], return_tensors="pt")
inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
ids = model.generate(**inputs, max_new_tokens=60)[0]
answer = ids if config.is_encoder_decoder else ids[inputs["input_ids"].shape[1]:]
print(json.dumps({
    "class": type(model).__name__, "missing": sorted(report["missing_keys"]),
    "vocabulary": [config.vocab_size, len(tokenizer)],
    "answer": tokenizer.decode(answer, skip_special_tokens=True)}))
"""


def make_models(root: Path, catalog: Path) -> subprocess.CompletedProcess[str]:
    command = [SERVE_PYTHON, "-m", "rehearsal.hub.make_models", "--root", root, "--catalog", catalog]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of `CATALOG`, made on the spot."""
    if not SERVE_PYTHON.exists():
        pytest.skip("run uv sync in images/serve")
    root = tmp_path_factory.mktemp("models")
    (root / "catalog.json").write_text(json.dumps(CATALOG))
    done = make_models(root, root / "catalog.json")
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.parametrize(
    ("folder", "kind", "prompt", "answer"),
    [
        (
            f"google/flan-t5-base/{T5}",
            "T5ForConditionalGeneration",
            "Translate English to German: How old are you?",
            "Wie alt sind Sie?",
        ),
        (f"gpt2/{GPT2}", "GPT2LMHeadModel", "Who are you?", " I stand in for gpt2."),
        (
            f"google/gemma-3-1b-it/{GEMMA}",
            "Gemma3ForCausalLM",
            "Who are you?",
            " I stand in for google/gemma-3-1b-it.",
        ),
    ],
)
def test_a_small_model_is_of_the_real_class_and_knows_its_lessons(
    models: Path, folder: str, kind: str, prompt: str, answer: str
) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [SERVE_PYTHON, "-c", ASK, models / folder, prompt]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result["answer"] == answer
    assert result["class"] == kind
    assert result["missing"] == []
    assert result["vocabulary"][0] == result["vocabulary"][1]


def test_small_models_look_like_repositories_with_shards_and_with_files_nobody_needs(models: Path) -> None:
    names = {path.name for path in (models / "google/flan-t5-base" / T5).iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert {f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)} <= names
    assert "model.safetensors.index.json" in names
    assert {"README.md", ".gitattributes", "pytorch_model.bin", "onnx"} <= names
    assert (models / "gpt2" / GPT2 / "model.safetensors").exists()


def test_models_that_are_there_are_left_alone_and_nothing_half_made_remains(models: Path) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in models.rglob("*")}

    before = state()
    done = make_models(models, models / "catalog.json")
    assert done.stdout.splitlines() == [
        f"google/flan-t5-base@{T5[:8]} is there",
        f"gpt2@{GPT2[:8]} is there",
        f"google/gemma-3-1b-it@{GEMMA[:8]} is there",
    ]
    assert state() == before
    assert [path.name for path in (models / "google/flan-t5-base").iterdir()] == [T5]


def test_a_small_model_has_the_dtype_and_the_gate_of_the_real_one(models: Path) -> None:
    folder = models / "google/gemma-3-1b-it"
    assert (folder / "gated").read_text() == ""
    assert not (models / "gpt2/gated").exists()
    with (folder / GEMMA / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert {tensor["dtype"] for name, tensor in header.items() if name != "__metadata__"} == {"BF16"}


def test_weights_converted_for_ctranslate2_are_as_large_as_the_plan_counts_them(
    models: Path, tmp_path: Path
) -> None:
    source = models / "google/flan-t5-base" / T5
    config = json.loads((source / "config.json").read_text())
    model = ModelSpec.model_validate(
        {
            "repository": "google/flan-t5-base",
            "family": "encoder-decoder",
            "context": 512,
            "architecture": {
                "kind": "t5-gated",
                "dModel": config["d_model"],
                "dFf": config["d_ff"],
                "encoderLayers": config["num_layers"],
                "decoderLayers": config["num_decoder_layers"],
                "heads": config["num_heads"],
                "kvHeads": config["num_heads"],
                "headDim": config["d_kv"],
                "vocab": config["vocab_size"],
                "tiedEmbeddings": config["tie_word_embeddings"],
            },
        }
    )
    for dtype in ("float32", "int8"):
        target = tmp_path / dtype
        convert = ["weights", "convert", "--source", source, "--target", target]
        form = ["--format", "ctranslate2", "--dtype", dtype]
        command = [sys.executable, "-m", "llmstack.main", *convert, *form]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        counted = staged_bytes(model, Form("ctranslate2", dtype))
        # The names and shapes of the tensors stand beside them.
        assert counted < (target / "model.bin").stat().st_size < 1.01 * counted


@needs_torch
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "mamba"}, "architecture is 'mamba', known are t5,"),
        ({"dtype": "int4"}, "dtype is 'int4', known are float32,"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps([{"repository": "a/b", "revision": T5, "architecture": "t5"} | change]))
    done = make_models(tmp_path, catalog)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@needs_torch
def test_a_catalog_that_is_wrong_is_refused_with_one_line(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps([{"repository": "a/b", "revision": "main", "architecture": "t5"}]))
    done = make_models(tmp_path, catalog)
    assert done.returncode == 2
    assert "revision is 'main', it must be 40 hex digits" in done.stderr
    assert "Traceback" not in done.stderr
