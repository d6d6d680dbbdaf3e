"""The stub of the weights job: `python -m rehearsal.runner.stub_stage stage --repo … --target gs://…`.

It takes the arguments of the real job and writes one small file and a manifest that lists it, by the Cloud
Storage JSON API, as the service account that the metadata server says it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from datetime import UTC, datetime
from urllib.parse import quote

import httpx

from rehearsal.runner.stub import COMMANDS

FILE = "stubbed.txt"
CONTENT = b"Containers are stubbed in this rehearsal: this file stands where a model's weights would lie.\n"
TOOL = "rehearsal-stub/1"
"""What the manifest names as its writer: whoever reads it sees that there are no weights."""
PERMISSION, UNAVAILABLE = 14, 20
"""Exit codes of the real job: `permission` and `unavailable` in `images/weights/contract.json`."""
_TIMEOUT_SECONDS = 30.0
_TOKEN = "computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - an address


def main(arguments: list[str]) -> int:
    """Write the stub; returns the exit code of the job."""
    parser = argparse.ArgumentParser(prog="stub_stage", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--source", help="gs://BUCKET/PREFIX; it is looked at, not read")
    for name in ("repo", "revision", "target", "format", "dtype"):
        parser.add_argument(f"--{name}", required=True)
    wanted = parser.parse_args(arguments)
    bucket, _, prefix = wanted.target.removeprefix("gs://").partition("/")
    manifest = {
        "version": 1,
        "repository": wanted.repo,
        "revision": wanted.revision,
        "format": wanted.format,
        "dtype": wanted.dtype,
        "tool": TOOL,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "files": [{"name": FILE, "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}],
    }
    # The manifest comes last, as the real job writes it.
    objects = {FILE: CONTENT, "manifest.json": json.dumps(manifest, indent=2).encode()}
    try:
        with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            token = _identity(client)
            if wanted.source:
                _look(client, token, wanted.source)
            for name, content in objects.items():
                _upload(client, token, bucket, f"{prefix.rstrip('/')}/{name}", content)
    except httpx.HTTPStatusError as error:
        sys.stderr.write(f"{error.request.url}: {error.response.status_code}: {_reason(error.response)}\n")
        return PERMISSION if error.response.status_code in (401, 403) else UNAVAILABLE
    except httpx.HTTPError as error:
        sys.stderr.write(f"{wanted.target}: {error or type(error).__name__}\n")
        return UNAVAILABLE
    return 0


def _identity(client: httpx.Client) -> str:
    """An access token of the job's own service account."""
    address = f"http://{os.environ['GCE_METADATA_HOST']}/{_TOKEN}"
    answer = client.get(address, headers={"Metadata-Flavor": "Google"}).raise_for_status()
    return str(answer.json()["access_token"])


def _look(client: httpx.Client, token: str, source: str) -> None:
    """List what lies at a source: who may not is refused, as the real job would be."""
    bucket, _, prefix = source.removeprefix("gs://").partition("/")
    client.get(
        f"{os.environ['STORAGE_EMULATOR_HOST']}/storage/v1/b/{quote(bucket, safe='')}/o",
        params={"prefix": prefix, "maxResults": 1},
        headers={"Authorization": f"Bearer {token}"},
    ).raise_for_status()


def _upload(client: httpx.Client, token: str, bucket: str, name: str, content: bytes) -> None:
    client.post(
        f"{os.environ['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{quote(bucket, safe='')}/o",
        params={"uploadType": "media", "name": name},
        content=content,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"},
    ).raise_for_status()


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
