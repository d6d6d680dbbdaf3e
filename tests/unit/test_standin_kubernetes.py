"""The stand-in for Kubernetes: it refuses every resource by name, before anything is made."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from providers.base.errors import ProviderError
from providers.base.provider import CheckRequest
from rehearsal.standins.kubernetes import KubernetesStandin
from rehearsal.world import World


@pytest.mark.parametrize("token", ["kubernetes:core/v1:Namespace", "kubernetes:apps/v1:Deployment"])
def test_every_kubernetes_resource_is_refused_in_the_preview(token: str, tmp_path: Path) -> None:
    standin = KubernetesStandin("kubernetes", "4.34.2", World(tmp_path))
    request = CheckRequest(f"urn:pulumi:dev::llm::{token}::r", token, "r", {}, {})
    with pytest.raises(ProviderError) as caught:
        asyncio.run(standin.check(request))
    assert str(caught.value) == (f"not modelled by the rehearsed cloud: {token} (no Kubernetes resource is)")
