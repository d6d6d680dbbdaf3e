"""Runs a Pulumi program and notes what it cost: CPU and wall seconds of its whole process.

`BENCH_PROGRAM` is the program's file, `BENCH_OUT` the file that receives one line of JSON.
"""

import atexit
import json
import os
import runpy
import sys
import time
from pathlib import Path

import psutil


def note() -> None:
    """Write the cost so far; the interpreter calls this last, when every resource has been registered."""
    wall = time.time() - psutil.Process().create_time()
    Path(os.environ["BENCH_OUT"]).write_text(json.dumps({"cpu": time.process_time(), "wall": wall}))


program = os.environ["BENCH_PROGRAM"]
sys.path.insert(0, str(Path(program).parent))
atexit.register(note)
runpy.run_path(program, run_name="__main__")
