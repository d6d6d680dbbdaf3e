"""Versions of secrets: Google makes another one each time, so a create that was cut off leaves one behind.

`up` makes the version again and nothing conflicts; what the first attempt made stays enabled, with the secret
in it, and no state knows it. Google numbers versions from 1 and never uses a number twice:
https://cloud.google.com/secret-manager/docs/add-secret-version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmstack.recovery.foresight import Foresight
from llmstack.recovery.ids import SECRET_VERSION, import_id
from llmstack.recovery.look import Probe, Sighting

_NEIGHBOURS: Final = 8
"""How many numbers before and after the known one are looked at; one crash leaves one version."""


@dataclass(frozen=True, slots=True)
class SecretSeen:
    """One secret whose versions are looked at.

    Attributes:
        urn: The version's resource in the program.
        name: Its logical name.
        known: The version that the state has; None where `up` would create one.
        probes: The versions to look for, oldest first.
    """

    urn: str
    name: str
    known: Probe | None
    probes: tuple[Probe, ...]


def secrets_to_look_at(foresight: Foresight, state: Sequence[Mapping[str, Any]]) -> list[SecretSeen]:
    """The secrets of a stack, from what `up` would create and from what the state has."""
    found = []
    for wanted in foresight.create.values():
        if wanted.type == SECRET_VERSION:
            ids = [import_id(SECRET_VERSION, {**wanted.inputs, "number": str(n)}) for n in _around(0)]
            probes = tuple(Probe(SECRET_VERSION, id, wanted.provider) for id in ids if id)
            found.append(SecretSeen(wanted.urn, wanted.name, None, probes))
    for resource in state:
        if resource["type"] == SECRET_VERSION and not resource.get("delete"):
            found.append(_in_state(resource))
    return found


def _in_state(resource: Mapping[str, Any]) -> SecretSeen:
    provider = resource["provider"].rpartition("::")[0]
    secret, _, number = resource["id"].rpartition("/versions/")
    ids = [f"{secret}/versions/{each}" for each in _around(int(number))]
    probes = tuple(Probe(SECRET_VERSION, id, provider) for id in ids)
    known = Probe(SECRET_VERSION, resource["id"], provider)
    return SecretSeen(resource["urn"], resource["urn"].rpartition("::")[2], known, probes)


def _around(number: int) -> range:
    return range(max(1, number - _NEIGHBOURS), number + _NEIGHBOURS + 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about one secret's versions.

    Attributes:
        adopt: The version to import, where the state has none: the newest.
        duplicates: Enabled versions with the same payload, which nobody refers to.
        others: Enabled versions with another payload: somebody may have added them by hand.
    """

    adopt: Probe | None
    duplicates: tuple[Probe, ...]
    others: tuple[Probe, ...]


def judge(secret: SecretSeen, found: Mapping[Probe, Sighting]) -> Verdict:
    """Decide about the versions that were found."""
    enabled = [probe for probe in secret.probes if probe in found and found[probe].outputs.get("enabled")]
    kept = secret.known or (enabled[-1] if enabled else None)
    if kept is None:
        return Verdict(None, (), ())
    payload = found[kept].outputs.get("secretData") if kept in found else None
    rest = [probe for probe in enabled if probe != kept]
    same = tuple(probe for probe in rest if payload and found[probe].outputs.get("secretData") == payload)
    others = tuple(probe for probe in rest if probe not in same)
    return Verdict(None if secret.known else kept, same, others)
