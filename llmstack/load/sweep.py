"""A load test: steps of growing load, one after the other."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from llmstack.client import Deployment
from llmstack.load.apis import LoadApi
from llmstack.load.arrivals import Length
from llmstack.load.driver import Driver
from llmstack.load.prompts import Prompts
from llmstack.load.request import Request, Sender
from llmstack.load.summary import Result, summarise

OTHER_FILES = 64
"""Open files of this process that are not connections, amply."""


@dataclass(frozen=True)
class Sweep:
    """What a load test sends; exactly one of `concurrency` and `rates` has steps.

    Args:
        concurrency: clients of each step of a closed loop.
        rates: requests per second of each step of an open loop.
        length: of each step.
        texts: the prompts to draw from; empty for the built-in ones.
        max_new_tokens: most tokens of an answer.
        stream: whether answers are streamed.
        timeout: seconds after which an answer is given up.
        seed: for prompts and times of arrival.
    """

    concurrency: tuple[int, ...]
    rates: tuple[float, ...]
    length: Length
    texts: tuple[str, ...]
    max_new_tokens: int
    stream: bool
    timeout: float
    seed: int

    @property
    def loads(self) -> tuple[float, ...]:
        """The load of each step."""
        return self.concurrency or self.rates

    @property
    def axis(self) -> str:
        """What the load is."""
        return "clients" if self.concurrency else "requests/s offered"

    def cost(self) -> str:
        """How many requests it sends."""
        length, steps = self.length, len(self.loads)
        each = f"{steps} step{'s' * (steps > 1)}, each with {length.warm_up:g} s of warm-up"
        if length.requests is not None:
            return f"{steps * length.requests} requests ({each})"
        if self.rates:
            seconds = length.warm_up + (length.seconds or 0.0)
            return f"about {sum(self.rates) * seconds:.0f} requests ({each})"
        return (
            f"as many requests as are answered in {steps} × {length.seconds:g} s ({each}), "
            f"up to {max(self.concurrency)} at once"
        )

    def prompts(self, step: int) -> Prompts:
        """The prompts of a step; each draws others, the same ones in every run."""
        return Prompts(self.texts, self.seed + step)

    def request(self, step: int, api: LoadApi) -> Request:
        """What the requests of a step ask for."""
        return Request(api, self.prompts(step), self.max_new_tokens, self.stream, self.timeout)


async def run_sweep(
    deployment: Deployment,
    api: LoadApi,
    sweep: Sweep,
    connections: int,
    report: Callable[[Result], None],
) -> bool:
    """Run every step; Ctrl-C ends the step under way and leaves out the rest.

    Args:
        deployment: what is tested.
        api: how it is asked.
        sweep: what is sent.
        connections: most connections at once; a request that is due beyond them waits, and that is measured.
        report: gets each step's result.

    Returns:
        Whether it went to its end.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=None)
    try:
        async with httpx.AsyncClient(
            base_url=deployment.url,
            auth=deployment.auth(),
            headers=deployment.headers(),
            # A proxy of the environment cannot reach a tunnel on this machine's own loopback.
            trust_env=deployment.trouble is None,
            # The sender has one for the whole of a request.
            timeout=None,  # noqa: S113
            limits=limits,
        ) as client:
            for step, load in enumerate(sweep.loads):
                sender = Sender(client, sweep.request(step, api), deployment.trouble)
                driver = Driver(sender, sweep.length, stop)
                if sweep.concurrency:
                    measured = await driver.closed(sweep.concurrency[step])
                else:
                    measured = await driver.open(load, sweep.seed + step)
                report(summarise(load, measured))
                if stop.is_set():
                    return False
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return True


def most_connections() -> int:
    """Connections that this process may open, once it has raised its limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1_000_000 if hard == resource.RLIM_INFINITY else hard - OTHER_FILES
