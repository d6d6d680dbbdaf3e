"""`llmstack ask`: a prompt to a deployment, the answer streamed."""

from __future__ import annotations

import sys
import unicodedata
from typing import Annotated

import httpx
import typer

from llmstack.client import AskError
from llmstack.client_apis import open_chat
from llmstack.client_chat import Chat, Reply, Sampling, sendable, user
from llmstack.client_conversation import Conversation, keep_prompts, remember_prompts
from llmstack.client_targets import find_target
from llmstack.output import INTERRUPTED, USAGE, fail, print_json
from llmstack.project import find_root, stack_file

STDIN = "-"


def ask(
    stack: Annotated[str, typer.Argument(help="Stack, for instance local.")],
    deployment: Annotated[str, typer.Argument(help="Deployment of that stack.")],
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="Prompt, or - to read it from standard input. Without one, what is piped in is the prompt; "
            "in a terminal a conversation begins.",
            show_default=False,
        ),
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens to answer with.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 (the default) is greedy.")] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0, max=1, help="Draw from the likeliest tokens of this mass.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from this many likeliest tokens.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes a random answer repeatable.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="Text that ends the answer; may be given several times.")
    ] = None,
    stats: Annotated[
        bool | None,
        typer.Option(
            "--stats/--no-stats",
            help="Tokens and times on standard error; by default in a terminal.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, not streamed.")] = False,
) -> None:
    """Ask a deployment; its answer appears as it is made.

    A model with a chat template gets the prompt as a message of a conversation, any other gets it as it is.
    A deployment in a cluster is reached through the Kubernetes API: one of its ready pods answers.
    One at Vertex AI is asked at its endpoint, for a whole answer.

    Exit codes: 0 answered; 1 refused, or not to be reached; 2 wrong usage; 130 interrupted.
    """
    root = find_root()
    stack_file(root, stack)
    text = _prompt(prompt)
    if text is None and as_json:
        fail("--json needs a prompt: give one, or - to read it from standard input", USAGE)
    try:
        sampling = Sampling(max_new_tokens, temperature, top_p, top_k, seed, tuple(stop or ()))
    except ValueError as error:
        fail(str(error), USAGE)
    figures = sys.stderr.isatty() if stats is None else stats
    try:
        with find_target(root, stack, deployment).open() as called, open_chat(called, _notice) as chat:
            if text is None:
                _converse(chat, f"{stack} {deployment}", sampling, figures=figures)
            else:
                _answer(chat, text, sampling, figures=figures, as_json=as_json)
    except AskError as error:
        fail(str(error))
    except httpx.HTTPError as error:
        fail(f"{deployment} of stack {stack} does not answer: {error or type(error).__name__}")
    except KeyboardInterrupt:
        fail("stopped", INTERRUPTED)


def _prompt(given: str | None) -> str | None:
    """The prompt; None for a conversation."""
    if given in (None, STDIN) and sys.stdin is None:
        fail("there is no standard input to read a prompt from: give it as an argument", USAGE)
    if given is None and sys.stdin.isatty():
        return None
    try:
        if given is None or given == STDIN:
            given = sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        fail("the prompt is not UTF-8 text", USAGE)
    except KeyboardInterrupt:
        fail("stopped", INTERRUPTED)
    if not sendable(given):
        fail("the prompt is not UTF-8 text", USAGE)
    if not given.strip():
        fail("the prompt is empty", USAGE)
    return given


def _answer(chat: Chat, text: str, sampling: Sampling, *, figures: bool, as_json: bool) -> None:
    if as_json:
        reply = chat.reply([user(text)], sampling, lambda _: None)
        print_json(reply.as_json())
    else:
        reply = _shown(chat, text, sampling)
    if figures:
        _notice(reply.line())


def _shown(chat: Chat, text: str, sampling: Sampling) -> Reply:
    said = False

    def say(piece: str) -> None:
        nonlocal said
        said = True
        _say(piece)

    try:
        reply = chat.reply([user(text)], sampling, say)
    except BaseException:
        # What is said about it begins a line of its own.
        if said:
            typer.echo()
        raise
    typer.echo()
    return reply


def _converse(chat: Chat, name: str, sampling: Sampling, *, figures: bool) -> None:
    history = remember_prompts()
    try:
        Conversation(chat, sampling, _say, _notice, figures=figures).run(name, _read)
    finally:
        keep_prompts(history)
    typer.echo(err=True)


def _read() -> str:
    """The next line, with the prompt sign where it does not end up in a file."""
    if sys.stdout.isatty():
        return input("> ")
    typer.echo("> ", nl=False, err=True)
    return input()


def _say(piece: str) -> None:
    typer.echo(_harmless(piece) if sys.stdout.isatty() else piece, nl=False)


def _notice(line: str) -> None:
    typer.echo(line, err=True)


def _harmless(piece: str) -> str:
    """Text without control characters, with which a model could move a terminal's cursor."""
    return "".join(each for each in piece if each in "\n\t" or unicodedata.category(each) != "Cc")
