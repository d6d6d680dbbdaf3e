"""The stacks of a checkout as a matrix: `python3 -m llmstack.pull_request.stacks >> $GITHUB_OUTPUT`.

Needs nothing but Python, so that a workflow can ask before anything is installed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

STACK = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""Names that are safe wherever a workflow puts them. Source: the engine's own rule for stack names."""


def stacks(root: Path) -> list[str]:
    """The names of the stack files, sorted; what is no stack's name is passed over."""
    found = (path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in root.glob("Pulumi.*.yaml"))
    return sorted(name for name in found if STACK.fullmatch(name))


if __name__ == "__main__":
    sys.stdout.write(f"stacks={json.dumps(stacks(Path.cwd()))}\n")
