"""Runs containers of a rehearsal: with a Docker engine, or as plain processes."""

from rehearsal.runner.types import Handle, Mount, Runner, StartError, WorkloadSpec

__all__ = ["Handle", "Mount", "Runner", "StartError", "WorkloadSpec"]
