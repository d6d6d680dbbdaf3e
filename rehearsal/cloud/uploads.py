"""Cloud Storage's three ways to upload: media, multipart and resumable.

Bytes go to a file as they arrive and are moved into the bucket at the end; memory use does not depend on
an object's size.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from email.message import Message
from pathlib import Path
from typing import Any

import google_crc32c
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from rehearsal.cloud import schema
from rehearsal.cloud.calls import Call
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.storage import bucket_name, no_bucket, object_headers, object_name, show_object
from rehearsal.cloud.upload_sessions import CHUNK_MULTIPLE, Sessions, Target, content_range
from rehearsal.world import World

_CHUNK = 1 << 20
_HEAD_LIMIT = 1 << 20
"""Longest JSON part of a multipart upload, in bytes."""
_CANCELLED = 499
"""What Cloud Storage answers to the DELETE of an upload session."""


async def insert(call: Call, schemas: Any, sessions: Sessions) -> Response:
    """`objects.insert`: the object at once, or the address of an upload session.

    Args:
        call: the request.
        schemas: `schemas` of the storage discovery document.
        sessions: where resumable uploads wait.
    """
    kind = call.params.get("uploadType")
    if kind == "resumable":
        return await _begin(call, schemas, sessions)
    if kind not in ("media", "multipart"):
        raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'uploadType': {kind!r}")
    upload = sessions.scratch()
    part = sessions.part(upload)
    try:
        await _receive(call.request, part, 0)
        metadata: dict[str, Any] = {}
        content_type = call.request.headers.get("content-type", "application/octet-stream")
        if kind == "multipart":
            raw, content_type = await asyncio.to_thread(_split, part, content_type)
            metadata = _metadata(schemas, raw)
        target = await asyncio.to_thread(_target, call, metadata, content_type)
        return await asyncio.to_thread(_finish, call.world, call.cloud.address, target, part)
    finally:
        sessions.end(upload)


async def resume(request: Request, world: World, address: str, sessions: Sessions) -> Response:
    """A request to an upload session: a chunk (PUT), the question how far it got (PUT), its end (DELETE).

    The session's address is the credential, as at Google: the request needs no token.
    """
    upload = request.query_params.get("upload_id", "")
    target = sessions.target(upload)
    if request.method == "DELETE":
        sessions.end(upload)
        return Response(status_code=_CANCELLED)
    part = sessions.part(upload)
    sent = content_range(request.headers.get("content-range"), part.stat().st_size)
    if sent.start is not None:
        try:
            await _receive(request, part, sent.start)
        except ClientDisconnect:
            return Response(status_code=_CANCELLED)
    size = part.stat().st_size
    total = size if request.headers.get("content-range") is None else sent.total
    if total is None or size < total:
        return _incomplete(part, size)
    if size > total:
        raise ApiError("INVALID_ARGUMENT", f"Invalid request. {size} bytes were sent of {total} announced.")
    response = await asyncio.to_thread(_finish, world, address, target, part)
    sessions.end(upload)
    return response


def _incomplete(part: Path, size: int) -> Response:
    """308 with what has arrived, in whole multiples, as Cloud Storage keeps it."""
    kept = size - size % CHUNK_MULTIPLE
    if kept != size:
        with part.open("r+b") as file:
            file.truncate(kept)
    return Response(status_code=308, headers={"range": f"bytes=0-{kept - 1}"} if kept else None)


async def _begin(call: Call, schemas: Any, sessions: Sessions) -> Response:
    metadata = _metadata(schemas, await call.request.body())
    content_type = call.request.headers.get("x-upload-content-type", "application/octet-stream")
    target = await asyncio.to_thread(_target, call, metadata, content_type)
    upload = sessions.begin(target)
    path = f"/upload/storage/v1/b/{target.bucket}/o?uploadType=resumable&upload_id={upload}"
    return Response(
        headers={"location": f"http://{call.cloud.address}{path}", "x-guploader-uploadid": upload}
    )


def _metadata(schemas: Any, raw: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(raw) if raw.strip() else {}
    except ValueError as error:
        raise ApiError(
            "INVALID_ARGUMENT", f"Parse Error: the object's metadata is not JSON: {error}"
        ) from None
    # Unlike other schemas' output fields, an object's checksums are taken from the writer and checked.
    cleaned: dict[str, Any] = schema.clean_body(schemas, "Object", parsed)
    return cleaned


def _target(call: Call, metadata: dict[str, Any], content_type: str) -> Target:
    """What the request wants to write, once its caller may.

    Raises:
        ApiError: no name, no such bucket, no permission, a generation that already does not match.
    """
    bucket, name = call.params["bucket"], call.params.get("name") or metadata.get("name")
    if not name:
        raise ApiError("INVALID_ARGUMENT", "Required parameter: name")
    call.require("storage.objects.create", object_name(bucket, name))
    if call.world.get(bucket_name(bucket)) is None:
        raise no_bucket()
    present = call.world.objects.stat(bucket, name)
    if present is not None:
        call.require("storage.objects.delete", object_name(bucket, name))
    match = call.params.get("ifGenerationMatch")
    if match is not None and match != (present.generation if present else 0):
        message = "At least one of the pre-conditions you specified did not hold."
        raise ApiError("FAILED_PRECONDITION", message, code=412)
    hashes = _announced(call.request.headers.get("x-goog-hash", ""))
    return Target(
        bucket=bucket,
        name=name,
        content_type=metadata.get("contentType") or content_type,
        metadata=metadata.get("metadata") or {},
        if_generation_match=match,
        crc32c=metadata.get("crc32c") or hashes.get("crc32c"),
        md5=metadata.get("md5Hash") or hashes.get("md5"),
    )


def _announced(header: str) -> dict[str, str]:
    pairs = [part.strip().partition("=") for part in header.split(",") if "=" in part]
    return {name: value for name, _, value in pairs}


async def _receive(request: Request, part: Path, start: int) -> None:
    """Write a request's body into a file from `start` on; what was behind it is gone."""
    with part.open("r+b") as file:
        file.seek(start)
        file.truncate()
        async for piece in request.stream():
            file.write(piece)


def _split(part: Path, content_type: str) -> tuple[bytes, str]:
    """Leave only the media of a multipart/related body in the file; returns its JSON part and media type.

    Raises:
        ApiError: the body does not have the two parts that RFC 2387 and Cloud Storage ask for.
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    wrong = ApiError("INVALID_ARGUMENT", "Malformed multipart body: expected a JSON part and a media part.")
    if not isinstance(boundary, str):
        raise wrong
    # Google's own Python client ends lines with a bare line feed here, others as RFC 2046 says.
    mark = rb"\r?\n--" + re.escape(boundary.encode())
    with part.open("rb") as file:
        head = file.read(_HEAD_LIMIT)
        tail_at = max(0, part.stat().st_size - len(mark) - 64)
        file.seek(tail_at)
        ends = list(re.finditer(mark + b"--", file.read()))
    parts = re.match(
        rb"(?:\r?\n)?--" + re.escape(boundary.encode()) + rb"\s*?\n.*?\r?\n\r?\n(.*?)"
        + mark + rb"\s*?\n(.*?)\r?\n\r?\n", head, re.DOTALL
    )  # fmt: skip
    if parts is None or not ends or tail_at + ends[-1].start() < parts.end():
        raise wrong
    metadata, media_header = parts.groups()
    begin, end = parts.end(), tail_at + ends[-1].start()
    _keep(part, begin, end)
    described = Message()
    for line in media_header.decode(errors="replace").splitlines():
        if ":" in line:
            described[line.partition(":")[0].strip()] = line.partition(":")[2].strip()
    return metadata, described.get("content-type", "application/octet-stream")


def _keep(part: Path, begin: int, end: int) -> None:
    """Leave only the bytes from `begin` to `end` in a file."""
    with part.open("r+b") as file:
        done = 0
        while done < end - begin:
            file.seek(begin + done)
            chunk = file.read(min(_CHUNK, end - begin - done))
            file.seek(done)
            file.write(chunk)
            done += len(chunk)
        file.truncate(end - begin)


def _finish(world: World, address: str, target: Target, part: Path) -> Response:
    _check_sums(target, part)
    meta = world.objects.put(
        target.bucket,
        target.name,
        part,
        target.content_type,
        metadata=target.metadata,
        if_generation_match=target.if_generation_match,
        consume=True,
    )
    return JSONResponse(show_object(meta, address), headers=object_headers(meta))


def _check_sums(target: Target, part: Path) -> None:
    """Refuse bytes that are not those whose checksum the client announced."""
    if target.crc32c is None and target.md5 is None:
        return
    crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    md5 = hashlib.md5(usedforsecurity=False)
    with part.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc.update(chunk)
            md5.update(chunk)
    found = {"CRC32C": (target.crc32c, crc.digest()), "MD5": (target.md5, md5.digest())}
    for kind, (announced, digest) in found.items():
        calculated = base64.b64encode(digest).decode()
        if announced is not None and announced != calculated:
            message = (
                f'Provided {kind} hash "{announced}" doesn\'t match calculated {kind} hash "{calculated}".'
            )
            raise ApiError("INVALID_ARGUMENT", message)
