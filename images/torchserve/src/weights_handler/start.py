"""The start: checks the model and the environment, writes TorchServe's configuration, and becomes TorchServe.

The `torchserve` command starts Java as its child and does not pass signals on: where a container is told
to stop, TorchServe would not hear of it. So this process becomes Java itself, with the command's arguments
(torchserve 0.12.0, `ts/model_server.py`).

TorchServe takes timeouts from an archive that has a configuration, and from nowhere else, even where that
configuration says nothing of them: it then gives up an answer, or a load, after two minutes. So the start
serves a copy of the archive, a kilobyte, whose configuration has what the deployment says.

One time has no setting: a worker's process must have imported torch and be listening after two minutes, or
"Backend worker startup time out" ends it (0.12.0, `WorkerLifeCycle.startWorkerPython`); `startupTimeout`
begins only then. What it has read is in memory for the next one, so TorchServe is told to try again for as
long as a start may take, not for its own five minutes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import yaml  # type: ignore[import-untyped]

from weights_handler import download, settings, staged
from weights_handler.errors import Exit, StartupError
from weights_handler.settings import Settings
from weights_handler.staged import Archive

_SOCKET_PATH_BYTES = 107
_LONGEST_SOCKET = ".ts.sock.65535"


def command(environment: Mapping[str, str], folder: Path) -> list[str]:
    """Checks everything and writes the configuration.

    Args:
        environment: variables by name, normally `os.environ`.
        folder: receives `config.properties`, and TorchServe's temporary files.

    Returns:
        the command that is TorchServe.

    Raises:
        StartupError: a setting, the platform's routes, the model's files or Java are not as they must be, or
            the model cannot be downloaded.
    """
    chosen = settings.from_environment(environment)
    if chosen.download_from is not None:
        download.download(chosen.download_from, chosen.model_path)
    archive = staged.check(chosen.model_path)
    check_routes(environment, archive)
    properties, store = folder / "config.properties", folder / "models"
    properties.write_text(configuration(chosen))
    store.mkdir()
    repack(chosen, archive, store)
    return [
        *_java(environment, folder),
        *("--python", sys.executable, "-f", str(properties), "-s", str(store), "-ncs"),
        *("-m", f"{archive.name}={archive.path.name}"),
    ]


def check_routes(environment: Mapping[str, str], archive: Archive) -> None:
    """Compares the routes that Vertex AI will ask with TorchServe's, which nothing can change.

    Raises:
        StartupError: they differ, so no request would ever be answered.
    """
    routes = settings.contract()["routes"]
    ours = {
        "AIP_HEALTH_ROUTE": routes["health"]["path"],
        "AIP_PREDICT_ROUTE": routes["predict"]["path"].format(model=archive.name),
    }
    for name, route in ours.items():
        if (asked := environment.get(name, route)) != route:
            raise StartupError(
                Exit.SETTINGS,
                f"environment: {name} is {asked!r}, but this model answers at {route!r}: "
                "deploy it with that route",
            )


def configuration(chosen: Settings) -> str:
    """`config.properties`: the image's own, with what the deployment says."""
    first = chosen.loopback_port
    own = {
        "inference_address": f"http://{chosen.host}:{chosen.port}",
        "management_address": f"http://127.0.0.1:{first}",
        "metrics_address": f"http://127.0.0.1:{first + 1}",
        "grpc_inference_port": first + 2,
        "grpc_management_port": first + 3,
        "default_workers_per_model": chosen.workers,
        "job_queue_size": chosen.max_queue,
    }
    lines = settings.packaged("config.properties").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in own]
    return "\n".join([*kept, *(f"{key}={value}" for key, value in own.items()), ""])


def repack(chosen: Settings, archive: Archive, store: Path) -> None:
    """Copies the archive into the model store, with the deployment's settings in its configuration."""
    own = {
        "minWorkers": chosen.workers,
        "maxWorkers": chosen.workers,
        "batchSize": chosen.batch_size,
        "maxBatchDelay": chosen.batch_delay_ms,
        "responseTimeout": chosen.response_seconds,
        "startupTimeout": chosen.startup_seconds,
        "maxRetryTimeoutInSec": chosen.startup_seconds,
    }
    with (
        zipfile.ZipFile(archive.path) as packed,
        zipfile.ZipFile(store / archive.path.name, "w") as copy,
    ):
        for entry in packed.infolist():
            content = packed.read(entry)
            if entry.filename == archive.config:
                content = yaml.safe_dump(yaml.safe_load(content) | own).encode()
            copy.writestr(entry, content)


def short_name(folder: Path) -> str:
    """A name of TorchServe's temporary folder that is short enough for the sockets in it.

    A socket's path has at most 107 bytes (unix(7)), and a longer one is found out by workers only, which then
    end at once, again and again, while `/ping` answers that all is well. A longer folder goes by its name as
    the current folder of this process, which stays the same one when it becomes Java.
    """
    fits = len(os.fsencode(folder / _LONGEST_SOCKET)) <= _SOCKET_PATH_BYTES
    return str(folder) if fits else f"/proc/{os.getpid()}/cwd"


def _java(environment: Mapping[str, str], folder: Path) -> list[str]:
    home = environment.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java", path=environment.get("PATH"))
    if java is None:
        raise StartupError(Exit.SETTINGS, "there is no java on PATH or in JAVA_HOME; install Java 17")
    # Not imported: that would import torch.
    found = importlib.util.find_spec("ts")
    if found is None or found.origin is None:
        raise StartupError(Exit.SETTINGS, "torchserve is not installed; install this project's uv.lock")
    package = Path(found.origin).parent
    return [
        java,
        # Java would take a quarter of the memory; it only holds requests, and the model needs the rest.
        "-Xmx512m",
        f"-Dmodel_server_home={package.parent}",
        f"-Dlog4j.configurationFile=file://{settings.packaged('log4j2.xml')}",
        # Sockets of workers and unpacked archives: a folder of our own, for several servers on one machine.
        f"-Djava.io.tmpdir={short_name(folder)}",
        *("-cp", f"{package}/frontend/*", "org.pytorch.serve.ModelServer"),
    ]


def main() -> NoReturn:
    """Becomes TorchServe, or ends with the exit status of what is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="torchserve-"))
    try:
        run = command(os.environ, folder)
    except StartupError as error:
        shutil.rmtree(folder)
        sys.stderr.write(f"torchserve: {error}\n")
        sys.exit(error.code)
    sys.stdout.write("torchserve: TorchServe is no longer maintained: no security patches will come\n")
    sys.stdout.flush()
    os.chdir(folder)
    # The model is complete in its folder: no library in a worker has to look at the Hub.
    os.execve(run[0], run, os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"})  # noqa: S606
