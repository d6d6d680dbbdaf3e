"""Reading a request: its type, its size, its text, its values. Everything that is wrong is an `ApiError`."""

from __future__ import annotations

import asyncio
from email.message import Message
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from serve.errors import CLIENT_LEFT, ApiError

JSON = "application/json"
TEXT = "text/plain"
SEND_SECONDS = 60
"""Longest that a client may take to send a body, so that slow ones do not hold connections for ever."""
Model = TypeVar("Model", bound=BaseModel)


def media_type(request: Request, allowed: tuple[str, ...]) -> str:
    """The request's media type.

    Raises:
        ApiError: 415, it is not one of `allowed`, its charset is not UTF-8, or the body is compressed.
    """
    header = Message()
    header["content-type"] = request.headers.get("content-type", "application/octet-stream")
    kind = header.get_content_type()
    if kind not in allowed:
        wanted = " or ".join(allowed)
        raise ApiError(415, "unsupported_media_type", f"send the header Content-Type: {wanted}")
    if header.get_content_charset("utf-8") not in ("utf-8", "utf8", "us-ascii"):
        raise ApiError(415, "unsupported_media_type", "send the text as UTF-8")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError(415, "unsupported_media_type", "send the body uncompressed")
    return kind


async def read_body(request: Request, limit: int) -> bytes:
    """The request's body.

    Args:
        request: the request.
        limit: most bytes to accept; reading stops there, whatever Content-Length says.

    Raises:
        ApiError: 408, the client sends too slowly; 413, the body is larger; 499, the client left.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(SEND_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise ApiError(413, "body_too_large", f"the body is larger than {limit} bytes")
    except TimeoutError:
        message = f"the body was not complete within {SEND_SECONDS} seconds"
        raise ApiError(408, "body_too_slow", message) from None
    except ClientDisconnect:
        raise ApiError(CLIENT_LEFT, "client_left", "the client left before it had sent the request") from None
    return bytes(body)


def parse_text(body: bytes) -> str:
    """The body as UTF-8 text.

    Raises:
        ApiError: 400, it is not UTF-8.
    """
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ApiError(400, "invalid_utf8", f"the body is not UTF-8: byte {error.start} is invalid") from None


def parse_json(body: bytes, model: type[Model]) -> Model:
    """The body as JSON of the given form.

    Raises:
        ApiError: 400, it is not UTF-8 or not JSON; 422, the values are wrong: the message names all of them.
    """
    text = parse_text(body)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error) from None


def has_field(body: bytes, name: str) -> bool:
    """Whether the body is a JSON object with a field of this name; what is not JSON is found out later."""
    try:
        value = from_json(body)
    except ValueError:
        return False
    return isinstance(value, dict) and name in value


def invalid(error: ValidationError) -> ApiError:
    """What to tell a client whose values are wrong; without the values, since one is the prompt."""
    found = error.errors(include_input=False, include_url=False)
    if found[0]["type"] == "json_invalid":
        return ApiError(400, "invalid_json", f"the body is not JSON: {found[0]['ctx']['error']}")
    lines = []
    fields = {str(item["loc"][0]) for item in found if item["loc"]}
    for item in found:
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {message[0].lower()}{message[1:]}" if where else message)
    param = fields.pop() if len(fields) == 1 else None
    return ApiError(422, "invalid_request", "; ".join(lines), param=param)
