"""Runs scripts of these tests, each in a child of its own, after importing once what nearly all of them need.

Reads a JSON line for each, the arguments of `run`; the line in answer is the script's exit status. It ends
with its input.
"""

import json
import os
import sys
import traceback

import safetensors.torch  # noqa: F401 - imported for the children
import torch  # noqa: F401
import transformers  # noqa: F401


def run(script: str, arguments: list[str], environment: dict[str, str], output: str, errors: str) -> int:
    """Run one script to its end, in a child that writes into the two files."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for number, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    status = 1
    try:
        sys.argv = ["-c", *arguments]
        exec(script, {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


for line in sys.stdin:
    print(run(**json.loads(line)), flush=True)
