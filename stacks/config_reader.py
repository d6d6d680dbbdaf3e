"""Reads the top-level keys of a configuration, and collects everything that is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from stacks.config_checks import Wrong, check_label, check_secret_id
from stacks.config_errors import HIDDEN, Problem, key_path, nearest, problems_of, show, suggest
from stacks.config_gke import ClusterConfig
from stacks.config_models import ImageSource
from stacks.config_sources import SECRET, Raw, Secret
from stacks.plan.images import IMAGES

LLM_KEYS = ("cluster", "deployments", "environment", "hubToken", "hubTokenSecret", "images", "labels")
"""Keys of this project: `llm:NAME`."""

GCP_KEYS = ("project", "region", "zone")
"""Keys of Google's provider that this project reads; it leaves that provider's other keys alone."""

KNOWN_KEYS = (*(f"gcp:{key}" for key in GCP_KEYS), *(f"llm:{key}" for key in LLM_KEYS))

# As like as gcp:projct and gcp:project; gcp:billingProject and aws:region are other keys.
_MISSPELT = 0.85

# Stands for a secret whose name is wrong, so that gated models are not refused for it.
_SOME_SECRET = "some-secret"  # noqa: S105


class Reader:
    """Reads a raw configuration key by key.

    Args:
        raw: text or the secret marker by key, as the engine gives it.
    """

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self.problems: list[Problem] = []

    def report(self, path: str, value: str | None, reason: str, remedy: str) -> None:
        """Records a problem; `value` as `show` writes it."""
        self.problems.append(Problem(path, value, reason, remedy))

    def check_keys(self) -> None:
        """Refuses keys of ours that do not exist, and keys of others that are nearly ours."""
        for key in self._raw:
            path = key_path("", key)[1:]
            namespace, _, name = key.partition(":")
            if namespace == "llm" and name not in LLM_KEYS:
                self.report(path, None, "is not a known key", suggest(key, [f"llm:{k}" for k in LLM_KEYS]))
            elif key not in KNOWN_KEYS and (meant := nearest(key, KNOWN_KEYS, _MISSPELT)):
                self.report(path, None, "is not a known key", f"did you mean {meant}?")

    def text(self, key: str, check: Callable[[str], Wrong | None], *, required: bool = True) -> str | None:
        """Reads text; `check` gives reason and remedy where it is wrong.

        Returns:
            the text; None where it is missing or wrong.
        """
        value = self._value(key)
        if isinstance(value, Secret):
            self.report(
                key, HIDDEN, "must not be secret", f"set it in plain text: pulumi config set {key} VALUE"
            )
            return None
        if value is None:
            if required:
                self.report(key, None, "is required and missing", f"set it: pulumi config set {key} VALUE")
            return None
        if isinstance(found := _decoded(value), dict | list):
            self.report(key, show(found), "is not text", f"write one value: pulumi config set {key} VALUE")
            return None
        wrong = check(value)
        if wrong:
            self.report(key, show(value), *wrong)
        return None if wrong else value

    def mapping(self, key: str, example: str, *, required: bool = False) -> Mapping[str, Any]:
        """Reads an object; an empty one where it is missing or wrong."""
        value = self._value(key)
        if isinstance(value, Secret):
            self.report(
                key,
                HIDDEN,
                "is, or holds, a secret: read as an object, it would land in the state in plain text",
                "remove secure: below this key; a Hub token goes to llm:hubToken "
                "(pulumi config set --secret llm:hubToken)",
            )
            return {}
        found = {} if value is None else _decoded(value)
        # The engine gives an empty mapping for a key that is not set.
        if found == {} and required:
            self.report(key, None, "is required and missing", example)
        if isinstance(found, dict):
            return found
        self.report(key, show(found), "is not a mapping", example)
        return {}

    def images(self) -> Mapping[str, ImageSource]:
        """Reads which images are given, or built on another base."""
        found = {}
        given = self.mapping("llm:images", "write {serve: {digest: …}} or {serve: {base: …}}")
        for name, value in given.items():
            path = key_path("llm:images", name)
            if name not in IMAGES:
                self.report(path, None, "is not an image of this project", suggest(name, IMAGES))
                continue
            try:
                found[name] = ImageSource.model_validate(value)
            except ValidationError as error:
                self.problems += problems_of(error, ImageSource, path)
        return found

    def cluster(self) -> ClusterConfig:
        """Reads the cluster that deployments on TPUs share; the usual one where its keys are wrong."""
        given = self.mapping("llm:cluster", "write {zonal: false, releaseChannel: regular}")
        try:
            return ClusterConfig.model_validate(given)
        except ValidationError as error:
            self.problems += problems_of(error, ClusterConfig, "llm:cluster")
            return ClusterConfig()

    def labels(self) -> Mapping[str, str]:
        """Reads the labels that every resource of the stack carries."""
        found = {}
        for key, value in self.mapping("llm:labels", "write a mapping of names to text").items():
            wrong = check_label(key, value)
            if wrong:
                self.report(key_path("llm:labels", key), show(value), *wrong)
            else:
                found[key] = value
        return found

    def hub_token(self) -> bool:
        """Says whether `llm:hubToken` holds a token, without reading it."""
        value = self._value("llm:hubToken")
        if value is SECRET or value is None:
            return value is SECRET
        self.report(
            "llm:hubToken",
            HIDDEN,
            "is in plain text",
            "store it encrypted: pulumi config set --secret llm:hubToken (and revoke it if it was shared)",
        )
        return True

    def hub_token_secret(self) -> str | None:
        """Reads which Secret Manager secret holds the token."""
        if self._value("llm:hubTokenSecret") is None:
            return None
        if self._value("llm:hubToken") is not None:
            self.report(
                "llm:hubTokenSecret",
                None,
                "is given beside llm:hubToken",
                "keep one: hubToken makes a secret of this stack, hubTokenSecret uses one that exists",
            )
        return self.text("llm:hubTokenSecret", check_secret_id) or _SOME_SECRET

    def _value(self, key: str) -> str | Secret | None:
        value = self._raw.get(key)
        # The engine hands on a key without a value as "null".
        return None if isinstance(value, str) and value.strip() in ("", "null") else value


def _decoded(value: str) -> Any:
    """Reads an object that the engine wrote as JSON; any other text stays as it is."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
