"""`llmstack load-test`: how fast a deployment answers under growing load."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import typer

from llmstack.client import AskError, Deployment
from llmstack.client_patience import patiently
from llmstack.client_targets import find_target
from llmstack.load.apis import LoadApi, first_answer, load_api
from llmstack.load.arrivals import Length
from llmstack.load.prompts import PromptsError, check_prompt, read_prompts
from llmstack.load.report import columns, document, row
from llmstack.load.summary import Result, warnings
from llmstack.load.sweep import Sweep, most_connections, run_sweep
from llmstack.output import INTERRUPTED, USAGE, fail, print_table
from llmstack.project import find_root, stack_file

CONCURRENCY = "1,2,4,8,16,32"
STEP_SECONDS = 20.0
Number = TypeVar("Number", int, float)


def load_test(
    stack: Annotated[str, typer.Argument(help="Stack, for instance local.")],
    deployment: Annotated[str, typer.Argument(help="Deployment of that stack.")],
    concurrency: Annotated[
        str | None,
        typer.Option(
            help=f"Closed loop: clients of each step, each waiting for its answer; default: {CONCURRENCY}."
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            help="Open loop instead: requests per second of each step, whether answered or not, for instance "
            "1,2,5."
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help=f"Length of a step; default: {STEP_SECONDS:g}.")
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Requests of a step, in place of --seconds.")
    ] = None,
    warm_up: Annotated[
        float, typer.Option(min=0, help="Seconds before each step whose requests are not counted.")
    ] = 2.0,
    prompt: Annotated[str | None, typer.Option(help="The one prompt of every request.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="File with prompts, one in each line, drawn at random.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 64,
    stream: Annotated[
        bool, typer.Option("--stream", help="Stream, and measure first token and times between tokens.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which an answer is given up.")
    ] = 120.0,
    seed: Annotated[int, typer.Option(help="For the draw of prompts and times of arrival.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="PNG file for the plot; default: load-test-STACK-DEPLOYMENT.png in this folder."),
    ] = None,
    no_plot: Annotated[bool, typer.Option("--no-plot", help="No plot.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a test that costs money.")] = False,
) -> None:
    """Measure latency and throughput of a deployment over growing load: a table and a plot.

    Ctrl-C ends it early and shows what was measured so far.

    Exit codes: 0 measured; 1 nothing was answered, or not to be reached; 2 wrong usage; 130 interrupted.
    """
    root = find_root()
    stack_file(root, stack)
    clients, rates = _loads(concurrency, rate)
    sweep = Sweep(
        concurrency=clients,
        rates=rates,
        length=_length(seconds, requests, warm_up),
        texts=_texts(prompt, prompts),
        max_new_tokens=max_new_tokens,
        stream=stream,
        timeout=_finite("--timeout", timeout),
        seed=seed,
    )
    connections = most_connections()
    if max(sweep.concurrency, default=0) > connections:
        fail(f"--concurrency: this process may open {connections} connections: raise ulimit -n", USAGE)
    picture = _picture(plot, None if no_plot else f"load-test-{stack}-{deployment}.png")
    _check_folder("--json", json_file)
    try:
        with find_target(root, stack, deployment).open() as target:
            _agree(target, sweep, f"{deployment} of stack {stack}", yes=yes)
            api = patiently(lambda: load_api(target), _notice)
            if sweep.stream and not api.streams:
                fail("--stream: the server of this deployment sends whole answers only", USAGE)
            model = _first_answer(target, api, sweep)
            results: list[Result] = []
            report = _reporter(sweep, results)
            complete = asyncio.run(run_sweep(target, api, sweep, connections, report))
    except AskError as error:
        fail(str(error))
    except httpx.HTTPError as error:
        fail(f"{deployment} of stack {stack} does not answer: {error or type(error).__name__}")
    except KeyboardInterrupt:
        fail("stopped", INTERRUPTED)
    name = {"stack": stack, "deployment": deployment, "url": target.place or target.url, "model": model}
    title = f"{model} ({stack} {deployment}), at most {max_new_tokens} new tokens"
    print_table(f"{title}; times in seconds", columns(sweep), [row(sweep, result) for result in results])
    _write(json_file, picture, title, document(name, sweep, results, complete=complete), sweep, results)
    if not complete:
        fail("stopped before its end", INTERRUPTED)
    if not any(result.answered for result in results):
        fail("no request was answered")


def _loads(concurrency: str | None, rate: str | None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    if concurrency is not None and rate is not None:
        fail("give --concurrency (closed loop) or --rate (open loop), not both", USAGE)
    if rate is not None:
        return (), _numbers("--rate", rate, float)
    return _numbers("--concurrency", concurrency or CONCURRENCY, int), ()


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        numbers = tuple(kind(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    # Also refuses "nan", which is not less than anything.
    if not numbers or not all(0 < number < 1_000_000 for number in numbers):
        fail(f"{option} is {text!r}: give positive numbers with commas between them", USAGE)
    return numbers


def _length(seconds: float | None, requests: int | None, warm_up: float) -> Length:
    if seconds is not None and requests is not None:
        fail("give --seconds or --requests, not both", USAGE)
    warm_up = _finite("--warm-up", warm_up)
    if requests is not None:
        return Length(warm_up, requests=requests)
    return Length(warm_up, seconds=_finite("--seconds", seconds or STEP_SECONDS))


def _finite(option: str, value: float) -> float:
    if not math.isfinite(value):
        fail(f"{option} is {value}: give a number of seconds", USAGE)
    return value


def _texts(prompt: str | None, prompts: Path | None) -> tuple[str, ...]:
    if prompt is not None and prompts is not None:
        fail("give --prompt or --prompts, not both", USAGE)
    try:
        if prompt is not None:
            return check_prompt(prompt)
        return () if prompts is None else read_prompts(prompts)
    except PromptsError as error:
        fail(str(error), USAGE)


def _picture(given: Path | None, default: str | None) -> Path | None:
    """Where the plot goes; None where none is wanted."""
    if given is not None and default is None:
        fail("give --plot or --no-plot, not both", USAGE)
    if given is not None and given.suffix != ".png":
        fail(f"--plot is {given}: its name must end in .png", USAGE)
    _check_folder("--plot", given)
    return given or (Path(default) if default else None)


def _check_folder(option: str, file: Path | None) -> None:
    # Said before the test and not after it.
    if file is not None and not file.absolute().parent.is_dir():
        fail(f"{option} is {file}: there is no folder {file.parent}", USAGE)


def _agree(target: Deployment, sweep: Sweep, name: str, *, yes: bool) -> None:
    """Make sure that a test which costs money is wanted."""
    cost = f"{sweep.cost()}, each answered with at most {sweep.max_new_tokens} new tokens"
    typer.echo(f"{name} at {target.place or target.url}: {cost}", err=True)
    if target.rehearsed or yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        fail(f"{name} is real and its answers cost money: say --yes to send them", USAGE)
    if not typer.confirm("This deployment is real and its answers cost money. Go on?", err=True):
        fail("nothing was sent", USAGE)


def _first_answer(target: Deployment, api: LoadApi, sweep: Sweep) -> str:
    """The model that answers; one that is started only now, or refuses every prompt, is found out here."""
    prompt = sweep.prompts(0).next()
    return patiently(lambda: first_answer(target, api, prompt, sweep.max_new_tokens), _notice)


def _reporter(sweep: Sweep, results: list[Result]) -> Callable[[Result], None]:
    def report(result: Result) -> None:
        results.append(result)
        what = f"{sweep.axis} {result.load:g}"
        median = "" if result.latency is None else f", p50 {result.latency.p50:.3f} s"
        _notice(f"{what}: {result.answered} answered, {result.requests_per_second:.2f} requests/s{median}")
        for line in warnings(result):
            _notice(f"  {line}")

    return report


def _write(
    json_file: Path | None,
    picture: Path | None,
    title: str,
    figures: dict[str, Any],
    sweep: Sweep,
    results: list[Result],
) -> None:
    try:
        if json_file is not None:
            json_file.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            _notice(f"figures: {json_file}")
        if picture is not None and any(result.answered for result in results):
            # Takes most of a second to import, and only this needs it.
            from llmstack.load.plot import save_plot

            save_plot(picture, title, sweep.axis, results)
            _notice(f"plot: {picture}")
    except OSError as error:
        fail(f"{error.filename} cannot be written: {error.strerror}")


def _notice(line: str) -> None:
    typer.echo(line, err=True)
