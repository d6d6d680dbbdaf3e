"""The engine on a real stack, with its state in a bucket and its secrets under a KMS key."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_STAMP = "LLMSTACK_REHEARSAL"
_NEEDED = ("GCP_PROJECT_ID", "PULUMI_STATE_BUCKET", "PULUMI_SECRETS_PROVIDER")


class DeployError(Exception):
    """Something that must be put right first, or an engine that failed; one line with the remedy."""


@dataclass(frozen=True)
class RealStack:
    """A stack of a real project.

    Args:
        root: the checkout.
        name: the stack.
        variables: the workflow's variables, as `llmstack.deploy.settings` lists them.
    """

    root: Path
    name: str
    variables: Mapping[str, str]

    def check(self) -> None:
        """Refuse what would work on the wrong project or with the wrong key.

        Raises:
            DeployError: what is wrong, and the remedy.
        """
        if self.variables.get(_STAMP):
            raise DeployError(f"{_STAMP} is set: this shell works in a rehearsal; use one that does not")
        missing = [name for name in _NEEDED if not self.variables.get(name)]
        if missing:
            raise DeployError(f"not set: {', '.join(missing)}; scripts/bootstrap PROJECT prints them")
        content = self._content()
        project, wanted = self._config(content).get("gcp:project"), self.variables["GCP_PROJECT_ID"]
        if project != wanted:
            raise DeployError(
                f"Pulumi.{self.name}.yaml is for project {project}, and GCP_PROJECT_ID is {wanted}: "
                "give the GitHub environment the variables of the stack's own project"
            )
        key, given = content.get("secretsprovider"), self.variables["PULUMI_SECRETS_PROVIDER"]
        if key != given:
            raise DeployError(
                f"Pulumi.{self.name}.yaml has secretsprovider {key}, and PULUMI_SECRETS_PROVIDER is {given}: "
                f"run `pulumi stack init {self.name} --secrets-provider {given}` once (`pulumi stack "
                "change-secrets-provider` where the stack exists) and commit the file"
            )

    def region(self) -> str:
        """The stack's region."""
        return str(self._config(self._content()).get("gcp:region", ""))

    def environment(self) -> dict[str, str]:
        """The engine's variables: the real backend, and no plugin that merely lies on PATH."""
        bucket = self.variables["PULUMI_STATE_BUCKET"]
        folders = (self.root / ".engine/bin", self.root / ".venv/bin")
        path = os.pathsep.join([*map(str, folders), self.variables.get("PATH", os.defpath)])
        return {
            **self.variables,
            "PATH": path,
            "PULUMI_BACKEND_URL": bucket if "://" in bucket else f"gs://{bucket}",
            "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    def pulumi(self, *arguments: str) -> bool:
        """Run the engine with its output on this process's own; whether it succeeded.

        Raises:
            DeployError: there is no engine.
        """
        command = ["pulumi", *arguments, "--stack", self.name, "--non-interactive", "--color", "never"]
        try:
            done = subprocess.run(command, cwd=self.root, env=self.environment(), check=False)
        except FileNotFoundError:
            raise DeployError("there is no Pulumi engine: run scripts/install-engine") from None
        return not done.returncode

    def login_docker(self, token: str) -> None:
        """Let Docker push to the stack's region.

        Args:
            token: an access token; it goes through standard input and stands in no command line.

        Raises:
            DeployError: Docker refuses, or is not there.
        """
        registry = f"https://{self.region()}-docker.pkg.dev"
        # Source: cloud.google.com/artifact-registry/docs/docker/authentication, "Access token".
        command = ["docker", "login", "--username", "oauth2accesstoken", "--password-stdin", registry]
        try:
            done = subprocess.run(command, input=token, text=True, capture_output=True, check=False)
        except FileNotFoundError:
            raise DeployError(
                "docker is not installed: a Docker engine builds and pushes the images"
            ) from None
        if done.returncode:
            raise DeployError(f"docker login {registry}: {(done.stderr or done.stdout).strip()}")

    def _content(self) -> dict[str, Any]:
        path = self.root / f"Pulumi.{self.name}.yaml"
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError):
            raise DeployError(
                f"{path.name} is not valid YAML: `llmstack plan {self.name}` says where"
            ) from None
        return content if isinstance(content, dict) else {}

    @staticmethod
    def _config(content: Mapping[str, Any]) -> dict[str, Any]:
        config = content.get("config")
        return config if isinstance(config, dict) else {}
