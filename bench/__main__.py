"""`make bench`: every benchmark, or those named; the last results are kept in `bench/results/`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench import preview

BENCHMARKS = {"preview": preview.run}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmarks named on the command line, all of them by default."""
    wanted = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)} (there are: {', '.join(BENCHMARKS)})")
    RESULTS.mkdir(exist_ok=True)
    for name in wanted:
        result = BENCHMARKS[name]()
        text = json.dumps(result, indent=2)
        (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
