"""`python -m rehearsal.cloud --folder F`: the cloud process of a rehearsal, in the foreground."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from rehearsal.cloud.process import serve
from rehearsal.runner import StartError

IDLE_SECONDS = 600.0


def main() -> int:
    """Parse the command line and serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.cloud", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the rehearsal's folder")
    parser.add_argument(
        "--idle", type=float, default=IDLE_SECONDS, help="seconds without work after which it ends"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        serve(options.folder.resolve(), options.idle)
    except (FileNotFoundError, StartError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
