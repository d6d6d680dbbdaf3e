"""The environment of a dress rehearsal: the caller's, without anything that could reach a real cloud."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Credentials, projects, backends and stacks, by how the tools that read them begin their names.
_PREFIXES = ("GOOGLE_", "GCLOUD_", "GCE_", "CLOUDSDK_", "PULUMI_", "LLMSTACK_", "ACTIONS_ID_TOKEN_")
_NAMES = ("GITHUB_TOKEN", "GH_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "STORAGE_EMULATOR_HOST")


@contextmanager
def without_credentials() -> Iterator[None]:
    """Work with stubbed containers, and without the caller's credentials and cloud settings.

    It changes this process's own environment, which everything that the rehearsal starts inherits: the engine
    adds to it and cannot take from it.
    """
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(_PREFIXES) or name in _NAMES:
            del os.environ[name]
    os.environ["LLMSTACK_RUNNER"] = "stub"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
