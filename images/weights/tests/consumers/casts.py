"""Compares a cast with PyTorch's: a file of elements before, one after, and their types."""

import sys
from pathlib import Path

import torch

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
before_path, after_path, source, target = sys.argv[1:]
before = torch.frombuffer(bytearray(Path(before_path).read_bytes()), dtype=DTYPES[source])
after = torch.frombuffer(bytearray(Path(after_path).read_bytes()), dtype=DTYPES[target])
expected = before.to(DTYPES[target])
missing = expected.isnan()
assert torch.equal(missing, after.isnan()), "NaN in other places"
bits = torch.int32 if target == "F32" else torch.int16
same = expected.view(bits) == after.view(bits)
assert bool((same | missing).all()), f"{int((~(same | missing)).sum())} elements differ"
