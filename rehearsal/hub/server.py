"""`python -m rehearsal.hub.server --root DIR`: serves the repositories below DIR on loopback."""

from __future__ import annotations

import argparse
import os
import socket
import threading
import time
from pathlib import Path

import psutil
import uvicorn

from rehearsal.hub.app import create_app

ADDRESS = "127.0.0.1"
WATCH_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> None:
    """Runs until it is terminated, or until the process given by `--exit-with-parent` is gone."""
    options = _parse(arguments)
    hub, storage = _listen(options.port), _listen(0)
    app = create_app(options.root, f"http://{ADDRESS}:{storage.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    if options.exit_with_parent is not None:
        watch = threading.Thread(target=_stop_with, args=(options.exit_with_parent, server), daemon=True)
        watch.start()
    if options.port_file is not None:
        _write_port(options.port_file, hub.getsockname()[1])
    server.run(sockets=[hub, storage])


def _listen(port: int) -> socket.socket:
    """A socket that accepts connections; 0 chooses a free port."""
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise SystemExit(f"port {port} cannot be used: {error.strerror}") from None


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rehearsal.hub.server", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of OWNER/NAME/REVISION/files")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 chooses a free one")
    parser.add_argument("--port-file", type=Path, help="receives the port, once connections are accepted")
    parser.add_argument("--exit-with-parent", type=int, metavar="PID", help="exit when this process is gone")
    options = parser.parse_args(arguments)
    if not options.root.is_dir():
        parser.error(f"--root {options.root} is not a folder")
    return options


def _write_port(path: Path, port: int) -> None:
    """Writes the port so that a reader finds it whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(f"{port}\n")
    temporary.replace(path)


def _stop_with(pid: int, server: uvicorn.Server) -> None:
    """Ends the server when a process is gone; one that took over its number does not count."""
    try:
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(WATCH_SECONDS)
    except psutil.NoSuchProcess:
        pass
    server.should_exit = True


if __name__ == "__main__":
    main()
