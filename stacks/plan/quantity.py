"""Sizes of memory: Kubernetes' notation in configuration, bytes everywhere else."""

from __future__ import annotations

import re

MIB = 1024**2
GIB = 1024**3

_NOTATION = re.compile(r"([1-9]\d*)(Mi|Gi)")


def parse_memory(text: str) -> int | None:
    """Reads `512Mi` or `4Gi` as bytes; None for anything else."""
    match = _NOTATION.fullmatch(text)
    return int(match[1]) * (MIB if match[2] == "Mi" else GIB) if match else None


def memory_text(size: int) -> str:
    """Writes a whole number of MiB in the notation that Cloud Run takes."""
    return f"{size // GIB}Gi" if size % GIB == 0 else f"{size // MIB}Mi"


def human(size: int) -> str:
    """Writes bytes for a person, for instance `1.43 GiB`."""
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"
