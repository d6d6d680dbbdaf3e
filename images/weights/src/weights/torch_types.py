"""PyTorch's storage classes, by which its files name element types (``torch.storage`` of PyTorch 2)."""

# By the safetensors format's name of the type.
STORAGES = {
    "F64": "DoubleStorage",
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I64": "LongStorage",
    "I32": "IntStorage",
    "I16": "ShortStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
    "BOOL": "BoolStorage",
}
DTYPES = {storage: dtype for dtype, storage in STORAGES.items()}
