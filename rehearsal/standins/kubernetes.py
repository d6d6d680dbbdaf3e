"""The stand-in for Pulumi's Kubernetes plugin: none of its types is modelled, and it says so.

The engine looks for the plugin of every SDK that is installed, and downloads what it does not find, whether
the program uses it or not. Standing on PATH, this one spares a rehearsal that search.
"""

from __future__ import annotations

from typing import NoReturn

from providers.base import server
from providers.base.errors import ProviderError
from providers.base.provider import CheckRequest, CheckResponse
from rehearsal.standins.common import Standin, open_world
from rehearsal.standins.sdk import sdk_version


class KubernetesStandin(Standin):
    """Refuses every resource; arguments as for every stand-in."""

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Refuse the resource.

        Raises:
            ProviderError: always.
        """
        return refuse(request.type)


def refuse(token: str) -> NoReturn:
    """Say that a type cannot be rehearsed.

    Raises:
        ProviderError: always.
    """
    raise ProviderError(f"not modelled by the rehearsed cloud: {token} (no Kubernetes resource is)")


def main() -> None:
    """The plugin's process."""
    world = open_world("kubernetes")
    server.main(
        lambda name, version: KubernetesStandin(name, version, world), "kubernetes", sdk_version("kubernetes")
    )
