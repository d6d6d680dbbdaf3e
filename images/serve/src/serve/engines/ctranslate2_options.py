"""From transformers' configuration of generation to CTranslate2's options, or a refusal: nothing is dropped.

One difference is left: for repetitions, transformers counts the token that answers begin with as written, and
CTranslate2 does not. T5 begins with padding, which a trained model never writes.

Sources: `_get_logits_processor` in github.com/huggingface/transformers, src/transformers/generation/utils.py,
and https://opennmt.net/CTranslate2/python/ctranslate2.Translator.html.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from serve.engines.base import GenerateRequest
from serve.engines.generation import UNMET, asked, end_ids, listed

LEAST_TEMPERATURE = 1e-4
"""Below, dividing by it would leave the range of float32; the likeliest token has all the probability long
before."""
REFUSED: Mapping[str, tuple[object, ...]] = {
    **UNMET,
    "begin_suppress_tokens": (None, []),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1),
    "exponential_decay_length_penalty": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "guidance_scale": (None, 1),
    "remove_invalid_values": (None, False),
    "sequence_bias": (None, {}, []),
    "watermarking_config": (None,),
}
"""What changes answers in transformers and CTranslate2 has not, with the values that ask for nothing."""


class Options:
    """The options of every call for one model.

    Args:
        generation: generation_config.json.
        config: CTranslate2's config.json.
        vocabulary: the name of each token.

    Raises:
        ValueError: the configuration asks for something that CTranslate2 does not do, or lacks an end token.
    """

    def __init__(
        self, generation: Mapping[str, Any], config: Mapping[str, Any], vocabulary: list[str]
    ) -> None:
        _refuse(generation)
        self._vocabulary = vocabulary
        self.end_ids = end_ids(
            generation.get("eos_token_id"), "generation_config.json gives no eos_token_id; add it"
        )
        _check_start(generation, config, vocabulary)
        # min_length counts the token that the answer begins with, before any is generated.
        self._least = max((generation.get("min_length") or 0) - 1, generation.get("min_new_tokens") or 0, 0)
        self._always: dict[str, Any] = {
            "beam_size": 1,
            "end_token": sorted(self.end_ids),
            "max_input_length": 0,
            "no_repeat_ngram_size": generation.get("no_repeat_ngram_size") or 0,
            "repetition_penalty": generation.get("repetition_penalty") or 1.0,
            "suppress_sequences": self._suppressed(generation),
        }

    def of(self, request: GenerateRequest, limit: int) -> dict[str, Any]:
        """The keywords of a call of `translate_batch`.

        Args:
            request: any of the batch; all have the same `kind_of`.
            limit: the most new tokens that one of them asks for.
        """
        options = self._always | {
            "max_decoding_length": limit,
            "min_decoding_length": min(self._least, limit),
        }
        if request.do_sample:
            options["sampling_temperature"] = max(request.temperature, LEAST_TEMPERATURE)
            options["sampling_topp"] = request.top_p
            options["sampling_topk"] = min(request.top_k, len(self._vocabulary))
        return options

    def _suppressed(self, generation: Mapping[str, Any]) -> list[list[str]] | None:
        words = [[token] for token in generation.get("suppress_tokens") or ()]
        # As in transformers, an end token alone is no bad word.
        words += [
            word
            for word in generation.get("bad_words_ids") or ()
            if not (len(word) == 1 and word[0] in self.end_ids)
        ]
        return [[_name(self._vocabulary, token) for token in word] for word in words] or None


def kind_of(request: GenerateRequest) -> Hashable:
    """What requests of one batch have in common, since options are those of a whole call."""
    return (request.temperature, request.top_p, request.top_k) if request.do_sample else None


def _refuse(generation: Mapping[str, Any]) -> None:
    if found := asked(generation, REFUSED):
        raise ValueError(
            f"generation_config.json asks for {listed(found)}, which CTranslate2 does not do; "
            "deploy with ENGINE=transformers, or take it out"
        )


def _check_start(generation: Mapping[str, Any], config: Mapping[str, Any], vocabulary: list[str]) -> None:
    start, own = generation.get("decoder_start_token_id"), config.get("decoder_start_token")
    if start is not None and _name(vocabulary, start) != own:
        raise ValueError(
            f"generation_config.json begins answers with {vocabulary[start]!r} and config.json with {own!r}; "
            "stage the model again"
        )


def _name(vocabulary: list[str], token: int) -> str:
    if not 0 <= token < len(vocabulary):
        raise ValueError(f"generation_config.json names token {token}, and the model has {len(vocabulary)}")
    return vocabulary[token]
