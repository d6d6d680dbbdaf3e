"""The serving image's own Python, which has torch and the Hub's client; the root environment has neither."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVE_PYTHON = ROOT / "images/serve/.venv/bin/python"

needs_torch = pytest.mark.skipif(
    not SERVE_PYTHON.exists(), reason="images/serve has no environment: uv sync there"
)
