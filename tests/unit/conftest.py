"""Settings of the unit tier."""

from __future__ import annotations

import os

from hypothesis import settings

# A run of CI says the same twice; on a person's machine the search goes on with other examples each time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
