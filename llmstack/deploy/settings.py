"""Whether a workflow can work on a stack: `python3 -m llmstack.deploy.settings STACK ROLE >> $GITHUB_OUTPUT`.

Needs nothing but Python, so that a workflow can ask before anything is installed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROLES = {"deployer": "GCP_DEPLOYER_SERVICE_ACCOUNT", "previewer": "GCP_PREVIEWER_SERVICE_ACCOUNT"}
"""Variable that names the service account of each role."""
SHARED = (
    "GCP_PROJECT_ID",
    "GCP_WORKLOAD_IDENTITY_PROVIDER",
    "PULUMI_STATE_BUCKET",
    "PULUMI_SECRETS_PROVIDER",
)
"""The other variables, as `scripts/bootstrap` prints them."""
_LOCAL = re.compile(r"""^\s+["']?llm:environment["']?:\s*["']?local["']?\s*(#.*)?$""", re.MULTILINE)
"""The one line of a stack file that counts before there is a YAML parser."""


def readiness(stack: str, role: str, root: Path, variables: Mapping[str, str]) -> tuple[bool, str]:
    """Whether everything is set, and what is to be said about it.

    Args:
        stack: its name.
        role: `deployer` or `previewer`.
        root: the checkout.
        variables: the workflow's variables.

    Returns:
        Ready or not. A stack is passed over that has no file, lives in the rehearsed cloud only, or was never
        set up: no variable is there at all. So is the preview where only its account is left out.

    Raises:
        ValueError: some variables are set and some are missing, which is never meant otherwise.
    """
    path = root / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        return False, f"there is no stack {stack}: {path.name} does not exist"
    if _LOCAL.search(path.read_text(encoding="utf-8")):
        return False, f"stack {stack} lives in the rehearsed cloud only"
    wanted = (*SHARED, ROLES[role])
    missing = [name for name in wanted if not variables.get(name)]
    if len(missing) == len(wanted):
        return False, f"stack {stack} is not set up for this workflow: run scripts/bootstrap PROJECT first"
    if missing == [ROLES["previewer"]]:
        return False, f"stack {stack} has no preview: {ROLES['previewer']} is not set"
    if missing:
        raise ValueError(
            f"stack {stack}: not set: {', '.join(missing)}; scripts/bootstrap PROJECT prints them"
        )
    return True, f"stack {stack} is ready"


def main(arguments: list[str]) -> int:
    """Print `ready=true` or `ready=false` for the workflow; what is said goes to its log."""
    try:
        ready, said = readiness(arguments[0], arguments[1], Path.cwd(), os.environ)
    except ValueError as error:
        sys.stderr.write(f"::error::{error}\n")
        return 1
    sys.stderr.write(f"::notice::{said}\n")
    sys.stdout.write(f"ready={'true' if ready else 'false'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
