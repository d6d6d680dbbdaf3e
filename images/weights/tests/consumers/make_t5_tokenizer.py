"""Saves a small T5 tokenizer, with fewer tokens than the tiny models have rows, into each folder given."""

import sys

import transformers

EXTRA = 7
WORDS = ["<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz", "\u00e9", "\u2581the"]

if __name__ == "__main__":
    extra = [f"<extra_id_{number}>" for number in range(EXTRA - 1, -1, -1)]
    scored = [(word, -float(number)) for number, word in enumerate([*WORDS, *extra])]
    tokenizer = transformers.T5Tokenizer(vocab=scored, extra_ids=EXTRA)
    for folder in sys.argv[1:]:
        tokenizer.save_pretrained(folder)
