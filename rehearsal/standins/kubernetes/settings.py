"""The plugin's own settings, and when a change of them means another cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.base.diff import diff_properties
from providers.base.provider import ConfigureRequest, DiffRequest, DiffResponse
from providers.base.values import UNKNOWN, Properties, strip_secrets
from rehearsal.standins.kubernetes.access import UnreachableError, active, parse_kubeconfig

_PLACE = ("kubeconfig", "context", "cluster")
"""What says which cluster is meant."""
_IDENTIFIER = "clusterIdentifier"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the program gives to the plugin. `known` is False while the cluster is still to be made."""

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    namespace: str = ""
    mutable_maps: bool = False
    mutable_secrets: bool = False
    force: bool = False
    upsert: bool = False
    known: bool = True


def settings_of(request: ConfigureRequest) -> Settings:
    """The settings from the plugin's arguments and from configuration values `kubernetes:NAME`."""
    given = {
        name.removeprefix("kubernetes:config:"): value
        for name, value in request.variables.items()
        if name.startswith("kubernetes:config:")
    } | strip_secrets(request.args)

    def text(name: str) -> str:
        value = given.get(name)
        return value if isinstance(value, str) else ""

    def switch(name: str) -> bool:
        return given.get(name) in (True, "true")

    return Settings(
        text("kubeconfig"),
        text("context"),
        text("cluster"),
        text("namespace"),
        switch("enableConfigMapMutable"),
        switch("enableSecretMutable"),
        switch("enablePatchForce"),
        switch("upsertExistingObjects"),
        known=all(given.get(name) is not UNKNOWN for name in _PLACE),
    )


def compare_settings(request: DiffRequest) -> DiffResponse:
    """What a change of the settings does: the plugin, and so every object, is replaced with the cluster only.

    Source: https://github.com/pulumi/pulumi-kubernetes, provider/pkg/provider/provider.go, DiffConfig, and
    the SDK's description of `clusterIdentifier`.
    """
    olds, news = strip_secrets(request.old_inputs or request.old_outputs), strip_secrets(request.news)
    changes = diff_properties(olds, news)
    changed = {str(change.path[0]) for change in changes}
    identifier = news.get(_IDENTIFIER)
    if identifier is not None and identifier == olds.get(_IDENTIFIER):
        return DiffResponse(changes)
    replaces = [_IDENTIFIER] if _both_differ(olds, news) else []
    unknown = [name for name in _PLACE if news.get(name) is UNKNOWN]
    if unknown:
        return DiffResponse(changes, [*replaces, unknown[0]])
    if _active(olds) != _active(news) and _active(olds) and _active(news):
        replaces += [name for name in _PLACE if name in changed]
    return DiffResponse(changes, replaces)


def _both_differ(olds: Properties, news: Properties) -> bool:
    old, new = olds.get(_IDENTIFIER), news.get(_IDENTIFIER)
    return old is not None and new is not None and old != new


def _active(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The cluster's entry in the kubeconfig; empty where it cannot be told."""
    try:
        config = parse_kubeconfig(str(properties.get("kubeconfig") or ""))
        return active(config, str(properties.get("context") or ""), str(properties.get("cluster") or ""))[0]
    except UnreachableError:
        return {}
