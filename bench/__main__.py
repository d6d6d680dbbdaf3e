"""`make bench`: every benchmark, or those named; the last results are kept in `bench/results/`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import preview
from bench.serving import measure as serving
from bench.weights import staging

BENCHMARKS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "preview": lambda _quick: preview.run(),
    "weights": staging.run,
    "serving": serving.run,
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmarks named on the command line, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--quick", action="store_true", help="the small checkpoint alone, few requests; nothing is kept"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)} (there are: {', '.join(BENCHMARKS)})")
    # Images have their libraries compiled; without this, each start would compile them anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    RESULTS.mkdir(exist_ok=True)
    for name in options.names or BENCHMARKS:
        text = json.dumps(BENCHMARKS[name](options.quick), indent=2)
        if not options.quick:
            (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
