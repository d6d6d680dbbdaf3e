"""What is prepared, and the names of everything in it: all follow from the command line.

Limits of names: buckets 3 to 63 characters, service accounts 6 to 30, pools and providers 4 to 32 without
the prefix `gcp-` (Google's discovery documents storage.v1, iam.v1).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from llmstack.bootstrap.errors import UsageError
from stacks.plan.naming import PROJECT_ID, REGION, account_email

ISSUER = "https://token.actions.githubusercontent.com"
"""https://docs.github.com/actions/reference/openid-connect-reference"""

DEPLOY_BRANCH = "main"
KEY_RING, KEY = "llmstack", "stack-secrets"
POOL, PROVIDER = "llmstack-github", "github-actions"
DEPLOYER, PREVIEWER = "llmstack-deployer", "llmstack-previewer"

# An owner has up to 39 letters, digits and hyphens, a name up to 100 characters; neither can hold a quote.
_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")
_GITHUB_URL = re.compile(r"(?:https://github\.com/|(?:ssh://)?git@github\.com[:/])([^/]+/[^/]+?)(?:\.git)?/?")
_NUMBER = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A project, the repository whose workflows deploy into it, and where its state and key are."""

    project: str
    repository: str
    region: str
    repository_id: str | None = None
    """GitHub's number of the repository: another can take a deleted one's name, but never its number."""
    owner_id: str | None = None

    @property
    def state_bucket(self) -> str:
        """The bucket of the stacks' states.

        Stacks name their buckets `PROJECT-…`; this one is none of those, so a role on those is none here.
        """
        return f"pulumi-state-{self.project}"

    @property
    def key_ring(self) -> str:
        """Resource name of the key ring."""
        return f"projects/{self.project}/locations/{self.region}/keyRings/{KEY_RING}"

    @property
    def key(self) -> str:
        """Resource name of the key that encrypts the stacks' secrets."""
        return f"{self.key_ring}/cryptoKeys/{KEY}"

    @property
    def deployer(self) -> str:
        """Address of the account that `pulumi up` runs as."""
        return account_email(DEPLOYER, self.project)

    @property
    def previewer(self) -> str:
        """Address of the account that `pulumi preview` runs as."""
        return account_email(PREVIEWER, self.project)

    def pool(self, number: str) -> str:
        """Resource name of the workload identity pool, by the project's number."""
        return f"projects/{number}/locations/global/workloadIdentityPools/{POOL}"

    def provider(self, number: str) -> str:
        """Resource name of the pool's provider."""
        return f"{self.pool(number)}/providers/{PROVIDER}"

    def workflows(self, number: str, access: str) -> str:
        """The principals of all workflow runs with one kind of access: `deploy` or `preview`."""
        return f"principalSet://iam.googleapis.com/{self.pool(number)}/attribute.access/{self.repository}:{access}"

    def variables(self, number: str) -> dict[str, str]:
        """The GitHub repository variables that the workflows read."""
        return {
            "GCP_PROJECT_ID": self.project,
            "GCP_WORKLOAD_IDENTITY_PROVIDER": self.provider(number),
            "GCP_DEPLOYER_SERVICE_ACCOUNT": self.deployer,
            "GCP_PREVIEWER_SERVICE_ACCOUNT": self.previewer,
            "PULUMI_STATE_BUCKET": self.state_bucket,
            "PULUMI_SECRETS_PROVIDER": f"gcpkms://{self.key}",
        }


def parse_target(
    project: str, repository: str, region: str, repository_id: str | None = None, owner_id: str | None = None
) -> Target:
    """Checks the command line's words.

    Raises:
        UsageError: a word that Google or GitHub would not take.
    """
    if not PROJECT_ID.fullmatch(project):
        raise UsageError(
            f"{project!r} is no project ID: 6 to 30 lower-case letters, digits and hyphens, a letter first, "
            "no hyphen last (the ID, not the name or the number: gcloud projects list)"
        )
    if not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"{repository!r} is no GitHub repository: write OWNER/NAME, as in acme/llm")
    if not REGION.fullmatch(region):
        raise UsageError(f"{region!r} is no region: write one such as us-central1 (a zone has a letter more)")
    for option, value in (("--repository-id", repository_id), ("--owner-id", owner_id)):
        if value is not None and not _NUMBER.fullmatch(value):
            raise UsageError(
                f"{option} {value!r} is no number: gh api repos/{repository} --jq '.id, .owner.id'"
            )
    if (repository_id is None) != (owner_id is None):
        raise UsageError("--repository-id and --owner-id go together: give both or neither")
    return Target(project, repository, region, repository_id, owner_id)


def repository_of(folder: Path) -> str:
    """The GitHub repository that a checkout's remote `origin` names, as OWNER/NAME.

    Raises:
        UsageError: there is no such remote, or it is not on GitHub.
    """
    asked = subprocess.run(
        ["git", "-C", str(folder), "remote", "get-url", "origin"], capture_output=True, text=True, check=False
    )
    found = _GITHUB_URL.fullmatch(asked.stdout.strip())
    if found is None:
        raise UsageError("this checkout has no remote `origin` on GitHub: give --repository OWNER/NAME")
    return found.group(1)
