"""The platforms that can run the weights image, and which of them a job belongs to."""

from __future__ import annotations

from typing import Final

from providers.base.errors import ProviderError
from providers.modelops.client import Google
from providers.modelops.jobs import CloudRunJobs
from providers.modelops.kubernetes_jobs import KubernetesJobs
from providers.modelops.runners import Runner
from providers.modelops.vertex import VertexJobs

KINDS: Final[tuple[type[Runner], ...]] = (CloudRunJobs, VertexJobs, KubernetesJobs)
"""Every platform's class; their patterns exclude one another."""


def kind_of(job: str) -> type[Runner] | None:
    """The class whose form a job's full name has; None where no platform has such names."""
    return next((kind for kind in KINDS if kind.pattern.fullmatch(job)), None)


class Runners:
    """One runner for each platform.

    Args:
        google: gives the clients of Google's APIs.
    """

    def __init__(self, google: Google) -> None:
        self._runners = {kind: kind(google) for kind in KINDS}

    def of(self, job: str) -> Runner:
        """The runner of a job.

        Raises:
            ProviderError: the name has no platform's form.
        """
        kind = kind_of(job)
        if kind is None:
            raise ProviderError(f"{job} is no job's full name: {' or '.join(each.shape for each in KINDS)}")
        return self._runners[kind]
