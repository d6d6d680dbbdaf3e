"""The original's server, repaired so that it runs: Flask's development server, `generate` for each request.

Run with the serving image's Python and Flask beside it. Repaired are the missing application object and
import, the names of methods, the body that was never decoded, and the class: flan-t5 is an encoder-decoder.
Left out are `debug=True`, which loads the model twice, and what suits no CPU: float16, `device_map` and
`torch.compile` at import.

Environment: MODEL_PATH, PORT, MAX_NEW_TOKENS, THREADS (of one forward pass; each request has its own).
"""

from __future__ import annotations

import logging
import os

import torch  # type: ignore[import-not-found]
from flask import Flask, Response, request  # type: ignore[import-not-found]
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer  # type: ignore[import-not-found]


class Model:
    """A model and its tokenizer."""

    def __init__(self, path: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32)

    def generate(self, prompt: str, max_new_tokens: int) -> str:
        """The answer to one prompt."""
        inputs = self.tokenizer(prompt, return_tensors="pt")
        outputs = self.model.generate(**inputs, max_new_tokens=max_new_tokens)
        return str(self.tokenizer.decode(outputs[0], skip_special_tokens=True))


torch.set_num_threads(int(os.environ["THREADS"]))
# A line for each request would only cost it time.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
llm = Model(os.environ["MODEL_PATH"])


@app.post("/predict")  # type: ignore[untyped-decorator]
def predict() -> Response:
    """Text in, text out."""
    prompt = request.get_data(as_text=True)
    return Response(llm.generate(prompt, int(os.environ["MAX_NEW_TOKENS"])), mimetype="text/plain")


@app.get("/")  # type: ignore[untyped-decorator]
def alive() -> str:
    """For whoever waits until it listens."""
    return "ok"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]))
