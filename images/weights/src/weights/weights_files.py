"""Weights in safetensors files that are written anew: their names, what is in each, and the index."""

import hashlib
import json
from collections.abc import Iterable, Mapping

from weights.files import SourceFile
from weights.manifest import Request
from weights.output import OutputFile, new_recipe
from weights.quantised_file import Entry, safetensors_segments
from weights.selection import WEIGHTS


def shard_name(number: int, count: int) -> str:
    """Name of a weights file, as the transformers library writes it.

    Args:
        number: The first is 1.
        count: How many there are.
    """
    return WEIGHTS if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def weights_file(
    name: str, entries: tuple[Entry, ...], request: Request, sources: Iterable[SourceFile]
) -> OutputFile:
    """Plan a file.

    Args:
        name: Its name.
        entries: Its tensors, in the order of their bytes.
        request: What is to be staged.
        sources: Files that the tensors come from.
    """
    header, body = safetensors_segments(entries)
    # The header is made of those of the sources, which were read before their digests were verified: with a
    # spoilt one the file is not taken for finished, but made, and then the difference is found.
    layout = hashlib.sha256(header.content).hexdigest()
    return OutputFile(name, (header, body), new_recipe(name, request, sources, layout))


def new_index(files: Mapping[str, Iterable[Entry]]) -> bytes:
    """Write an index, as the transformers library reads it.

    Args:
        files: The tensors of each weights file.
    """
    places = {entry.name: name for name, entries in files.items() for entry in entries}
    total = sum(entry.content.size for entries in files.values() for entry in entries)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()
