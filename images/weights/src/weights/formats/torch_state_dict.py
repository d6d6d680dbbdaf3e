"""A PyTorch state dict in one file, as ``torch.save`` writes it and Beam's ``PytorchModelHandler`` loads it.

The file is a zip archive: ``data.pkl`` is a pickle of an ``OrderedDict`` of tensors, each of which refers by
a key to a record ``data/KEY`` with its elements. A tied tensor stands under all its names and refers to one
record. Source: ``torch.serialization._save`` and ``torch._weights_only_unpickler`` of PyTorch 2. Left out is
the record ``.format_version``: it promises the exact layout of PyTorch's own writer, and nothing needs it.
"""

from math import prod

from weights.architectures import class_names, zero_tensors
from weights.companions import beside
from weights.errors import Failure
from weights.manifest import Request
from weights.output import Cast, Copy, Literal, OutputFile, Segment, new_recipe
from weights.pickle_writer import PickledTensor, state_dict_pickle
from weights.tensors import CODES, Checkpoint, TensorRef, byte_size
from weights.torch_types import STORAGES
from weights.zipstream import Entry, ZipArchive

NAME = "state_dict.pt"
_FOLDER = "archive"  # what torch.save calls it when it writes to a stream
_ALIGNMENT = 64  # of torch.save's records

_CASTS = ("F32", "F16", "BF16")


def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]:
    """Plan the state dict, with the configuration and the tokenizer beside it.

    Raises:
        Failure: ``unsupported``, for an architecture or element type that it cannot be made of.
    """
    names = class_names(checkpoint.tensors, checkpoint.config)
    keys = {tensor: str(key) for key, tensor in enumerate(dict.fromkeys(names.values()))}
    dtypes = {tensor: _dtype(tensor, CODES[request.dtype]) for tensor in keys}
    items = [
        PickledTensor(name, STORAGES[dtypes[tensor]], keys[tensor], tensor.shape)
        for name, tensor in names.items()
    ]
    zeros = zero_tensors(names, checkpoint.config)
    items += [
        PickledTensor(name, STORAGES[CODES[request.dtype]], name, shape) for name, shape in zeros.items()
    ]
    recipe = new_recipe(NAME, request, {tensor.file for tensor in keys}, *names, *zeros)
    # The pickle goes first; then the records, in the order in which the source has them.
    contents: dict[str, Segment] = {"data.pkl": Literal(state_dict_pickle(items))}
    contents |= {f"data/{key}": _elements(tensor, dtypes[tensor]) for tensor, key in keys.items()}
    for name, shape in zeros.items():
        contents[f"data/{name}"] = Literal(bytes(byte_size(CODES[request.dtype], prod(shape))))
    contents["byteorder"] = Literal(b"little")
    contents["version"] = Literal(b"3\n")
    # PyTorch logs it and no more; here it names what the file was made of.
    contents[".data/serialization_id"] = Literal(b"%040d" % (int(recipe, 16) % 10**40))
    entries = [Entry(f"{_FOLDER}/{name}", (content,)) for name, content in contents.items()]
    archive = ZipArchive(tuple(entries), _ALIGNMENT)
    return [OutputFile(NAME, (archive,), recipe), *beside(checkpoint, request)]


def _dtype(tensor: TensorRef, wanted: str) -> str:
    if tensor.dtype in _CASTS:
        return wanted
    if tensor.floating or tensor.dtype not in STORAGES:
        raise Failure(
            "unsupported",
            f"tensor {tensor.name} has elements of type {tensor.dtype}, and a state dict is made of "
            f"{', '.join(_CASTS)} and whole numbers; use a revision with those",
        )
    return tensor.dtype


def _elements(tensor: TensorRef, dtype: str) -> Segment:
    if tensor.dtype == dtype:
        return Copy(tensor.file, tensor.start, tensor.length)
    return Cast(tensor, dtype)
