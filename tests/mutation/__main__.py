"""Takes away one rule at a time and says which of them no test misses.

    python -m tests.mutation                                every rule
    python -m tests.mutation stacks/plan rehearsal/data     the rules below these paths
    python -m tests.mutation --list                         only says what the rules are

The exit status is 0 only if a test misses every rule that is not in equivalent.yaml.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.mutation.check import Check, default_jobs
from tests.mutation.report import report
from tests.mutation.rules import find_rules
from tests.mutation.scope import read_scope
from tests.mutation.site import Site, UnplacedError

_SCOPE = Path(__file__).with_name("scope.yaml")


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", help="only rules in these files and folders")
    parser.add_argument("--list", action="store_true", help="list the rules, and take none away")
    parser.add_argument("--jobs", type=int, default=default_jobs(), help="processes at once (one per CPU)")
    parser.add_argument("--scope", type=Path, default=_SCOPE, help="another scope.yaml")
    parser.add_argument("--json", type=Path, help="write what was found to this file, too")
    given = parser.parse_args()

    def wanted(site: Site) -> bool:
        return not given.paths or any(Path(site.file).is_relative_to(path) for path in given.paths)

    try:
        scope = read_scope(given.scope)
        rules = find_rules(scope)
        sites = [site for site in rules.sites if wanted(site)]
        if not sites:
            raise RuntimeError(f"there is no rule below {', '.join(given.paths)}; --list says what there is")
        if given.list:
            print(*sites, sep="\n")
            return 0
        told = report(sites, Check(scope, rules, wanted, given.jobs).run(), scope.equivalents())
    except (UnplacedError, RuntimeError) as error:
        print(f"mutation check: {error}", file=sys.stderr)
        return 2
    if given.json:
        given.json.write_text(told.model_dump_json(indent=2))
    print(*told.lines, sep="\n")
    return 1 if told.problems else 0


if __name__ == "__main__":
    sys.exit(main())
