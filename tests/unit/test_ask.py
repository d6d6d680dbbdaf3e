"""`llmstack ask`: one prompt, a conversation, a terminal; against a real server on loopback."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from llmstack.main import app
from rehearsal.driver import Rehearsal
from tests.unit.scripted_serving import MODEL, Script, enter, refusal, serving


@pytest.fixture
def script() -> Iterator[Script]:
    """A running server's script."""
    with serving(Script()) as running:
        yield running


@pytest.fixture
def project(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a checkout whose deployment is the server, and is no rehearsal."""
    return enter(script, tmp_path, monkeypatch)


def ask(*words: str, given: str | bytes | None = None, status: int = 0) -> Result:
    done = CliRunner().invoke(app, ["ask", "dev", "assistant", *words], input=given)
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done


@pytest.mark.usefixtures("project")
def test_what_is_not_a_terminal_gets_the_answer_and_nothing_else() -> None:
    done = ask("Hi")
    assert done.stdout == "Hello, world\n"
    assert done.stderr == ""


@pytest.mark.usefixtures("project")
def test_options_arrive_at_the_server(script: Script) -> None:
    limits = ["--max-new-tokens=3", "--temperature=0.5", "--top-p=0.9", "--top-k=4"]
    ask("Hi", *limits, "--seed=5", "--stop=a", "--stop=b")
    (body,) = script.bodies
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    wanted = {"max_completion_tokens": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 4, "seed": 5}
    assert body.items() >= {**wanted, "stop": ["a", "b"]}.items()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("words", [(), ("-",)])
def test_the_prompt_may_be_piped_in_with_all_its_lines(script: Script, words: tuple[str, ...]) -> None:
    ask(*words, given="one\n\ntwö\n".encode())
    assert script.bodies[0]["messages"][0]["content"] == "one\n\ntwö"


@pytest.mark.usefixtures("project")
def test_figures_and_json_on_request() -> None:
    assert ask("Hi", "--stats").stderr.startswith(f"{MODEL}: 2 tokens in, 3 out in ")
    document = json.loads(ask("Hi", "--json").stdout)
    assert document["generated_text"] == "Hello, world"
    assert document["usage"] == {"prompt_tokens": 2, "generated_tokens": 3}


def test_the_caller_s_token_is_sent(project: Path, script: Script) -> None:
    (project / "token").write_text("mine\n")
    script.accepted = "mine"
    ask("Hi")
    script.accepted = "another"
    assert "gcloud auth login" in ask("Hi", status=1).stderr


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        (("  ",), None, "the prompt is empty"),
        ((), "", "the prompt is empty"),
        ((), b"\xff\xfe", "the prompt is not UTF-8 text"),
        (("a\udcff",), None, "the prompt is not UTF-8 text"),
        (("Hi", "--temperature", "inf"), None, "temperature must be a finite number"),
    ],
)
def test_wrong_usage_is_one_line_and_asks_nothing(
    script: Script, words: tuple[str, ...], given: str | bytes | None, message: str
) -> None:
    done = ask(*words, given=given, status=2)
    assert done.stderr == f"{message}\n"
    assert script.bodies == []


def test_a_missing_engine_is_one_line_with_its_remedy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".engine/bin/pulumi").unlink()
    monkeypatch.setenv("PATH", str(project))
    done = ask("Hi", status=1)
    assert done.stderr == "there is no Pulumi engine: run `make setup` to install it into .engine/\n"


def test_a_rehearsal_that_cannot_be_made_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "Pulumi.dev.yaml").write_text("config: [\n")
    monkeypatch.setenv("LLMSTACK_REHEARSAL", str(Rehearsal(project, "dev").folder))
    assert ask("Hi", status=1).stderr.count("\n") == 1


@pytest.mark.usefixtures("project")
def test_a_closed_standard_input_is_no_prompt(script: Script) -> None:
    command = ["sh", "-c", f"exec {sys.executable} -m llmstack.main ask dev assistant <&-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "give it as an argument" in done.stderr
    assert script.bodies == []


@pytest.mark.usefixtures("project")
def test_a_refusal_and_a_broken_answer_are_one_line_on_standard_error(script: Script) -> None:
    script.refusals.append(refusal(400, "the prompt has 600 tokens"))
    assert ask("Hi", status=1).stderr == "400: the prompt has 600 tokens\n"
    script.cut = "connection"
    done = ask("Hi", status=1)
    assert done.stdout == "Hello\n"
    assert done.stderr.startswith("assistant of stack dev does not answer: ")
    assert done.stderr.count("\n") == 1


def test_a_deployment_that_is_not_there_is_named_with_those_that_are(project: Path) -> None:
    assert project
    done = CliRunner().invoke(app, ["ask", "dev", "other", "Hi"])
    assert done.exit_code == 1
    assert "has no deployment 'other' that is up (up: assistant): run pulumi up" in done.stderr


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            # Whoever runs the tests in the background ignores Ctrl-C, and a program inherits that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(sys.executable, [sys.executable, "-m", "llmstack.main", "ask", *words])
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def until(self, pattern: str, seconds: float = 60) -> str:
        """Reads until a pattern is there; returns what came up to its end, and forgets it."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.seen)) is None:
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.seen!r}"
            if select.select([self._screen], [], [], 1)[0]:
                self.seen += os.read(self._screen, 4096).decode().replace("\r\n", "\n")
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def interrupted(self) -> bool:
        """Presses Ctrl-C; whether a new prompt came soon."""
        self.type("\x03")
        try:
            self.until(r"\n> ", 3)
        except AssertionError:
            return False
        return True

    def status(self) -> int:
        """Waits for the end."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        os.close(self._screen)


@contextmanager
def conversation(script: Script, how: str) -> Iterator[Terminal]:
    terminal = Terminal("dev", "assistant")
    try:
        first = terminal.until(r"> ")
        assert f"{MODEL} (dev assistant): {how}" in first
        script.bodies.clear()
        yield terminal
        terminal.type("\x04")
        assert terminal.status() == 0
    finally:
        terminal.close()


@pytest.mark.usefixtures("project")
def test_a_conversation_remembers_what_was_said_until_it_is_reset(script: Script) -> None:
    script.template = True
    with conversation(script, "a conversation") as terminal:
        terminal.type("one\n")
        assert "Hello, world\n" in terminal.until(r"first after .*\n> ")
        terminal.type("/set temperature 0.7\n")
        terminal.until(r"temperature: 0\.7.*\n> ")
        terminal.type("two \\\nthree\n")
        terminal.until(r"first after .*\n> ")
        terminal.type("/reset\n")
        terminal.until(r"forgotten\n> ")
        terminal.type("four\n")
        terminal.until(r"first after .*\n> ")
    first, second, third = script.bodies
    assert [(each["role"], each["content"]) for each in second["messages"]] == [
        ("user", "one"),
        ("assistant", "Hello, world"),
        ("user", "two \nthree"),
    ]
    assert (first["temperature"], second["temperature"], third["temperature"]) == (0, 0.7, 0.7)
    assert [each["content"] for each in third["messages"]] == ["four"]


@pytest.mark.usefixtures("project")
def test_ctrl_c_stops_the_answer_and_not_the_conversation(script: Script) -> None:
    with conversation(script, "no chat template") as terminal:
        script.pieces, script.gap = ("endless ",) * 2000, 0.02
        terminal.type("one\n")
        terminal.until("endless endless ")
        terminal.type("\x03")
        terminal.until(r"stopped\n> ")
        assert script.left.wait(30), "the server was not told"
        script.pieces, script.gap = ("short",), 0.0
        terminal.type("two")
        terminal.until("two")
        # Python waits for the next key where a signal comes while it shows the last one: Ctrl-C once more.
        assert any(terminal.interrupted() for _ in range(10))
        terminal.type("three\n")
        terminal.until(r"short\n")
        terminal.until(r"> ")
    # Without a template each prompt stands by itself.
    assert [each["messages"] for each in script.bodies] == [
        [{"role": "user", "content": "one"}],
        [{"role": "user", "content": "three"}],
    ]


@pytest.mark.usefixtures("project")
def test_what_goes_wrong_is_said_and_the_conversation_goes_on(script: Script) -> None:
    with conversation(script, "no chat template") as terminal:
        script.refusals.append(refusal(400, "the prompt has 600 tokens"))
        for typed, answered in {
            "one": "400: the prompt has 600 tokens",
            "/nonsense": "there is no command /nonsense",
            "/set nonsense 1": "there is no nonsense to set; there are max-new-tokens, temperature",
            "/set top-k many": "top-k is 'many': give a number",
            "/set temperature nan": "temperature is 'nan': give a number",
            "/help": "/reset",
            "two": "Hello, world",
        }.items():
            terminal.type(f"{typed}\n")
            terminal.until(re.escape(answered))
            terminal.until(r"\n> ")
    assert len(script.bodies) == 2


@pytest.mark.usefixtures("project")
def test_a_model_cannot_send_commands_to_the_terminal(script: Script) -> None:
    script.pieces = ("red \x1b[31m", "bell\x07\x9b2J\n", "end")
    terminal = Terminal("dev", "assistant", "Hi", "--no-stats")
    try:
        assert terminal.until("end").endswith("red [31mbell2J\nend")
        assert terminal.status() == 0
    finally:
        terminal.close()


@pytest.mark.usefixtures("project")
def test_prompts_are_kept_for_the_next_conversation_and_for_nobody_else(
    script: Script, tmp_path: Path
) -> None:
    with conversation(script, "no chat template") as terminal:
        terminal.type("remember me\n")
        terminal.until(r"world\n")
        terminal.until(r"> ")
    history = tmp_path / "state/llmstack/ask_history"
    assert "remember me" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0
    with conversation(script, "no chat template") as terminal:
        # The arrow up brings it back.
        terminal.type("\x1b[A\n")
        terminal.until(r"world\n")
        terminal.until(r"> ")
    assert script.bodies[0]["messages"][0]["content"] == "remember me"
