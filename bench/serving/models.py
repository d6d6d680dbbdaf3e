"""Makes a model of a real class with random weights, laid out as on the Hub.

Run with the serving image's Python: `python -m bench.serving.models --name small-t5 --folder DIR`.

No answer ends early: the end token's row of the output layer is zero, and of 32,000 random logits the largest
is above zero. So every contestant makes exactly the tokens it is asked for, by its ordinary code.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.serving.words import END, PAD, SPECIAL, VOCABULARY, words
from rehearsal.hub.configurations import build

SHAPES: dict[str, dict[str, Any]] = {
    # google-t5/t5-small: 60 million.
    "small-t5": {"kind": "t5", "dModel": 512, "dFf": 2048, "encoderLayers": 6, "decoderLayers": 6,
                 "heads": 8, "headDim": 64, "vocab": VOCABULARY, "tiedEmbeddings": True},
    # google/flan-t5-base: 1 GB as float32.
    "base-t5": {"kind": "t5-gated", "dModel": 768, "dFf": 2048, "encoderLayers": 12, "decoderLayers": 12,
                "heads": 12, "headDim": 64, "vocab": VOCABULARY, "tiedEmbeddings": False},
    # gpt2 with a narrower body: 48 million.
    "small-gpt2": {"kind": "gpt2", "dModel": 512, "dFf": 2048, "decoderLayers": 10, "heads": 8,
                   "vocab": VOCABULARY, "positions": 512, "tiedEmbeddings": True},
}  # fmt: skip
GPT2_EMBEDDING, GPT2_LAYERS = 0.1, 4.0
T5_EMBEDDING, T5_DECODER = 4.0, 40.0
"""As the classes initialise themselves, greedy answers are one token for ever: tied embeddings outweigh the
layers of gpt2, and in T5's decoder the attention, much the same at each step, outweighs what depends on the
token before. With these factors each token follows from those before it and from the prompt, so that a wrong
mask or position shows."""


def main() -> None:
    """Make one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=SHAPES, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="receives the files; must not exist")
    options = parser.parse_args()
    write(SHAPES[options.name], options.folder)


def write(shape: dict[str, Any], folder: Path) -> None:
    """Save a model of a shape and its tokenizer; the weights are the same in every run."""
    import torch  # type: ignore[import-not-found]

    torch.manual_seed(20)
    special: dict[str, int] = {"pad_token_id": PAD, "eos_token_id": END}
    is_t5 = shape["kind"].startswith("t5")
    special["decoder_start_token_id" if is_t5 else "bos_token_id"] = PAD if is_t5 else END
    model = build(shape, **special).eval()
    with torch.no_grad():
        _loosen(model)
        model.get_output_embeddings().weight[: len(SPECIAL)] = 0
    model.save_pretrained(folder)
    _tokenizer(ends_prompts=is_t5).save_pretrained(folder)


def _loosen(model: Any) -> None:
    embedding = model.get_input_embeddings().weight
    if not model.config.is_encoder_decoder:
        embedding.mul_(GPT2_EMBEDDING)
        for parameter in model.parameters():
            if parameter.ndim == 2 and parameter is not embedding:
                parameter.mul_(GPT2_LAYERS)
        return
    embedding.mul_(T5_EMBEDDING)
    for name, parameter in model.decoder.named_parameters():
        if name.endswith("DenseReluDense.wo.weight"):
            # What relu lets through has a mean, which would be the same at every step: it cancels out here.
            parameter.sub_(parameter.mean(1, keepdim=True)).mul_(T5_DECODER)


def _tokenizer(*, ends_prompts: bool) -> Any:
    """A tokenizer of T5's kind whose pieces are whole words."""
    from tokenizers import (  # type: ignore[import-not-found]
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
    )
    from transformers import PreTrainedTokenizerFast  # type: ignore[import-not-found]

    pad, end, unknown = SPECIAL
    pieces = [(token, 0.0) for token in SPECIAL] + [(f"▁{word}", -10.0) for word in words()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index(unknown)))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    if ends_prompts:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", special_tokens=[(end, END)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=end, unk_token=unknown, model_max_length=512
    )


if __name__ == "__main__":
    main()
