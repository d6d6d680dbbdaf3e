"""Names of Vertex AI's resources.

The world names a project by its id; Vertex AI's answers name it by its number, and take both.
"""

from __future__ import annotations

import re
import secrets

from rehearsal.standins.model import Cloud
from rehearsal.standins.names import project_id
from rehearsal.world import World

SERVICE = "aiplatform.googleapis.com"
TYPES = "type.googleapis.com/google.cloud.aiplatform.v1"
SCHEMA = "GoogleCloudAiplatformV1"


def full(world: World, name: str) -> str:
    """The world's name of an API name, whose project may be a number."""
    _, project, *rest = name.split("/")
    return "/".join([SERVICE, "projects", project_id(Cloud(world), project), *rest])


def public(world: World, name: str) -> str:
    """The name that Vertex AI shows for one of the world: with the project's number."""
    _, _, project, *rest = name.split("/")
    return "/".join(["projects", Cloud(world).project_number(project), *rest])


def place(name: str) -> tuple[str, str]:
    """Project and location of a name of the world."""
    _, _, project, _, location, *_ = name.split("/")
    return project, location


def number(digits: int = 19) -> str:
    """A number such as Vertex AI gives to what has no name of its own."""
    return str(secrets.randbelow(9 * 10 ** (digits - 1)) + 10 ** (digits - 1))


def camel(name: str) -> str:
    """A field's name in camelCase."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)
