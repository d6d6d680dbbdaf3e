"""The two service accounts that workflows act as."""

from __future__ import annotations

from typing import Any

from llmstack.bootstrap.google import Google, Purpose
from llmstack.bootstrap.steps import Json, Managed
from llmstack.bootstrap.target import DEPLOYER, PREVIEWER, Target
from stacks.plan.naming import account_email

_ABOUT = {
    DEPLOYER: ("Deploys stacks", "Runs pulumi up in workflows of the repository's main branch"),
    PREVIEWER: ("Previews stacks", "Runs pulumi preview in workflows of the repository's pull requests"),
}


def service_account(google: Google, target: Target, account: str) -> Managed:
    """The step of one account; `account` is its id, of the deployer or the previewer."""
    accounts = google.service("iam").projects().serviceAccounts()
    email, project = account_email(account, target.project), f"projects/{target.project}"
    name = f"{project}/serviceAccounts/{email}"
    display_name, description = _ABOUT[account]
    settings = {"displayName": display_name, "description": description}

    def read() -> Json | None:
        purpose = Purpose(f"reading service account {email}", "iam.serviceAccounts.get", project)
        return google.read(purpose, lambda: accounts.get(name=name))

    def create() -> None:
        body = {"accountId": account, "serviceAccount": settings}
        purpose = Purpose(f"creating service account {email}", "iam.serviceAccounts.create", project)
        google.write(purpose, lambda: accounts.create(name=project, body=body))

    def patch(fields: Any) -> None:
        if "disabled" in fields:
            purpose = Purpose(f"enabling service account {email}", "iam.serviceAccounts.enable", name)
            google.write(purpose, lambda: accounts.enable(name=name, body={}))
        texts = [field for field in fields if field in settings]
        if texts:
            body = {
                "serviceAccount": {field: settings[field] for field in texts},
                "updateMask": ",".join(texts),
            }
            purpose = Purpose(f"changing service account {email}", "iam.serviceAccounts.update", name)
            google.write(purpose, lambda: accounts.patch(name=name, body=body))

    return Managed(f"service account {email}", {**settings, "disabled": False}, read, create, patch)
