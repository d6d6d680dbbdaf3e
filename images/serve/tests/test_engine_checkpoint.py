"""Damaged models are refused with one line that names the file; slow settings are said in the log."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from running import with_generation_config
from serve.engines import checkpoint
from serve.engines.base import EngineSettings, ModelError


def remove(name: str) -> Callable[[Path], None]:
    """Damage: a file is not there."""
    return lambda folder: (folder / name).unlink()


def cut(name: str, size: int) -> Callable[[Path], None]:
    """Damage: a file ends early."""

    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return damage


def configure(**values: object) -> Callable[[Path], None]:
    """Damage: config.json says something that the weights do not bear out."""

    def damage(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return damage


@pytest.mark.parametrize("values", [{"stop_strings": ["."]}, {"max_time": 1.0}, {"min_p": 0.1}])
def test_what_a_generation_config_asks_and_the_server_does_not_do_is_refused_by_name(
    gpt2: Path, tmp_path: Path, values: dict[str, object]
) -> None:
    folder = with_generation_config(gpt2, tmp_path / "model", **values)
    with pytest.raises(ModelError, match=next(iter(values))):
        checkpoint.load(folder, EngineSettings())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("config.json"), r"config\.json cannot be read"),
        (cut("config.json", 5), r"config\.json cannot be read"),
        (configure(model_type="unheard-of"), r"config\.json cannot be read .*unheard-of"),
        (remove("tokenizer.json"), "the tokenizer's files cannot be read"),
        (cut("tokenizer.json", 100), "the tokenizer's files cannot be read"),
        (remove("model.safetensors"), "the weights cannot be read"),
        (cut("model.safetensors", 500), "the weights cannot be read"),
        (cut("model.safetensors", 40_000), "the weights cannot be read"),
        (configure(n_layer=3), "12 weights that config.json asks for are not in the files, .*h.2.attn"),
        (
            configure(n_embd=16),
            r"weights are not of the shape that config.json asks for, .*\(96,\), not \(48,\)",
        ),
    ],
)
def test_a_damaged_model_is_refused_with_one_line_that_says_what_to_do(
    gpt2: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(gpt2, tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        checkpoint.load(folder, EngineSettings())
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("stage the model again")


@pytest.mark.parametrize(("features", "warned"), [({"avx2": True}, True), ({"amx_bf16": True}, False)])
def test_bfloat16_on_a_cpu_without_it_is_said_in_the_log(
    gpt2: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    features: dict[str, bool],
    warned: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    with caplog.at_level(logging.WARNING, "serve"):
        checkpoint.load(gpt2, EngineSettings(dtype="bfloat16", device="cpu"))
    assert ("DTYPE=bfloat16 is slow" in caplog.text) is warned
