"""Static batches: requests in the order of their arrival, each waiting for the longest answer of its batch.

Run with the serving image's Python: `python -m bench.serving.static_batch --model DIR --requests FILE
--batch 16 --threads N`. `FILE` has a JSON list of objects with `prompt`, `new_tokens` and `at`, seconds since
the start. The result, a JSON list in the same order, has each answer and when it was complete. There is no
HTTP, so none of the machine's time is spent on it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 1.0
"""Longest time that a batch waits to be full."""


def main() -> None:
    """Answer the requests."""
    import torch  # type: ignore[import-not-found]
    from transformers import AutoModelForCausalLM, AutoTokenizer  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    requests = json.loads(options.requests.read_text())
    answer_batch(model, tokenizer, [{**requests[0], "new_tokens": 2}])
    json.dump(answer_all(model, tokenizer, requests, options.batch), sys.stdout)


def answer_all(model: Any, tokenizer: Any, requests: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """All answers; the clock starts now."""
    found: list[dict[str, Any]] = []
    began = time.monotonic()
    while len(found) < len(requests):
        waiting = requests[len(found) : len(found) + size]
        # Full, or all that will come, or the first has waited long enough.
        ready = min(waiting[-1]["at"], waiting[0]["at"] + PATIENCE_SECONDS)
        time.sleep(max(0.0, began + ready - time.monotonic()))
        now = time.monotonic() - began
        batch = [request for request in waiting if request["at"] <= now]
        texts = answer_batch(model, tokenizer, batch)
        ended = time.monotonic() - began
        found += [{"text": text, "ended": ended} for text in texts]
    return found


def answer_batch(model: Any, tokenizer: Any, batch: list[dict[str, Any]]) -> list[str]:
    """The answers to one batch: all rows run until the longest is complete, and are cut then."""
    inputs = tokenizer([request["prompt"] for request in batch], return_tensors="pt", padding=True)
    made = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=max(request["new_tokens"] for request in batch),
        do_sample=False,
        num_beams=1,
    )
    start = inputs["input_ids"].shape[1]
    return [
        tokenizer.decode(row[start : start + request["new_tokens"]], skip_special_tokens=True)
        for row, request in zip(made, batch, strict=True)
    ]


if __name__ == "__main__":
    main()
