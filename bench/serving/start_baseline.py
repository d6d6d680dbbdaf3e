"""The least that a cold start could do: reads the model's files once, then imports torch.

Run with the serving image's Python: `python start_baseline.py FILE ...`. Says what each part took.
"""

import json
import sys
import time

PIECE = 8 * 1024 * 1024

started = time.monotonic()
buffer = bytearray(PIECE)
for name in sys.argv[1:]:
    with open(name, "rb", buffering=0) as file:  # noqa: PTH123  pathlib's import is not free
        while file.readinto(buffer):
            pass
read = time.monotonic()
import torch  # type: ignore[import-not-found]  # noqa: E402, F401

print(json.dumps({"read": round(read - started, 3), "import": round(time.monotonic() - read, 3)}), flush=True)
