"""``python -m weights``."""

import os
import sys
from contextlib import suppress

from weights.cli import main

if __name__ == "__main__":
    code = main()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    # Not sys.exit: it would wait for threads that may sit in a read from a silent server for a minute.
    os._exit(code)
