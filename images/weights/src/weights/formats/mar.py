"""A TorchServe model archive, with the weights beside it and not inside.

``model.mar`` is a zip of about a kilobyte; the weights, the configuration and the tokenizer lie next to it,
as the format ``safetensors`` has them. TorchServe unpacks an archive into a temporary folder before it starts
a worker: with the weights inside, every start would write all of them to a disk once more.

The archive has what torch-model-archiver writes for a handler that it does not pack itself:

    MAR-INF/MANIFEST.json   the model's name and version, the handler, the name of the configuration
    model-config.yaml       for the handler, which finds it as ``context.model_yaml_config["handler"]``

The handler is a Python module ``weights_handler``, which the image with TorchServe has on its path:
TorchServe imports a handler by its name, from the archive or from wherever the interpreter finds it. It takes
the folder of the weights from the variable ``MODEL_PATH``, since only the deployment knows where the bucket
is mounted.

Source: torch-model-archiver 0.12.0 (fields), torchserve 0.12.0 (``ts/model_loader.py``: how the handler is
found), and ``ModelArchive.java`` in github.com/pytorch/serve (what is required).
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping

from weights.errors import Failure
from weights.formats import safetensors
from weights.manifest import Request
from weights.output import OutputFile, literal_file
from weights.tensors import Checkpoint

NAME = "model.mar"
HANDLER = "weights_handler"
_CONFIG = "model-config.yaml"
_ARCHIVER = "0.12.0"  # whose fields these are
_VERSION = "1.0"
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # the first time that a zip knows: the same input gives the same archive

# What TorchServe and its archiver take for a name (``check_model_name_regex_or_exit``).
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.]*")


def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]:
    """Plan the archive after all that lies beside it.

    Raises:
        Failure: ``unsupported``, for what cannot be written as safetensors, or has no architecture.
    """
    outputs = safetensors.plan(checkpoint, request)
    weights = sorted(output.name for output in outputs if output.name.endswith(".safetensors"))
    content = _zip(
        {
            "MAR-INF/MANIFEST.json": _manifest(request),
            _CONFIG: _config(checkpoint, request, weights),
        }
    )
    return [*outputs, literal_file(NAME, content, request)]


def model_name(request: Request) -> str:
    """The name under which TorchServe answers, ``/predictions/NAME``: the last part of the repository's."""
    last = request.repository.rstrip("/").rpartition("/")[2]
    return last if _NAME.fullmatch(last) else "model"


def _manifest(request: Request) -> str:
    manifest = {
        "createdOn": "01/01/1980 00:00:00",  # a time of writing would make every run's archive another one
        "runtime": "python",
        "model": {
            "modelName": model_name(request),
            "handler": HANDLER,
            "modelVersion": _VERSION,
            "configFile": _CONFIG,
        },
        "archiverVersion": _ARCHIVER,
    }
    return json.dumps(manifest, indent=2)


def _config(checkpoint: Checkpoint, request: Request, weights: list[str]) -> str:
    architectures = checkpoint.config.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise Failure(
            "unsupported",
            "config.json names no architecture, and TorchServe's handler needs the class to load; use the "
            "format safetensors",
        )
    handler = {
        "architecture": architectures[0],
        "dtype": request.dtype,
        "repository": request.repository,
        "revision": request.revision,
        "weights": weights,
    }
    # JSON is YAML, too, and needs no library to be quoted right.
    lines = [f"  {key}: {json.dumps(value)}\n" for key, value in handler.items()]
    return "".join(["# The files named here lie in the folder MODEL_PATH.\n", "handler:\n", *lines])


def _zip(files: Mapping[str, str]) -> bytes:
    """Pack files without compression, which may differ from one zlib to the next."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _BEGINNING)
            entry.create_system = 3  # Unix, on any system
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
