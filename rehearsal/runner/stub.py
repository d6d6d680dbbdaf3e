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

COMMAND = "stage"
"""First argument of the weights job, as `images/weights/contract.json` has it."""
_CHECKOUT = Path(__file__).resolve().parents[2]


class StubRunner:
    """Runs the stub of the weights job; knows no other container."""

    name = "stub"

    def start(self, spec: WorkloadSpec) -> ProcessHandle:
        """See `Runner.start`."""
        if spec.args[:1] != (COMMAND,):
            raise StartError(
                f"{spec.image.name}: with stubbed containers only the weights job runs, "
                f"and its first argument is `{COMMAND}`"
            )
        argv = [sys.executable, "-P", "-m", "rehearsal.runner.stub_stage", *spec.args]
        return launch(spec, argv, {**spec.env, "PYTHONPATH": str(_CHECKOUT)}, _CHECKOUT)

    def adopt(self, folder: Path, state: Mapping[str, str]) -> ProcessHandle | None:
        """See `Runner.adopt`."""
        return ProcessRunner().adopt(folder, state)
