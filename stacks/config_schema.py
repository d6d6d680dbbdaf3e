"""The JSON Schema of a stack file, for editors: made of the same models that check the configuration.

It says what a stack file may look like; what only the plan can judge (does the model fit, is the GPU in the
region) it leaves to `llmstack plan`. Draft 7, which yaml-language-server takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

from pydantic import TypeAdapter

from stacks.config_checks import RESERVED_LABELS, SECRET_NAME
from stacks.config_gke import ClusterConfig
from stacks.config_models import DEPLOYMENTS, ImageSource
from stacks.config_reader import GCP_KEYS
from stacks.plan import naming
from stacks.plan.catalog import catalog
from stacks.plan.hardware import engines
from stacks.plan.images import IMAGES
from stacks.plan.profiles import PROFILES

DRAFT = "http://json-schema.org/draft-07/schema#"

_DEFINITIONS = "#/definitions/{model}"
_SECURE = {
    "type": "object",
    "required": ["secure"],
    "properties": {"secure": {"type": "string", "description": "Text that the engine encrypted."}},
    "additionalProperties": False,
}


def stack_file_schema() -> dict[str, Any]:
    """Makes the schema of `Pulumi.<stack>.yaml`."""
    definitions: dict[str, Any] = {}
    config = {
        "type": "object",
        "description": "The stack's configuration.",
        "required": ["gcp:project", "gcp:region", "llm:environment", "llm:deployments"],
        "properties": _config_keys(definitions),
        # Keys of other programs and of Google's provider are theirs to check.
        "patternProperties": {f"^(?!llm:|gcp:(?:{'|'.join(GCP_KEYS)})$)[^:]+:.+$": {}},
        "additionalProperties": False,
    }
    return {
        "$schema": DRAFT,
        "title": "Stack file",
        "description": "A stack: what is deployed, where, and as which environment. Pulumi.<stack>.yaml",
        "type": "object",
        "required": ["config"],
        "properties": {**_engine_keys(), "config": config},
        "additionalProperties": False,
        "definitions": definitions,
    }


def _config_keys(definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        "gcp:project": _text(
            naming.PROJECT_ID.pattern, "Google Cloud project that receives the stack: its ID."
        ),
        "gcp:region": _text(naming.REGION.pattern, "Region of everything in the stack: us-central1."),
        "gcp:zone": _or_unset(
            _text(
                f"(?:{naming.REGION.pattern})-[a-z]",
                "Zone that Google's provider takes where a resource needs one; it lies in gcp:region.",
            )
        ),
        "llm:environment": {
            "description": "What the stack is for: decides on protection, retention and least instances.",
            "enum": list(PROFILES),
        },
        "llm:deployments": {
            "description": "What is deployed: any number of deployments by name. The name stays with what a "
            "deployment owns; its model may change.",
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": _whole(naming.DEPLOYMENT_NAME.pattern)},
            "additionalProperties": _deployment(definitions),
        },
        "llm:cluster": _or_unset(
            {
                "description": "The cluster of the deployments on topology gke-tpu; works as it is.",
                "type": "object",
                **_cluster(definitions),
            }
        ),
        "llm:hubToken": {
            "description": "Hugging Face token for gated models: pulumi config set --secret llm:hubToken",
            "anyOf": [_SECURE, {"type": "null"}],
        },
        "llm:hubTokenSecret": _or_unset(
            _text(SECRET_NAME.pattern, "A Secret Manager secret that holds the token already.")
        ),
        "llm:images": _or_unset(
            {
                "description": "Images given by digest instead of built, or other base images to build on.",
                "type": "object",
                "properties": {name: _image(definitions) for name in IMAGES},
                "additionalProperties": False,
            }
        ),
        "llm:labels": _or_unset(
            {
                "description": "Labels that every resource of the stack carries which takes labels.",
                "type": "object",
                "propertyNames": {
                    "pattern": _whole(naming.LABEL_KEY.pattern),
                    "not": {"enum": list(RESERVED_LABELS)},
                },
                "additionalProperties": {"type": "string", "pattern": _whole(naming.LABEL_VALUE.pattern)},
            }
        ),
    }


def _engine_keys() -> dict[str, Any]:
    """What the engine itself keeps in a stack file (sdk/go/common/workspace/project.go, ProjectStack)."""
    return {
        "secretsprovider": {
            "type": "string",
            "description": "What encrypts the stack's secrets: a passphrase or a key, for instance gcpkms://….",
        },
        "encryptedkey": {"type": "string", "description": "The stack's own key, encrypted by that provider."},
        "encryptionsalt": {"type": "string", "description": "Salt of the passphrase that encrypts secrets."},
        "environment": {
            "description": "Pulumi ESC environments that the configuration is merged over.",
            "type": ["array", "object"],
        },
    }


def _deployment(definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _generated(Union[tuple(DEPLOYMENTS.values())], definitions)  # noqa: UP007 - of a tuple
    engine = {"enum": [*engines(), None]}
    for deployment in DEPLOYMENTS.values():
        properties = definitions[deployment.__name__]["properties"]
        properties["engine"] = {"description": properties["engine"]["description"], **engine}
        properties["model"] = {
            "description": properties["model"]["description"],
            "anyOf": [{"enum": list(catalog())}, {"$ref": _DEFINITIONS.format(model="ModelSpec")}],
        }
    return schema


def _cluster(definitions: dict[str, Any]) -> dict[str, Any]:
    """The cluster's keys, without a reference: draft 7 ignores what stands beside one."""
    _generated(ClusterConfig, definitions)
    own = definitions.pop(ClusterConfig.__name__)
    return {"properties": own["properties"], "additionalProperties": False}


def _image(definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _generated(ImageSource, definitions)
    given = [{"required": [key], "properties": {key: {"type": "string"}}} for key in ("digest", "base")]
    definitions[ImageSource.__name__]["oneOf"] = given
    return schema


def _generated(model: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Makes the schema of a model; puts it, and those it is made of, among the definitions."""
    schema = TypeAdapter(model).json_schema(ref_template=_DEFINITIONS)
    found = _tidy(schema.pop("$defs", {}))
    if "properties" in schema:
        found[model.__name__] = _tidy(schema)
        schema = {"$ref": _DEFINITIONS.format(model=model.__name__)}
    definitions.update(found)
    return schema


def _tidy(node: Any) -> Any:
    """Drops the titles that pydantic makes up; draft 7 ignores what stands beside a `$ref`, so wraps it."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {
        key: _tidy(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))
    }
    if "$ref" in node and len(node) > 1:
        return {"allOf": [{"$ref": node.pop("$ref")}], **node}
    return node


def _text(pattern: str, description: str) -> dict[str, Any]:
    return {"description": description, "type": "string", "pattern": _whole(pattern)}


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


def _or_unset(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Takes a key without a value too, which the engine hands on as not set."""
    return {**schema, "type": [schema["type"], "null"]}
