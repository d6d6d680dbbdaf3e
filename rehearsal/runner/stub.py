"""Stands in for the containers: a staging job writes a stub where the model would lie, nothing else runs.

The stub is written by a process of its own, with the job's own identity and through the same APIs as the
real job, so that what the job may do, and where it writes, is rehearsed all the same. A model it is not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from rehearsal.runner.process import ProcessHandle, ProcessRunner, launch
from rehearsal.runner.types import StartError, WorkloadSpec

COMMANDS = ("stage", "import")
"""First argument of the weights job, for the Hub or a bucket, as `images/weights/contract.json` has it."""
_CHECKOUT = Path(__file__).resolve().parents[2]


class StubRunner:
    """Runs the stub of the weights job; knows no other container."""

    name = "stub"

    def start(self, spec: WorkloadSpec) -> ProcessHandle:
        """See `Runner.start`."""
        if not spec.args or spec.args[0] not in COMMANDS:
            raise StartError(
                f"{spec.image.name}: with stubbed containers only the weights job runs, "
                f"and its first argument is {' or '.join(COMMANDS)}"
            )
        argv = [sys.executable, "-P", "-m", "rehearsal.runner.stub_stage", *spec.args]
        return launch(spec, argv, {**spec.env, "PYTHONPATH": str(_CHECKOUT)}, _CHECKOUT)

    def adopt(self, folder: Path, state: Mapping[str, str]) -> ProcessHandle | None:
        """See `Runner.adopt`."""
        return ProcessRunner().adopt(folder, state)
