"""Requests that are wrong in every way that came to mind, drawn at random, as the bytes on the wire."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PATHS = ("/predict", "/generate", "/v1/completions", "/v1/chat/completions")
SOME = (
    *(None, True, False, 0, -1, 1.5, 10**30, -(10**30), 1e308, 2**63, "", " ", "a", "\u0000", "\ud83d\ude42"),
    *([], {}, [[]], [None], ["a"], {"a": 1}, [1, 2, 3], {"role": "user", "content": "a"}, "x" * 3000),
)
FIELDS = (
    *("prompt", "instances", "parameters", "model", "messages", "stream", "max_new_tokens", "max_tokens"),
    *("temperature", "top_p", "top_k", "seed", "stop", "n", "truncate", "timeout_seconds", "stream_options"),
    *("logprobs", "user", "do_sample", "max_completion_tokens", "extra"),
)
LITERALS = (
    b"NaN",
    b"-Infinity",
    b"1e999999",
    b"0x10",
    b"01",
    b"'a'",
    b"undefined",
    b"1" * 5000,
    b'"\\ud800"',
)
TYPES = (
    *("", "text/html", "application/json; charset=utf-16", "multipart/form-data", "application/json;;;"),
    *("application/x-www-form-urlencoded", "text/plain; charset=nonsense", "\x7f/\x7f", "json", "a" * 4000),
)
GARBAGE_HEADERS = (
    *(b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: abc"),
    *(
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
        b": empty",
        b"no colon",
    ),
    *(
        b"Expect: 100-continue",
        b"Host: \x00",
        b"X: " + b"y" * 70_000,
        b"X-Request-Id: \xff\xfe",
        b"\tX: fold",
    ),
    *(b"Upgrade: websocket\r\nConnection: Upgrade", b"Content-Encoding: gzip", b"Range: bytes=5-1"),
)


@dataclass(frozen=True, slots=True)
class Wrong:
    """The bytes of a request, and whether the server can know that no more of them come."""

    data: bytes
    is_whole: bool


def draw(chooser: random.Random) -> Wrong:
    """One request, nearly always malformed."""
    whole = (_wrong_values, _wrong_values, _wrong_values, _large, _broken_json, _deep, _bad_utf8, _bad_type)
    parts = (_bad_header, _cut_short, _bad_chunks, _bad_line, _noise)
    make: Callable[[random.Random], bytes] = chooser.choice(whole + parts)
    return Wrong(make(chooser), make in whole)


def _post(chooser: random.Random, body: bytes, kind: str = "application/json", more: bytes = b"") -> bytes:
    head = f"POST {chooser.choice(PATHS)} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n".encode("latin-1")
    return head + b"Connection: close\r\nContent-Length: %d\r\n" % len(body) + more + b"\r\n" + body


def _values(chooser: random.Random) -> dict[str, Any]:
    chosen = {name: chooser.choice(SOME) for name in chooser.sample(FIELDS, chooser.randint(0, 6))}
    if chooser.random() < 0.5:
        # Right in what is looked at first, so that the rest is reached.
        chosen = {"prompt": "Tell me", "model": "owner/tiny"} | chosen
    return chosen


def _wrong_values(chooser: random.Random) -> bytes:
    value = _values(chooser) if chooser.random() < 0.9 else chooser.choice(SOME)
    return _post(chooser, json.dumps(value).encode())


def _broken_json(chooser: random.Random) -> bytes:
    body = bytearray(json.dumps({"prompt": "Tell me"} | _values(chooser)).encode())
    place = chooser.randrange(len(body))
    if chooser.random() < 0.5:
        body[place : place + chooser.randint(1, 5)] = chooser.choice(LITERALS)
    else:
        del body[place:]
    return _post(chooser, bytes(body))


def _large(chooser: random.Random) -> bytes:
    return _post(chooser, b'{"prompt": "' + b"a" * chooser.choice([60_000, 120_000]) + b'"}')


def _deep(chooser: random.Random) -> bytes:
    opening, closing = chooser.choice([(b"[", b"]"), (b'{"prompt":', b"}")])
    depth = chooser.choice([10, 200, 5000])
    return _post(chooser, opening * depth + b"1" + closing * chooser.choice([depth, 0]))


def _bad_utf8(chooser: random.Random) -> bytes:
    body = b'{"prompt": "' + chooser.randbytes(chooser.randint(1, 60)) + b'"}'
    return _post(chooser, body, chooser.choice(["application/json", "text/plain"]))


def _bad_type(chooser: random.Random) -> bytes:
    return _post(chooser, b'{"prompt": "Tell me"}', chooser.choice(TYPES))


def _bad_header(chooser: random.Random) -> bytes:
    return _post(chooser, b'{"prompt": "Tell me"}', more=chooser.choice(GARBAGE_HEADERS) + b"\r\n")


def _cut_short(chooser: random.Random) -> bytes:
    whole = _wrong_values(chooser)
    return whole[: chooser.randrange(1, len(whole))]


def _bad_chunks(chooser: random.Random) -> bytes:
    head = f"POST {chooser.choice(PATHS)} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()
    chunks = chooser.choice(
        [b"zz\r\nabc\r\n", b"5\r\nab", b"-1\r\n\r\n", b"ffffffffffffffffff\r\na", b"0\r\n"]
    )
    return head + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks


def _bad_line(chooser: random.Random) -> bytes:
    method = chooser.choice(["GET", "POST", "PUT", "DELETE", "BREW", "", "OPTIONS", "HEAD", "PRI"])
    path = chooser.choice(
        ["/", "/v1/models/%00", "/../../etc/passwd", "*", "", "/%ff", "/a" * 3000, "//", "/é"]
    )
    version = chooser.choice(["HTTP/1.1", "HTTP/1.0", "HTTP/9.9", "", "SIP/2.0"])
    return f"{method} {path} {version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode()


def _noise(chooser: random.Random) -> bytes:
    return chooser.randbytes(chooser.randint(1, 400)) + b"\r\n\r\n"


async def exchange(port: int, request: Wrong, patience: float = 60) -> int | None:
    """Sends a request and reads to the end; returns the status, None where the server just closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.data)
        await writer.drain()
        if not request.is_whole:
            writer.write_eof()
        async with asyncio.timeout(patience):
            answer = await reader.read()
    except ConnectionError:
        return None
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None
