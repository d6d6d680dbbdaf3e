"""What the weights job's exit codes mean, and what a person does about each.

The codes themselves are data of the job's image: `images/weights/contract.json`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

_CONTRACT = Path(__file__).parents[2] / "images" / "weights" / "contract.json"

_REMEDIES: Mapping[str, str] = {
    "usage": "the image and the job's arguments do not fit each other; deploy both from the same checkout",
    "gated": "accept the model's licence on huggingface.co and set the Hub token (`llm:hubToken`)",
    "not_found": "check the model's repository and revision; a private one also needs the Hub token",
    "unsupported": "the repository has no weights in this format; choose another format, revision or model",
    "integrity": "the downloaded files did not match the Hub's checksums; run `pulumi up` again",
    "permission": "{account} needs roles/storage.objectUser on {bucket}",
    "storage_full": "the job ran out of storage; give it more memory or the bucket more quota",
    "secret": "{account} needs roles/secretmanager.secretAccessor on the Hub token's secret",
    "unavailable": "the Hub or Cloud Storage could not be reached; run `pulumi up` again",
    "interrupted": "the job was stopped; run `pulumi up` again",
}
_KILLED = "the container was killed, mostly for lack of memory; give the job more (137)"

_PASSING = frozenset({"ok", "integrity", "unavailable", "interrupted"})
"""Outcomes that the next attempt may not have; every other one repeats itself."""


def final_codes() -> tuple[int, ...]:
    """The exit codes after which another attempt of the job would end alike, in order."""
    return tuple(sorted(code for code, name in _names().items() if name not in _PASSING))


def explain(code: int | None, account: str = "the job's service account", bucket: str = "the bucket") -> str:
    """The meaning and remedy of a job's exit code, empty where there is nothing to add.

    Args:
        code: the exit code, None where it is not known.
        account: whom the job runs as, as a remedy names it.
        bucket: where the job writes, as a remedy names it.
    """
    if code is None:
        return ""
    if code == 137:  # 128 + SIGKILL, which the platform sends at the memory limit.
        return _KILLED
    name = _names().get(code)
    if name is None:
        return f"exit code {code}"
    remedy = _REMEDIES.get(name, "see its log").format(account=account, bucket=bucket)
    return f"exit code {code} ({name}): {remedy}"


@functools.cache
def _names() -> Mapping[int, str]:
    codes = json.loads(_CONTRACT.read_text(encoding="utf-8"))["exit_codes"]
    return {code: name for name, code in codes.items()}
