"""Converts checkpoints as CTranslate2's own converter does, and computes with others' conversions.

Arguments: folder for the conversions, and as JSON jobs {name, source, target, quantization, plain, compute};
``plain`` takes the converter as it is. For those with ``compute`` it prints, by name, how much of the text
that the source generates greedily the target generates, and how far the logarithm of a probability is off.
"""

import json
import sys
from pathlib import Path

import ctranslate2
import numpy
import torch
import transformers
from ctranslate2.converters import TransformersConverter

PROMPTS = [[3, 4, 5, 6, 1], [9, 1], [30, 12, 12, 7, 20, 11, 10, 1]]
NEW_TOKENS = 12
EOS = 1


class Converter(TransformersConverter):
    """The converter as it was with transformers 4, whose configuration said whether outputs are scaled."""

    def load_model(self, *arguments, **options):
        model = super().load_model(*arguments, **options)
        model.config.tie_word_embeddings = model.config.scale_decoder_outputs
        return model


def compute(source: str, target: str) -> dict:
    """Generate with both, and compare tokens and probabilities until the first token that differs."""
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(source, dtype=torch.float32).eval()
    tokenizer = transformers.T5Tokenizer.from_pretrained(target)
    translator = ctranslate2.Translator(target, device="cpu", inter_threads=1, intra_threads=1)
    vocabulary = json.loads(Path(target, "shared_vocabulary.json").read_text(encoding="utf-8"))
    equal, distance = 0, 0.0
    for prompt in PROMPTS:
        wanted = model.generate(
            torch.tensor([prompt]),
            do_sample=False,
            use_cache=False,  # transformers 5.23 makes one with as many layers as the encoder has
            min_new_tokens=NEW_TOKENS,
            max_new_tokens=NEW_TOKENS,
            output_logits=True,
            return_dict_in_generate=True,
        )
        got = translator.translate_batch(
            [tokenizer.convert_ids_to_tokens(prompt)],
            beam_size=1,
            min_decoding_length=NEW_TOKENS,
            max_decoding_length=NEW_TOKENS,
            return_logits_vocab=True,
        )[0]
        steps = zip(wanted.sequences[0, 1:], wanted.logits, got.hypotheses[0], got.logits[0], strict=True)
        for token, right, piece, logits in steps:
            difference = probabilities(torch.tensor(numpy.array(logits))) - probabilities(right[0])
            distance = max(distance, difference.abs().max().item())
            if vocabulary[token] != piece:
                break
            equal += 1
    return {"equal": equal / (len(PROMPTS) * NEW_TOKENS), "distance": distance}


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Logarithms, of all but the end, which is not allowed and which CTranslate2 takes out at once."""
    return torch.cat([logits[:EOS], logits[EOS + 1 :]]).log_softmax(-1)


if __name__ == "__main__":
    folder, jobs = sys.argv[1], json.loads(sys.argv[2])
    found = {}
    for job in jobs:
        converter = (TransformersConverter if job["plain"] else Converter)(job["source"])
        converter.convert(f"{folder}/{job['name']}", quantization=job["quantization"])
        if job["compute"]:
            found[job["name"]] = compute(job["source"], job["target"])
    sys.stdout.write(json.dumps(found))
