"""The handler, loaded by TorchServe's own loader: answers, batches, and errors of one request alone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
import ts
from conftest import environment
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from ts.context import RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory

ORIGINAL = "How to prepare a spanish omelette:"
PROMPTS = [ORIGINAL, "Tell me a joke", "The quick brown fox jumps over the lazy dog", "café 🙂", "a"]
TOKENS = {"max_new_tokens": 12}


class Served:
    """A worker without its socket."""

    def __init__(self, folder: Path, unpacked: Path, monkeypatch, **more: object) -> None:
        for name, value in environment(
            folder, **({"MAX_INPUT_TOKENS": 150, "MAX_NEW_TOKENS": 40} | more)
        ).items():
            monkeypatch.setenv(name, value)
        with zipfile.ZipFile(folder / "model.mar") as archive:
            archive.extractall(unpacked)
        metrics = MetricsCacheYamlImpl(str(Path(ts.__file__).parent / "configs/metrics.yaml"))
        metrics.initialize_cache()
        model = json.loads((unpacked / "MAR-INF/MANIFEST.json").read_text())["model"]
        loader = ModelLoaderFactory.get_model_loader()
        service = loader.load(
            model["modelName"], str(unpacked), model["handler"], None, 8, metrics_cache=metrics
        )
        self.handle, self.context = service._entry_point, service.context

    def raw(self, *bodies: object) -> list[tuple[int, dict]]:
        """Status and body for each request of one batch."""
        self.context.request_processor = [RequestProcessor({}) for _ in bodies]
        answers = self.handle([{"body": body} for body in bodies], self.context)
        statuses = [self.context.get_response_status(number)[0] for number in range(len(bodies))]
        return [(status, json.loads(answer)) for status, answer in zip(statuses, answers, strict=True)]

    def ask(self, *bodies: object) -> list[tuple[int, dict]]:
        return self.raw(*(json.dumps(body).encode() for body in bodies))

    def predict(self, *prompts: str, **parameters: object) -> list[str]:
        """The predictions of one request."""
        [(status, body)] = self.ask({"instances": list(prompts), "parameters": TOKENS | parameters})
        assert status == 200, body
        return body["predictions"]


@pytest.fixture
def served(staged, tmp_path, monkeypatch) -> Served:
    return Served(staged, tmp_path / "unpacked", monkeypatch)


@pytest.fixture
def decoder(gpt2, tmp_path, monkeypatch) -> Served:
    return Served(gpt2, tmp_path / "unpacked", monkeypatch)


def plain(folder: Path, text: str, **options: object) -> str:
    """What the library's own `generate` answers."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    family = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    tokenizer, model = AutoTokenizer.from_pretrained(folder), family.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=12, do_sample=False, **options)[0]
    start = 1 if kind == "t5" else inputs["input_ids"].shape[1]
    return tokenizer.decode(ids[start:], skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_the_answers_are_those_of_plain_generate_in_the_originals_shape(staged, served):
    kind = json.loads((staged / "config.json").read_text())["model_type"]
    blurb = (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request."
    )
    for prompt in PROMPTS:
        if kind == "gpt2":
            expected = prompt + plain(staged, prompt)
        elif kind == "t5":
            expected = plain(staged, prompt)
        else:
            text = f"{blurb}\n\n### Instruction:\n{prompt}\n\n### Response:\n"
            end = AutoTokenizer.from_pretrained(staged).convert_tokens_to_ids("### End")
            expected = plain(staged, text, eos_token_id=end).strip()
        assert served.predict(prompt) == [expected]


def test_prompts_of_any_length_together_are_answered_as_if_alone(served):
    alone = [served.predict(prompt)[0] for prompt in PROMPTS]
    assert len(set(alone)) == len(PROMPTS)
    assert served.predict(*PROMPTS) == alone
    batch = served.ask(*({"instances": [prompt], "parameters": TOKENS} for prompt in PROMPTS))
    assert batch == [(200, {"predictions": [answer]}) for answer in alone]


def test_a_batch_larger_than_one_pass_keeps_its_order(gpt2, tmp_path, monkeypatch):
    served = Served(gpt2, tmp_path / "unpacked", monkeypatch, BATCH_SIZE=2)
    assert served.predict(*PROMPTS) == [served.predict(prompt)[0] for prompt in PROMPTS]


def test_an_instance_may_be_an_object(served):
    assert (
        served.predict(ORIGINAL)
        == served.ask({"instances": [{"prompt": ORIGINAL}], "parameters": TOKENS})[0][1]["predictions"]
    )


def test_a_bad_request_in_a_batch_fails_alone(served):
    good = {"instances": [ORIGINAL], "parameters": TOKENS}
    bodies = [
        json.dumps(good).encode(),
        b"{",
        json.dumps({"instances": [" "]}).encode(),
        json.dumps(good).encode(),
    ]
    first, broken, empty, last = served.raw(*bodies)
    assert first == last == (200, {"predictions": served.predict(ORIGINAL)})
    assert broken[0] == 400
    assert empty[0] == 422


def test_a_seed_gives_the_same_answer_alone_and_in_a_batch(served):
    random = {"instances": [ORIGINAL], "parameters": TOKENS | {"temperature": 5.0, "top_p": 1.0, "seed": 11}}
    greedy = {"instances": PROMPTS, "parameters": TOKENS}
    alone = served.ask(random)[0]
    assert served.ask(greedy, random)[1] == alone
    others = [random | {"parameters": random["parameters"] | {"seed": seed}} for seed in range(5)]
    assert any(each != alone for each in served.ask(*others))


def test_what_the_model_fails_on_is_one_requests_error(decoder, monkeypatch):
    model = decoder.handle.__self__._model
    generate = model._model.generate

    def fail(input_ids: torch.Tensor, **options: object) -> torch.Tensor:
        if len(input_ids) > 1 or input_ids.shape[1] == 1:
            raise RuntimeError("out of memory over a planted prompt")
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(model._model, "generate", fail)
    good, bad = decoder.ask(*({"instances": [prompt], "parameters": TOKENS} for prompt in (ORIGINAL, "a")))
    assert good[0] == 200
    assert bad == (
        500,
        {"error": {"code": "model_failed", "message": "the model failed on a prompt: RuntimeError"}},
    )


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"\xff", 400, "byte 0"),
        (b"[]", 422, "should be an object"),
        (b"{}", 422, "instances: field required"),
        (b'{"instances": []}', 422, "at least 1 item"),
        (b'{"instances": "zebra"}', 422, "instances: input should be a valid array"),
        (b'{"instances": [5]}', 422, "instances.0.str: input should be a valid string"),
        (b'{"instances": [{"text": "zebra"}]}', 422, "instances.0.Prompt.prompt: field required"),
        (b'{"instances": ["a"], "max_tokens": 3}', 422, "max_tokens: extra inputs"),
        (b'{"instances": ["a"], "parameters": {"max_new_tokens": 41}}', 422, "the limit is 40"),
        (b'{"instances": ["a"], "parameters": {"temperature": 0}}', 422, "greater than or equal to 0.01"),
        (b'{"instances": ["a"], "parameters": {"do_sample": false, "top_k": 3}}', 422, "do_sample is false"),
        (json.dumps({"instances": ["a"] * 33}).encode(), 413, "the limit is 32"),
        (json.dumps({"instances": ["zebra " * 100]}).encode(), 422, "tokens, the limit is 150"),
        ({"instances": "zebra"}, 415, "Content-Type: application/json"),
        (None, 415, "Content-Type: application/json"),
    ],
)
def test_a_bad_request_is_refused_with_a_clear_line_that_repeats_no_prompt(decoder, body, status, words):
    [(found, answer)] = decoder.raw(body)
    assert found == status, answer
    assert words in answer["error"]["message"]
    assert "zebra" not in json.dumps(answer)


def test_prompt_and_answer_stay_within_the_context(gpt2, tmp_path, monkeypatch):
    served = Served(gpt2, tmp_path / "unpacked", monkeypatch, MAX_INPUT_TOKENS=500, MAX_NEW_TOKENS=191)
    [(status, body)] = served.ask({"instances": ["a " * 40, "a"]})
    assert status == 200, body
    refused = served.ask(
        {"instances": ["a " * 90], "parameters": {"max_new_tokens": 191}}, {"instances": ["a " * 400]}
    )
    assert [status for status, _ in refused] == [422, 422]
    assert all("context of 192 tokens" in body["error"]["message"] for _, body in refused)


def test_the_element_type_is_the_deployments_or_else_the_archives(gpt2, tmp_path, monkeypatch):
    for wanted, found in (("bfloat16", torch.bfloat16), ("", torch.float32)):
        served = Served(gpt2, tmp_path / f"unpacked{wanted}", monkeypatch, DTYPE=wanted)
        assert served.handle.__self__._model._model.dtype == found


def test_dollys_format_is_refused_for_a_model_without_its_tokens(gpt2, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no token '### End'"):
        Served(gpt2, tmp_path / "unpacked", monkeypatch, PROMPT_FORMAT="dolly")


@pytest.mark.parametrize(
    ("architecture", "words"), [("NoSuchModel", "transformers has not"), ("BertModel", "generates no text")]
)
def test_a_class_that_cannot_be_served_is_refused_by_name(
    own_gpt2, tmp_path, monkeypatch, architecture, words
):
    path = own_gpt2 / "model.mar"
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content.replace(b"GPT2LMHeadModel", architecture.encode()))
    with pytest.raises(ValueError, match=words):
        Served(own_gpt2, tmp_path / "unpacked", monkeypatch)
