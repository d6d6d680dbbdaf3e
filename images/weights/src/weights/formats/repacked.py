"""Pickled weights as safetensors: a file for each file of the source, an index if there are several."""

from weights.architectures import derived_names
from weights.companions import beside
from weights.manifest import Request
from weights.output import OutputFile, literal_file
from weights.quantised_file import Entry, arrange, kept
from weights.selection import INDEX
from weights.tensors import CODES, Checkpoint, TensorRef
from weights.weights_files import new_index, shard_name, weights_file


def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]:
    """List the files to write, under the names that the transformers library looks for.

    safetensors has no tensors on shared bytes. Of a tied tensor the name is written that the model class ties
    the others to; where the class is not known here, every name is written with bytes of its own.
    """
    code = CODES[request.dtype]
    ties = derived_names(checkpoint.config)
    by_file: dict[str, list[TensorRef]] = {}
    for tensor in checkpoint.tensors:
        by_file.setdefault(tensor.file.name, []).append(tensor)
    planned: dict[str, tuple[Entry, ...]] = {}
    outputs = []
    for number, tensors in enumerate(by_file.values(), 1):
        name = shard_name(number, len(by_file))
        entries = arrange(
            kept(tensor, code, each) for tensor in tensors for each in stored_names(tensor, ties)
        )
        planned[name] = entries
        outputs.append(weights_file(name, entries, request, [tensors[0].file]))
    if len(planned) > 1:
        outputs.append(literal_file(INDEX, new_index(planned), request))
    return [*outputs, *beside(checkpoint, request)]


def stored_names(tensor: TensorRef, ties: frozenset[str]) -> list[str]:
    """Names under which a file without shared bytes holds a tensor: none that are derived, or else one."""
    names = [tensor.name, *tensor.aliases]
    return [name for name in names if name not in ties] or names[:1]
