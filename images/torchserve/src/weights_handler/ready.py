"""`python -m weights_handler.ready` ends with 0 once every worker has loaded the model, else with 1.

`/ping` does not say it: TorchServe counts a worker that still loads as healthy (0.12.0,
`WorkerThread.isHealthy`), and no other route of the inference port knows more. The management port does, and
only the container itself reaches that: so a platform asks by this command, run inside the container.
"""

from __future__ import annotations

import json
import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any, NoReturn

from weights_handler import settings
from weights_handler.errors import StartupError

LOADED = "READY"
_TIMEOUT_SECONDS = 5


def missing(port: int) -> str | None:
    """What TorchServe still waits for; None once it can answer.

    Args:
        port: of its management API, on the loopback interface.

    Raises:
        OSError, HTTPException, ValueError: nothing answers there yet, or with a refusal.
    """
    models = _get(port, "/models")["models"]
    for name in (model["modelName"] for model in models):
        [described] = _get(port, f"/models/{name}")
        loaded = sum(worker["status"] == LOADED for worker in described["workers"])
        if loaded < described["minWorkers"]:
            return f"{loaded} of {described['minWorkers']} workers have loaded {name}"
    return None if models else "no model is registered"


def _get(port: int, path: str) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"{path}: HTTP {answer.status}")
        return json.load(answer)
    finally:
        connection.close()


def main() -> NoReturn:
    """Ends with 0 or, one line saying why, with 1."""
    try:
        reason = missing(settings.from_environment(os.environ).loopback_port)
    except (OSError, HTTPException, ValueError, StartupError) as error:
        reason = str(error) or type(error).__name__
    if reason is None:
        sys.exit(0)
    sys.stderr.write(f"torchserve: not ready: {reason}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
