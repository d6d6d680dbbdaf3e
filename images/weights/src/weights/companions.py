"""The files that lie beside the weights: configuration, tokenizer, chat template."""

from weights.manifest import Request
from weights.model_config import typed_config
from weights.output import OutputFile, copy_file, literal_file
from weights.selection import INDEX_SUFFIX
from weights.tensors import Checkpoint

CONFIG = "config.json"


def beside(checkpoint: Checkpoint, request: Request, config: bytes | None = None) -> list[OutputFile]:
    """Plan everything that is neither weights nor an index of them.

    Args:
        checkpoint: Where the files are.
        request: Its dtype is the one that config.json has to state.
        config: Content of config.json, if the format changes more of it than the type.
    """
    weights = {tensor.file.name for tensor in checkpoint.tensors}
    others = [
        file
        for name, file in checkpoint.files.items()
        if name not in weights and name != CONFIG and not name.endswith(INDEX_SUFFIX)
    ]
    return [_config(checkpoint, request, config), *(copy_file(file, request) for file in others)]


def _config(checkpoint: Checkpoint, request: Request, config: bytes | None) -> OutputFile:
    stated = checkpoint.config.get("dtype", checkpoint.config.get("torch_dtype"))
    if config is None and stated == request.dtype:
        return copy_file(checkpoint.files[CONFIG], request)
    content = config if config is not None else typed_config(checkpoint.small(CONFIG), request.dtype)
    return literal_file(CONFIG, content, request)
