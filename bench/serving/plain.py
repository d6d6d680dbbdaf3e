"""Each prompt's answer by transformers' own `generate`, one after the other, for comparison.

Run with the serving image's Python: `python -m bench.serving.plain --model DIR --prompts FILE
--new-tokens N`. `FILE` has a JSON list of prompts; the answers are a JSON list on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def main() -> None:
    """Answer the prompts."""
    import torch  # type: ignore[import-not-found]
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--new-tokens", type=int, required=True)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSeq2SeqLM.from_pretrained(options.model, dtype=torch.float32)
    answers = []
    for prompt in json.loads(options.prompts.read_text()):
        inputs = tokenizer(prompt, return_tensors="pt")
        made = model.generate(**inputs, max_new_tokens=options.new_tokens, do_sample=False, num_beams=1)
        answers.append(tokenizer.decode(made[0], skip_special_tokens=True))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
