"""Runs a command that ends when the process that started it does, however that ends.

Started as a script with nothing but the standard library: `with_parent.py PARENT SIGNAL COMMAND [ARG …]`.
Only Linux tells a process that its parent is gone; elsewhere the command simply runs.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: int, number: int, command: list[str]) -> None:
    """Ask for the signal and become the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended before the signal was asked for
            return
    os.execvp(command[0], command)  # noqa: S606 - that is what it is for


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
