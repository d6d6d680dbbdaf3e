"""The init of a container that runs as a plain process: what `tini` is in the image.

Started as a script with nothing but the standard library: `init.py EXIT_FILE COMMAND [ARG …]`. It passes
SIGTERM and SIGINT on to the command, writes the exit code where the cloud process finds it even after a
restart, and ends whatever the command left behind in its session, as the end of a container does.
"""

import contextlib
import os
import signal
import subprocess
import sys

USAGE_EXIT_CODE = 127


def main(exit_file: str, command: list[str]) -> int:
    """Run the command to its end and return its exit code, 128 + N for signal N."""
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        sys.stderr.write(f"cannot execute {command[0]}: {error.strerror}\n")
        code = USAGE_EXIT_CODE
    else:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: child.send_signal(received))
        returned = child.wait()
        code = returned if returned >= 0 else 128 - returned
    temporary = f"{exit_file}.tmp"
    # The folder is gone when the workload was removed meanwhile: then nobody asks for the code.
    with contextlib.suppress(FileNotFoundError):
        with open(temporary, "w") as file:  # noqa: PTH123 - pathlib would cost a third of the start-up time
            file.write(str(code))
        os.replace(temporary, exit_file)  # noqa: PTH105
    return code


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
    os.killpg(0, signal.SIGKILL)
