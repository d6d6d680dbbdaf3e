"""Texts with a shape of their own in deployments on topology `gke-tpu`: topologies, zones, names, ranges."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from stacks.config_errors import refuse
from stacks.plan.spec import shaped

_TOPOLOGY = r"[1-9][0-9]*x[1-9][0-9]*"
_ZONE = r"[a-z]+-[a-z]+[0-9]+-[a-z]"
_MACHINE = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+"
_RESOURCE = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
_SOURCE = r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](?:/[^/\s]+)+"
_NETWORK = rf"(?:projects/[a-z0-9-]+/global/networks/)?{_RESOURCE}"
_SUBNETWORK = rf"(?:projects/[a-z0-9-]+/regions/[a-z0-9-]+/subnetworks/)?{_RESOURCE}"


def _topology(value: str) -> str:
    if not re.fullmatch(_TOPOLOGY, value):
        refuse("is not a TPU topology", "write ROWSxCOLUMNS, for instance 2x4 for eight chips")
    return value


def _zone(value: str) -> str:
    if not re.fullmatch(_ZONE, value):
        refuse("is not a zone", "write REGION and a letter, for instance us-west4-a")
    return value


def _machine(value: str) -> str:
    if not re.fullmatch(_MACHINE, value):
        refuse("is not a machine type", "write one, for instance ct5lp-hightpu-8t or e2-standard-4")
    return value


def _resource(value: str) -> str:
    if not re.fullmatch(_RESOURCE, value):
        refuse(
            "is not the name of a resource",
            "write 1 to 63 lower-case letters, digits and hyphens, no address",
        )
    return value


def _host(value: str) -> str:
    if not re.fullmatch(_HOST, value):
        refuse("is not a host name", "write a name with a domain, for instance llm.example.com")
    return value


def _source(value: str) -> str:
    if not re.fullmatch(_SOURCE, value):
        refuse("is not a place in a bucket", "write gs://BUCKET/PREFIX without a slash at its end")
    return value


def _network(value: str) -> str:
    if not re.fullmatch(_NETWORK, value):
        refuse(
            "is not a network",
            "write its name, or projects/PROJECT/global/networks/NAME of another project's",
        )
    return value


def _subnetwork(value: str) -> str:
    if not re.fullmatch(_SUBNETWORK, value):
        refuse(
            "is not a subnetwork",
            "write its name, or projects/PROJECT/regions/REGION/subnetworks/NAME of another project's",
        )
    return value


def _range(value: str) -> str:
    try:
        ipaddress.IPv4Network(value)
        written_out = "/" in value
    except ValueError:
        written_out = False
    if not written_out:
        # Kubernetes and GKE take no address alone, and clusters of this project have IPv4 alone.
        refuse("is not a range of IPv4 addresses", "write ADDRESS/BITS, for instance 203.0.113.0/24")
    return value


Topology = Annotated[str, AfterValidator(_topology), shaped(_TOPOLOGY)]
Zone = Annotated[str, AfterValidator(_zone), shaped(_ZONE)]
MachineType = Annotated[str, AfterValidator(_machine), shaped(_MACHINE)]
ResourceName = Annotated[str, AfterValidator(_resource), shaped(_RESOURCE)]
HostName = Annotated[str, AfterValidator(_host), shaped(_HOST)]
Source = Annotated[str, AfterValidator(_source), shaped(_SOURCE)]
NetworkName = Annotated[str, AfterValidator(_network), shaped(_NETWORK)]
SubnetworkName = Annotated[str, AfterValidator(_subnetwork), shaped(_SUBNETWORK)]
Range = Annotated[str, AfterValidator(_range)]
Ranges = Annotated[tuple[Range, ...], Field(strict=False)]
