"""Cloud Storage's JSON API: buckets and objects, without uploads."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from rehearsal.cloud.calls import Answer, Call, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.world import ObjectMeta, Record
from rehearsal.world import project_name as project_resource

KIND = "storage.bucket"
_CHUNK = 1 << 20
_PAGE = 1000
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_NOT_MODELLED = ("matchGlob", "versions", "softDeleted", "filter")


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show_bucket(record: Record) -> dict[str, Any]:
        name = record.name.rpartition("/")[2]
        return api.trim("Bucket", {**record.body, "kind": "storage#bucket", "id": name, "name": name})

    def bucket_get(call: Call) -> dict[str, Any]:
        name = bucket_name(call.params["bucket"])
        call.require("storage.buckets.get", name)
        record = call.world.get(name)
        if record is None:
            raise no_bucket()
        return show_bucket(record)

    def bucket_list(call: Call) -> dict[str, Any]:
        project = project_resource(call.params["project"])
        call.require("storage.buckets.list", project)
        found = call.world.get(project)
        number = None if found is None else found.body.get("number")
        records = [r for r in call.world.list(KIND) if r.body.get("projectNumber", number) == number]
        prefix = call.params.get("prefix", "")
        shown = [show_bucket(r) for r in records if r.name.rpartition("/")[2].startswith(prefix)]
        return {"kind": "storage#buckets", "items": shown}

    return {
        "storage.buckets.get": bucket_get,
        "storage.buckets.list": bucket_list,
        "storage.objects.get": object_get,
        "storage.objects.list": object_list,
        "storage.objects.delete": object_delete,
    }


def bucket_name(bucket: str) -> str:
    """A bucket's full resource name."""
    return f"storage.googleapis.com/buckets/{bucket}"


def object_name(bucket: str, name: str) -> str:
    """An object's full resource name."""
    return f"{bucket_name(bucket)}/objects/{name}"


def no_bucket() -> ApiError:
    """What Cloud Storage answers for a bucket that does not exist."""
    return ApiError("NOT_FOUND", "The specified bucket does not exist.")


def object_get(call: Call) -> Answer:
    """Metadata, or with `alt=media` the bytes or a range of them."""
    meta = _present(call, "storage.objects.get")
    if call.params.get("alt") == "media" or (call.media == "download" and "alt" not in call.params):
        return _download(call, meta)
    return show_object(meta, call.cloud.address)


def object_list(call: Call) -> dict[str, Any]:
    """One page of names and prefixes, in the order of their names."""
    bucket = call.params["bucket"]
    call.require("storage.objects.list", bucket_name(bucket))
    if call.world.get(bucket_name(bucket)) is None:
        raise no_bucket()
    refused = [name for name in _NOT_MODELLED if call.params.get(name)]
    if refused:
        raise ApiError(
            "UNIMPLEMENTED", f"objects.list: a rehearsed cloud does not know the parameter '{refused[0]}'"
        )
    listing = call.world.objects.listing(
        bucket, call.params.get("prefix", ""), call.params.get("delimiter", "")
    )
    entries: dict[str, ObjectMeta | None] = {item.name: item for item in listing.items}
    entries.update(dict.fromkeys(listing.prefixes))
    after = _page_start(call.params.get("pageToken"))
    low, high = call.params.get("startOffset", ""), call.params.get("endOffset")
    names = [n for n in sorted(entries) if n > after and n >= low and (high is None or n < high)]
    size = min(call.params.get("maxResults") or _PAGE, _PAGE)
    shown = {name: entries[name] for name in names[:size]}
    result: dict[str, Any] = {"kind": "storage#objects"}
    result["items"] = [show_object(meta, call.cloud.address) for meta in shown.values() if meta is not None]
    prefixes = [name for name, meta in shown.items() if meta is None]
    if prefixes:
        result["prefixes"] = prefixes
    if len(names) > size:
        result["nextPageToken"] = base64.urlsafe_b64encode(names[size - 1].encode()).decode()
    return result


def object_delete(call: Call) -> Response:
    """Remove an object."""
    meta = _present(call, "storage.objects.delete")
    call.world.objects.delete(
        meta.bucket, meta.name, if_generation_match=call.params.get("ifGenerationMatch")
    )
    return Response(status_code=204)


def show_object(meta: ObjectMeta, address: str) -> dict[str, Any]:
    """An object in the API's shape."""
    link = f"http://{address}/storage/v1/b/{meta.bucket}/o/{quote(meta.name, safe='')}"
    media = f"http://{address}/download/storage/v1/b/{meta.bucket}/o/{quote(meta.name, safe='')}"
    shown: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{meta.bucket}/{meta.name}/{meta.generation}",
        "selfLink": link,
        "mediaLink": f"{media}?generation={meta.generation}&alt=media",
        "name": meta.name,
        "bucket": meta.bucket,
        "generation": str(meta.generation),
        "metageneration": "1",
        "contentType": meta.content_type,
        "storageClass": "STANDARD",
        "size": str(meta.size),
        "crc32c": meta.crc32c,
        "md5Hash": meta.md5,
        "etag": f"{meta.generation:x}",
        "timeCreated": meta.created,
        "updated": meta.created,
    }
    return {**shown, "metadata": meta.metadata} if meta.metadata else shown


def object_headers(meta: ObjectMeta) -> dict[str, str]:
    """The headers that tell a client what it got or wrote."""
    return {
        "x-goog-hash": f"crc32c={meta.crc32c},md5={meta.md5}",
        "x-goog-generation": str(meta.generation),
        "x-goog-metageneration": "1",
        "x-goog-stored-content-length": str(meta.size),
        "etag": f"{meta.generation:x}",
    }


def _present(call: Call, permission: str) -> ObjectMeta:
    bucket, name = call.params["bucket"], call.params["object"]
    call.require(permission, object_name(bucket, name))
    meta = call.world.objects.stat(bucket, name)
    wanted = call.params.get("generation")
    if meta is None or wanted not in (None, meta.generation):
        if call.world.get(bucket_name(bucket)) is None:
            raise no_bucket()
        raise ApiError("NOT_FOUND", f"No such object: {bucket}/{name}")
    match, unlike = call.params.get("ifGenerationMatch"), call.params.get("ifGenerationNotMatch")
    if match not in (None, meta.generation) or unlike == meta.generation:
        message = "At least one of the pre-conditions you specified did not hold."
        raise ApiError("FAILED_PRECONDITION", message, code=412)
    return meta


def _download(call: Call, meta: ObjectMeta) -> Response:
    path = call.world.objects.path(meta.bucket, meta.name)
    span = _span(call.request.headers.get("range"), meta.size)
    start, stop = span or (0, meta.size)
    headers = {**object_headers(meta), "content-length": str(stop - start), "accept-ranges": "bytes"}
    if span is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{meta.size}"
    return StreamingResponse(
        _read(path, start, stop), 206 if span is not None else 200, headers, media_type=meta.content_type
    )


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a Range header; None for the whole object."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        raise ApiError("OUT_OF_RANGE", f"The requested range '{header}' cannot be satisfied.", code=416)
    return start, stop


def _read(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = stop - start
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _page_start(token: str | None) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode() if token else ""
    except ValueError:
        raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'pageToken': {token!r}") from None
