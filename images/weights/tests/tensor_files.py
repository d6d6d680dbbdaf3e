"""Safetensors files of given arrays, written and read without the library."""

import json

import numpy as np

CODES = {"float32": "F32", "float16": "F16", "int64": "I64"}
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I8": "i1"}


def tensor_file(tensors: dict[str, np.ndarray]) -> bytes:
    """The file's bytes, from arrays of the types in ``CODES``."""
    header, bodies, position = {}, [], 0
    for name, values in tensors.items():
        code, body = CODES[values.dtype.name], values.tobytes()
        header[name] = {
            "dtype": code,
            "shape": list(values.shape),
            "data_offsets": [position, position + len(body)],
        }
        position += len(body)
        bodies.append(body)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(bodies)


def read_tensor_file(content: bytes) -> dict[str, np.ndarray]:
    """Array by name, bfloat16 as float32; each has to begin at a multiple of its width."""
    length = int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(content[begin:end], TYPES[entry["dtype"]])
        assert begin % values.itemsize == 0
        if entry["dtype"] == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        tensors[name] = values.reshape(entry["shape"])
    return tensors
