"""The models' vocabulary, and prompts of exact lengths in it.

Each word is one token and each token one word, so that a text says which tokens it came from.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

SPECIAL = ("<pad>", "</s>", "<unk>")
PAD, END = 0, 1
VOCABULARY = 32_128
"""As many as T5's embeddings have rows: CTranslate2 fills up a tokenizer that has fewer."""
_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]


def words() -> list[str]:
    """The words, in the order of their tokens; the first has the token after the special ones."""
    base = len(_SYLLABLES)
    return [
        _SYLLABLES[number // base**2] + _SYLLABLES[number // base % base] + _SYLLABLES[number % base]
        for number in range(VOCABULARY - len(SPECIAL))
    ]


def prompts(lengths: Sequence[int], seed: int) -> list[str]:
    """Prompts of random words, the same in every run.

    Args:
        lengths: words of each prompt.
        seed: of the words.
    """
    chooser, known = random.Random(seed), words()
    return [" ".join(chooser.choices(known, k=length)) for length in lengths]


def common_prefix(answer: str, reference: str) -> int:
    """How many tokens two answers have in common before they part."""
    ours, theirs = answer.split(), reference.split()
    pairs = zip(ours, theirs, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
