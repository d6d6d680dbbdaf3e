"""Computes with JetStream checkpoints in plain PyTorch, and with their sources by transformers.

JetStream-PyTorch is on no package index, so its models' computations stand here: the llama of Touvron et al.
2023 (pairs of neighbours rotated, as Meta's checkpoints have them) and the gemma of Mesnard et al. 2024
(halves of a head rotated, norms with one added).

Arguments: folder of the sources, folder of the targets, and as JSON the source's name for each target's.
Prints for each target the largest difference of the logits, over the largest logit.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from torch.nn import functional

IDS = torch.tensor([[3, 14, 15, 92, 65, 35, 89, 79, 32]])


class Weights:
    """A checkpoint's weights, and which of them were used."""

    def __init__(self, file: Path) -> None:
        self._tensors = load_file(file)
        self.left = set(self._tensors)

    def __call__(self, name: str) -> torch.Tensor:
        """A weight; one of eight bits times its scales, of rows or, for an embedding, of columns."""
        value = self._tensors[f"{name}.weight"]
        self.left.discard(f"{name}.weight")
        if value.dtype != torch.int8:
            return value.float()
        scaler = self._tensors[f"{name}.weight_scaler"].float()
        self.left.discard(f"{name}.weight_scaler")
        return value.float() * (scaler if "embed" in name else scaler[:, None])


def norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """RMSNorm."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def angles(length: int, head: int, base: float) -> torch.Tensor:
    """Unit complex numbers [length, head / 2]."""
    steps = torch.outer(torch.arange(length).float(), base ** -(torch.arange(0, head, 2).float() / head))
    return torch.polar(torch.ones_like(steps), steps)


def rotate_neighbours(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs (2i, 2i + 1) of [heads, length, head]."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)


def rotate_halves(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs (i, i + half) of [heads, length, head]."""
    first, second = x.chunk(2, -1)
    turned = torch.complex(first, second) * turn
    return torch.cat([turned.real, turned.imag], -1)


def attend(x: torch.Tensor, wq: torch.Tensor, wk: torch.Tensor, wv: torch.Tensor, head: int,
           rotate: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:  # fmt: skip
    """Causal attention with grouped keys and values, before its last matrix."""
    q, k, v = ((x @ w.T).unflatten(-1, (-1, head)).transpose(0, 1) for w in (wq, wk, wv))
    q, k = rotate(q), rotate(k)
    k, v = (each.repeat_interleave(len(q) // len(each), 0) for each in (k, v))
    scores = q @ k.transpose(1, 2) / head**0.5
    scores = scores.masked_fill(torch.ones(scores.shape[1:]).triu(1).bool(), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def llama(w: Weights, config: transformers.PretrainedConfig) -> torch.Tensor:
    """Logits of Meta's llama."""
    head = config.hidden_size // config.num_attention_heads
    turn = angles(IDS.shape[1], head, config.rope_parameters["rope_theta"])
    x = w("tok_embeddings")[IDS[0]]
    for number in range(config.num_hidden_layers):
        layer = f"layers.{number}"
        attended = norm(x, w(f"{layer}.attention_norm"), 1e-5)
        q, k, v = (w(f"{layer}.attention.{each}") for each in ("wq", "wk", "wv"))
        mixed = attend(attended, q, k, v, head, lambda each: rotate_neighbours(each, turn))
        x = x + mixed @ w(f"{layer}.attention.wo").T
        fed = norm(x, w(f"{layer}.ffn_norm"), 1e-5)
        gate, up, down = (w(f"{layer}.feed_forward.{each}") for each in ("w1", "w3", "w2"))
        x = x + (functional.silu(fed @ gate.T) * (fed @ up.T)) @ down.T
    return norm(x, w("norm"), 1e-5) @ w("output").T


def gemma(w: Weights, config: transformers.PretrainedConfig) -> torch.Tensor:
    """Logits of Google's gemma."""
    turn = angles(IDS.shape[1], config.head_dim, 10_000.0)
    embedding = w("embedder")
    x = embedding[IDS[0]] * config.hidden_size**0.5
    for number in range(config.num_hidden_layers):
        layer = f"layers.{number}"
        attended = norm(x, 1 + w(f"{layer}.input_layernorm"), 1e-6)
        q, k, v = (w(f"{layer}.self_attn.{each}") for each in ("wq", "wk", "wv"))
        mixed = attend(attended, q, k, v, config.head_dim, lambda each: rotate_halves(each, turn))
        x = x + mixed @ w(f"{layer}.self_attn.o_proj").T
        fed = norm(x, 1 + w(f"{layer}.post_attention_layernorm"), 1e-6)
        gate, up, down = (w(f"{layer}.mlp.{each}_proj") for each in ("gate", "up", "down"))
        x = x + (functional.gelu(fed @ gate.T, approximate="tanh") * (fed @ up.T)) @ down.T
    return norm(x, 1 + w("norm"), 1e-6) @ embedding.T


def compare(source: Path, target: Path) -> dict:
    """Compute both ways."""
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    weights = Weights(target / "model.safetensors")
    compute = llama if model.config.model_type == "llama" else gemma
    with torch.no_grad():
        wanted = model(IDS).logits[0]
        got = compute(weights, model.config)
    return {
        "difference": ((got - wanted).abs().max() / wanted.abs().max()).item(),
        "left": sorted(weights.left),
        "tokens": (got.argmax(-1) == wanted.argmax(-1)).float().mean().item(),
    }


if __name__ == "__main__":
    sources, targets, names = sys.argv[1:]
    pairs = json.loads(names)
    found = {name: compare(Path(sources) / source, Path(targets) / name) for name, source in pairs.items()}
    sys.stdout.write(json.dumps(found))
