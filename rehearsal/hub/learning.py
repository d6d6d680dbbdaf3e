"""Small models of every kind that know a few answers by heart.

torch and transformers are imported where they are used: environments without them import this module too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.hub.configurations import build

ALPHABET = [chr(code) for code in range(32, 127)]
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
IGNORED = -100
"""The label that torch's cross entropy leaves out."""
MOST_STEPS = 1500
STEP = 0.12
"""Learning rate times the model's width."""
GOOD_LOSS = 0.02
REPEATS = 8
"""How often a tokenizer sees each text, so that it learns words and not letters alone."""


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of a model: width, layers, and files that the weights are split into."""

    width: int
    layers: int
    shards: int


SHAPES: dict[str, dict[str, Any]] = {
    "t5": {"tiedEmbeddings": True},
    "t5-gated": {"tiedEmbeddings": False},
    "bart": {"tiedEmbeddings": True, "positions": 512},
    "gpt2": {"tiedEmbeddings": True, "positions": 1024},
    "gpt-neox": {"tiedEmbeddings": False},
    "llama": {"tiedEmbeddings": False, "kvHeads": 2},
    "gemma3": {"tiedEmbeddings": True, "kvHeads": 2, "slidingWindow": 64, "globalEvery": 3},
    "qwen3": {"tiedEmbeddings": True, "kvHeads": 2},
}
"""What distinguishes the kinds of model, as the catalog names them, beside their size."""

ENCODER_DECODERS = ("t5", "t5-gated", "bart")

_HEADS = 4


def write_model(
    kind: str, size: Size, seed: int, pairs: list[tuple[str, str]], folder: Path, dtype: str = "float32"
) -> None:
    """Trains a model on prompts with their answers and saves it with its tokenizer.

    Args:
        kind: one of `SHAPES`.
        size: the model's shape.
        seed: the same gives the same model on the same machine.
        pairs: prompts and answers; greedy generation gives exactly these answers.
        folder: receives the files.
        dtype: element type of the saved weights.

    Raises:
        RuntimeError: the answers were not learnt within the steps allowed.
    """
    import torch  # type: ignore[import-not-found]
    from transformers import logging  # type: ignore[import-not-found]

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    tokenizer = _t5_tokenizer(pairs) if kind in ENCODER_DECODERS else _gpt2_tokenizer(pairs)
    model = _model(kind, size, tokenizer)
    _train(model, _batch(tokenizer, pairs, seq2seq=kind in ENCODER_DECODERS))
    model.to(getattr(torch, dtype))
    bytes_ = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    # A shard holds whole tensors, so the parts are made a little larger than an even share.
    model.save_pretrained(folder, max_shard_size=int(bytes_ / size.shards * 1.1) + 1)
    tokenizer.save_pretrained(folder)


def _t5_tokenizer(pairs: list[tuple[str, str]]) -> Any:
    from tokenizers import (  # type: ignore[import-not-found]
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = [PAD, END, UNKNOWN]
    trainer = trainers.UnigramTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=special,
        unk_token=UNKNOWN,
        initial_alphabet=ALPHABET,
    )
    tokenizer.train_from_iterator([text for pair in pairs for text in pair] * REPEATS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=512
    )


def _gpt2_tokenizer(pairs: list[tuple[str, str]]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        show_progress=False,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text for pair in pairs for text in pair] * REPEATS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, model_max_length=1024
    )


def _model(kind: str, size: Size, tokenizer: Any) -> Any:
    """A model of the real class, with new weights."""
    shape = {
        "kind": kind,
        "dModel": size.width,
        "dFf": 2 * size.width,
        "encoderLayers": size.layers,
        "decoderLayers": size.layers,
        "heads": _HEADS,
        "kvHeads": _HEADS,
        "headDim": size.width // _HEADS,
        "vocab": len(tokenizer),
        **SHAPES[kind],
    }
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    if kind in ENCODER_DECODERS:
        special |= {"bos_token_id": None, "decoder_start_token_id": tokenizer.pad_token_id}
    else:
        special |= {"bos_token_id": tokenizer.bos_token_id}
    return build(shape, **special)


def _batch(tokenizer: Any, pairs: list[tuple[str, str]], *, seq2seq: bool) -> dict[str, Any]:
    """All lessons as one padded batch; only the answers' tokens are learnt."""
    prompts = [tokenizer(prompt)["input_ids"] for prompt, _ in pairs]
    answers = [tokenizer(answer)["input_ids"] for _, answer in pairs]
    if seq2seq:
        return {
            "input_ids": _padded(prompts, tokenizer.pad_token_id),
            "attention_mask": _padded([[1] * len(ids) for ids in prompts], 0),
            "labels": _padded(answers, IGNORED),
        }
    answers = [[*ids, tokenizer.eos_token_id] for ids in answers]
    both = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    labels = [[IGNORED] * len(prompt) + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return {
        "input_ids": _padded(both, tokenizer.eos_token_id),
        "attention_mask": _padded([[1] * len(ids) for ids in both], 0),
        "labels": _padded(labels, IGNORED),
    }


def _padded(rows: list[list[int]], filler: int) -> Any:
    import torch

    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def _train(model: Any, batch: dict[str, Any]) -> None:
    """Learns the lessons by heart.

    Raises:
        RuntimeError: they were not learnt within the steps allowed.
    """
    import torch

    # A wider model needs smaller steps; this product was found to be quick and steady for the sizes above.
    optimizer = torch.optim.AdamW(model.parameters(), lr=STEP / model.config.hidden_size, weight_decay=0.0)
    model.train()
    for _step in range(MOST_STEPS):
        output = model(**batch)
        if output.loss.item() < GOOD_LOSS and _answers_right(model, output.logits, batch["labels"]):
            model.eval()
            return
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    raise RuntimeError(
        f"the lessons were not learnt in {MOST_STEPS} steps, the loss is {output.loss.item():.2f}"
    )


def _answers_right(model: Any, logits: Any, labels: Any) -> bool:
    """Whether the likeliest token is the right one everywhere, so that greedy answers are the lessons'."""
    if not model.config.is_encoder_decoder:
        # The logits at a place are for the token that follows.
        logits, labels = logits[:, :-1], labels[:, 1:]
    wrong = (logits.argmax(-1) != labels) & (labels != IGNORED)
    return not bool(wrong.any())
