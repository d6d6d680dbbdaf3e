"""`llmstack ask`: a prompt to a deployment, the answer streamed."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer

from llmstack.client import AskError, Deployment, find_deployment
from llmstack.output import fail, print_json
from llmstack.project import find_root, stack_file


def ask(
    stack: Annotated[str, typer.Argument(help="Stack, for instance local.")],
    deployment: Annotated[str, typer.Argument(help="Deployment of that stack.")],
    prompt: Annotated[
        str | None, typer.Argument(help="Prompt; without one, a conversation line by line.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens to answer with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, not streamed.")] = False,
) -> None:
    """Ask a deployment; its answer appears as it is made."""
    root = find_root()
    stack_file(root, stack)
    try:
        target = find_deployment(root, stack, deployment)
        if prompt is not None:
            _answer(target, prompt, max_new_tokens, as_json)
        else:
            _converse(target, max_new_tokens, as_json)
    except AskError as error:
        fail(str(error))
    except httpx.HTTPError as error:
        fail(f"{deployment} of stack {stack} does not answer: {error or type(error).__name__}")


def _answer(target: Deployment, prompt: str, max_new_tokens: int | None, as_json: bool) -> None:
    if as_json:
        print_json(target.generate(prompt, max_new_tokens))
        return
    for token in target.stream(prompt, max_new_tokens):
        typer.echo(token, nl=False)
    typer.echo()


def _converse(target: Deployment, max_new_tokens: int | None, as_json: bool) -> None:
    """Read prompts until the end of input; a refused one is said and does not end the conversation."""
    while True:
        try:
            prompt = input("> ")
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            return
        if not prompt.strip():
            continue
        try:
            _answer(target, prompt, max_new_tokens, as_json)
        except AskError as error:
            typer.echo(str(error), err=True)
