"""The server as a process with ENGINE=ctranslate2, and the clients that it is made for."""

from __future__ import annotations

import json
from pathlib import Path

from ctranslate2_models import converted
from openai import OpenAI
from running import plain_generate
from test_process import refusal, server
from transformers import AutoTokenizer


def test_every_api_answers_as_plain_generate_does(
    environment: dict[str, str], t5: Path, tmp_path: Path
) -> None:
    folder = converted(t5, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(t5)
    prompt = "Tell me a joke about a cloud"
    (tokens,) = plain_generate(t5, [tokenizer(prompt)["input_ids"]], [12])
    expected = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    variables = environment | {"MODEL_PATH": str(folder), "ENGINE": "ctranslate2"}
    with server(variables, tmp_path / "log") as (_, client):
        predicted = client.post(
            "/predict", json={"instances": [{"prompt": prompt}], "parameters": {"max_new_tokens": 12}}
        ).json()
        body = {"prompt": prompt, "max_new_tokens": 12, "stream": True}
        with client.stream("POST", "/generate", json=body) as response:
            events = [json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line]
        completions = OpenAI(base_url=f"{client.base_url}/v1", api_key="none").completions
        whole = completions.create(model="owner/tiny", prompt=prompt, max_tokens=12, temperature=0)
        pieces = completions.create(
            model="owner/tiny", prompt=prompt, max_tokens=12, temperature=0, stream=True
        )
        streamed = "".join(piece.choices[0].text for piece in pieces if piece.choices)
        seeded = client.post(
            "/generate", json={"prompt": prompt, "do_sample": True, "seed": 3, "max_new_tokens": 2}
        )
    assert expected in json.dumps(predicted, ensure_ascii=False)
    assert "".join(event["token"] for event in events[:-1]) == events[-1]["generated_text"] == expected
    assert whole.choices[0].text == streamed == expected
    assert seeded.status_code == 422
    assert "ENGINE=transformers" in seeded.text


def test_a_model_staged_in_another_format_is_refused(environment: dict[str, str]) -> None:
    _, line = refusal(environment | {"ENGINE": "ctranslate2"})
    assert "stage it in the format ctranslate2" in line["message"]
