"""From an instance to the text that the model reads, and from the model's text to the prediction.

Sources: the shape of the gpt2 answers (prompt and continuation in one text) is the one that the original's
README shows; dolly's instruction format is `instruct_pipeline.py` of databricks/dolly-v2-3b on the Hub.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

INSTRUCTION_KEY = "### Instruction:"
RESPONSE_KEY = "### Response:"
END_KEY = "### End"
INTRO = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How prompts and answers are written.

    Args:
        name: `plain` or `dolly`.
        repeats_prompt: a prediction is the prompt and its continuation, as a pipeline gives it.
    """

    name: str
    repeats_prompt: bool

    def prompt(self, instance: str) -> str:
        """The text that the model continues or answers."""
        if self.name == "dolly":
            return f"{INTRO}\n\n{INSTRUCTION_KEY}\n{instance}\n\n{RESPONSE_KEY}\n"
        return instance

    def prediction(self, instance: str, answer: str) -> str:
        """The text that the client gets for an instance."""
        if self.name == "dolly":
            return answer.strip()
        return instance + answer if self.repeats_prompt else answer


def choose(wanted: str, is_encoder_decoder: bool, special_tokens: Iterable[str]) -> PromptFormat:
    """The format of a model.

    Args:
        wanted: `plain`, `dolly` or `auto`.
        is_encoder_decoder: whether the model answers rather than continues.
        special_tokens: the tokenizer's own tokens beyond its vocabulary of text.

    Raises:
        ValueError: dolly's format is asked for, and the model has not the token that ends a response.
    """
    speaks_dolly = not is_encoder_decoder and END_KEY in set(special_tokens)
    if wanted == "dolly" and not speaks_dolly:
        raise ValueError(
            f"PROMPT_FORMAT is dolly, but this model has no token {END_KEY!r}: leave PROMPT_FORMAT out"
        )
    if speaks_dolly and wanted != "plain":
        return PromptFormat("dolly", repeats_prompt=False)
    return PromptFormat("plain", repeats_prompt=not is_encoder_decoder)
