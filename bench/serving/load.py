"""Clients: a closed loop, in which each asks again as soon as it is answered, and requests at given times.

Each client is a thread with a connection of its own. Only the standard library is used, because the clients
share the machine with what they measure.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Form:
    """How a contestant is asked and answers.

    Attributes:
        path: Of the request.
        content_type: Of the body.
        body: Makes the body from a prompt.
        text: Finds the answer's text in the response's body.
    """

    path: str
    content_type: str
    body: Callable[[str], bytes]
    text: Callable[[bytes], str]


@dataclass(frozen=True)
class Outcome:
    """One request.

    Attributes:
        prompt: Its place among the prompts.
        started: Seconds since the first request, or since the schedule's start.
        ended: The same, when the answer was complete.
        text: The answer; None if there was none.
        error: Why there was none.
        first: When the first piece of a stream came.
    """

    prompt: int
    started: float
    ended: float
    text: str | None
    error: str | None = None
    first: float | None = None


def closed_loop(
    address: str, form: Form, prompts: Sequence[str], clients: int, least: int, seconds: float
) -> list[Outcome]:
    """Ask until at least `least` requests were sent and `seconds` are over; all that were sent are awaited.

    Args:
        address: http://HOST:PORT
        form: How to ask.
        prompts: Taken in turn.
        clients: Requests under way at any time.
        least: Requests.
        seconds: From the first request on.
    """
    numbers, lock, found = itertools.count(), threading.Lock(), list[Outcome]()
    began = time.monotonic()

    def client() -> None:
        connection = _connect(address)
        while True:
            with lock:
                number = next(numbers)
            if number >= least and time.monotonic() - began >= seconds:
                break
            found.append(_ask(connection, form, prompts, number % len(prompts), began))
        connection.close()

    _run([threading.Thread(target=client) for _ in range(clients)])
    return found


def _ask(
    connection: http.client.HTTPConnection, form: Form, prompts: Sequence[str], place: int, began: float
) -> Outcome:
    started = time.monotonic() - began
    text, error = None, None
    try:
        connection.request("POST", form.path, form.body(prompts[place]), {"Content-Type": form.content_type})
        response = connection.getresponse()
        content = response.read()
        if response.status == http.client.OK:
            text = form.text(content)
        else:
            error = f"status {response.status}: {content[:200].decode(errors='replace')}"
    except (OSError, http.client.HTTPException, ValueError, LookupError) as raised:
        connection.close()
        error = f"{type(raised).__name__}: {raised}"
    return Outcome(place, started, time.monotonic() - began, text, error)


@dataclass(frozen=True)
class Arrival:
    """A request of a schedule.

    Attributes:
        prompt: Its text.
        new_tokens: Tokens of its answer.
        at: Seconds since the schedule's start.
    """

    prompt: str
    new_tokens: int
    at: float


def scheduled(address: str, path: str, arrivals: Sequence[Arrival]) -> list[Outcome]:
    """Send each request at its time and read its stream of server-sent events; in the order of `arrivals`."""
    found: list[Outcome | None] = [None] * len(arrivals)
    # Threads take time to start: the schedule begins when all wait.
    began = time.monotonic() + 0.5

    def client(number: int, arrival: Arrival) -> None:
        connection = _connect(address)
        time.sleep(max(0.0, began + arrival.at - time.monotonic()))
        found[number] = replace(_stream(connection, path, arrival, began), prompt=number, started=arrival.at)
        connection.close()

    _run([threading.Thread(target=client, args=each) for each in enumerate(arrivals)])
    return [outcome for outcome in found if outcome is not None]


def _stream(connection: http.client.HTTPConnection, path: str, arrival: Arrival, began: float) -> Outcome:
    body = {"prompt": arrival.prompt, "max_new_tokens": arrival.new_tokens, "stream": True}
    first, text, error = None, None, "the stream broke off"
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            error = f"status {response.status}: {response.read(200).decode(errors='replace')}"
        for line in response:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line.removeprefix(b"data: "))
            if "token" in event and first is None:
                first = time.monotonic() - began
            if "error" in event:
                error = str(event["error"])
            if event.get("done"):
                text, error = event["generated_text"], ""
    except (OSError, http.client.HTTPException, ValueError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    return Outcome(0, 0.0, time.monotonic() - began, text, error or None, first)


def first_token(address: str, path: str, prompt: str) -> Outcome:
    """Ask for two tokens as a stream, at once."""
    (outcome,) = scheduled(address, path, [Arrival(prompt, 2, -0.5)])
    return outcome


def _connect(address: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(address).netloc, timeout=TIMEOUT_SECONDS)


def _run(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
