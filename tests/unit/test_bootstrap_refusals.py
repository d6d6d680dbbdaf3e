"""What stops a preparation: each in one line that names the thing and the remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmstack.bootstrap.errors import BootstrapError, UsageError
from llmstack.bootstrap.google import Google, Purpose
from llmstack.bootstrap.target import parse_target, repository_of
from rehearsal.cloud.bootstrap_face import WRITES
from rehearsal.cloud.tokens import write_credentials
from tests.unit.bootstrap_project import (
    BUCKET,
    KEY,
    NUMBER,
    PROJECT,
    REGION,
    REPOSITORY,
    TARGET,
    Prepared,
    fresh_project,
    prepared_project,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project() -> Iterator[Prepared]:
    with fresh_project() as prepared:
        yield prepared


@pytest.fixture
def ready() -> Iterator[Prepared]:
    with prepared_project() as prepared:
        yield prepared


def refusal(project: Prepared, **options: bool) -> str:
    """The message that a run ends with."""
    with pytest.raises(BootstrapError) as caught:
        project.run(**options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "words",
    [
        ("Acme", REPOSITORY, REGION),
        ("acme-", REPOSITORY, REGION),
        ("acme", REPOSITORY, REGION),
        ("123456789012", REPOSITORY, REGION),
        ("example.com:acme", REPOSITORY, REGION),
        ("a" * 31, REPOSITORY, REGION),
        (PROJECT, "acme", REGION),
        (PROJECT, "acme/llm/x", REGION),
        (PROJECT, "acme/l'lm", REGION),
        (PROJECT, "acme/*", REGION),
        (PROJECT, "https://github.com/acme/llm", REGION),
        (PROJECT, REPOSITORY, "us-central1-a"),
        (PROJECT, REPOSITORY, "US"),
        (PROJECT, REPOSITORY, REGION, "7x", "65"),
        (PROJECT, REPOSITORY, REGION, "74", "0"),
        (PROJECT, REPOSITORY, REGION, "74", None),
        (PROJECT, REPOSITORY, REGION, None, "65"),
    ],
    ids=str,
)
def test_a_word_that_cannot_be_is_refused_before_any_call(words):
    with pytest.raises(UsageError) as caught:
        parse_target(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/llm.git",
        "https://github.com/acme/llm",
        "git@github.com:acme/llm.git",
        "ssh://git@github.com/acme/llm.git",
    ],
)
def test_the_repository_is_the_one_of_the_checkout_unless_it_is_given(tmp_path, url):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(UsageError, match="--repository OWNER/NAME"):
        repository_of(tmp_path)
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", url], check=True)
    assert repository_of(tmp_path) == REPOSITORY


def test_a_remote_elsewhere_is_no_repository(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    url = "https://github.com.evil.example/acme/llm"
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", url], check=True)
    with pytest.raises(UsageError):
        repository_of(tmp_path)


@pytest.mark.parametrize("permission", sorted({permission for permission, _ in WRITES.values()}))
def test_a_missing_permission_is_named_with_its_resource(project, permission):
    if permission.endswith((".update", ".undelete", ".enable")):
        make_it_needed(project, permission)
    project.state.denied = {permission}
    message = refusal(project)
    assert f"you lack {permission} on " in message
    assert "ask an owner" in message
    project.state.denied = set()
    project.run()
    assert project.run().changes == []


def make_it_needed(project: Prepared, permission: str) -> None:
    """Prepare the project, then change what only this permission can bring back."""
    if permission == "serviceusage.services.enable":
        return
    project.run()
    resource, field, value = {
        "storage.buckets.update": (BUCKET, "versioning", {"enabled": False}),
        "cloudkms.cryptoKeys.update": (KEY, "rotationPeriod", "31536000s"),
        "iam.serviceAccounts.update": ("deployer", "displayName", "x"),
        "iam.serviceAccounts.enable": ("deployer", "disabled", True),
        "iam.workloadIdentityPools.update": ("pool", "disabled", True),
        "iam.workloadIdentityPools.undelete": ("pool", "state", "DELETED"),
        "iam.workloadIdentityPoolProviders.update": ("provider", "disabled", True),
        "iam.workloadIdentityPoolProviders.undelete": ("provider", "state", "DELETED"),
    }[permission]
    names = {
        "deployer": f"iam/projects/{PROJECT}/serviceAccounts/{TARGET.deployer}",
        "pool": f"iam/{TARGET.pool(NUMBER)}",
        "provider": f"iam/{TARGET.provider(NUMBER)}",
    }
    project.state.resources[names.get(resource, resource)][field] = value


def test_a_project_that_is_not_yours_is_refused_at_once(project):
    stranger = parse_target("somebody-else", REPOSITORY, REGION)
    with pytest.raises(BootstrapError, match="there is no project somebody-else, or it is not yours"):
        project.run(stranger)
    assert project.writes == []


def test_a_project_that_is_being_deleted_is_refused_at_once(project):
    project.state.lifecycle = "DELETE_REQUESTED"
    assert "is being deleted: gcloud projects undelete acme-ml-dev" in refusal(project)
    assert project.writes == []


def test_a_bucket_that_somebody_else_has_is_refused(project):
    project.state.foreign_buckets.add(TARGET.state_bucket)
    message = refusal(project)
    assert f"bucket gs://{TARGET.state_bucket} belongs to another project" in message


def test_a_bucket_of_another_project_of_yours_is_refused(ready):
    ready.state.resources[BUCKET]["projectNumber"] = "999"
    assert "belongs to another project" in refusal(ready)


def test_a_bucket_in_another_region_names_the_region_to_use(ready):
    elsewhere = parse_target(PROJECT, REPOSITORY, "europe-west4")
    with pytest.raises(BootstrapError, match="--region us-central1"):
        ready.run(elsewhere)
    assert ready.writes == []


def test_a_key_for_signing_is_not_taken_for_ours(ready):
    ready.state.resources[KEY]["purpose"] = "ASYMMETRIC_SIGN"
    assert "ASYMMETRIC_SIGN" in refusal(ready)


def test_a_project_without_billing_names_the_command_that_links_it(project):
    project.state.billing = False
    assert "gcloud billing projects link" in refusal(project)


@pytest.mark.parametrize("read_only", [False, True])
def test_an_api_that_must_be_on_first_names_the_command_that_enables_it(project, read_only):
    project.state.enabled.discard("serviceusage.googleapis.com")
    message = refusal(project, read_only=read_only)
    assert f"gcloud services enable serviceusage.googleapis.com --project {NUMBER}" in message


def test_a_dry_run_cannot_write(project):
    google = Google(**project.options(read_only=True))
    with pytest.raises(AssertionError, match="a dry run must not write"):
        google.write(Purpose("writing", "any", "any"), lambda: None)


def run_command(project: Prepared, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, with application-default credentials."""
    address = project.environment["CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM"].rstrip("/")
    credentials = write_credentials(folder, PROJECT, int(address.rpartition(":")[2]))
    environment = {
        **os.environ,
        **project.environment,
        "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-m", "llmstack.bootstrap", *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_prints_its_steps_and_the_variables_of_the_workflows(project, tmp_path):
    dry = run_command(project, tmp_path, PROJECT, "--repository", REPOSITORY, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert "nothing was written" in dry.stdout
    assert project.writes == []
    real = run_command(project, tmp_path, PROJECT, "--repository", REPOSITORY)
    assert (real.returncode, real.stderr) == (0, "")
    would = [line.removeprefix("would ") for line in dry.stdout.splitlines() if line.startswith("would ")]
    done = [line.removeprefix("done: ") for line in real.stdout.splitlines() if line.startswith("done: ")]
    assert would == done != []
    again = run_command(project, tmp_path, PROJECT, "--repository", REPOSITORY, "--environment", "dev")
    assert "\nnothing to do\n" in again.stdout
    for scope in ("dev", "dev-preview"):
        line = f"gh variable set GCP_PROJECT_ID --repo {REPOSITORY} --env {scope} --body {PROJECT}"
        assert line in again.stdout.splitlines()
    assert f"gh variable set GCP_PROJECT_ID --repo {REPOSITORY} --body {PROJECT}" in real.stdout


def test_the_command_gives_one_json_document(project, tmp_path):
    done = run_command(project, tmp_path, PROJECT, "--repository", REPOSITORY, "--json")
    document = json.loads(done.stdout)
    assert document["dryRun"] is False
    assert document["variables"] == {
        "GCP_PROJECT_ID": PROJECT,
        "GCP_WORKLOAD_IDENTITY_PROVIDER": (
            f"projects/{NUMBER}/locations/global/workloadIdentityPools/llmstack-github/providers/github-actions"
        ),
        "GCP_DEPLOYER_SERVICE_ACCOUNT": f"llmstack-deployer@{PROJECT}.iam.gserviceaccount.com",
        "GCP_PREVIEWER_SERVICE_ACCOUNT": f"llmstack-previewer@{PROJECT}.iam.gserviceaccount.com",
        "PULUMI_STATE_BUCKET": f"pulumi-state-{PROJECT}",
        "PULUMI_SECRETS_PROVIDER": (
            f"gcpkms://projects/{PROJECT}/locations/us-central1/keyRings/llmstack/cryptoKeys/stack-secrets"
        ),
    }


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["Wrong Project", "--repository", REPOSITORY], 2, "is no project ID"),
        ([PROJECT], 2, "give --repository OWNER/NAME"),
        (["somebody-else", "--repository", REPOSITORY], 1, "there is no project somebody-else"),
    ],
)
def test_the_command_ends_in_one_line_and_a_status(project, tmp_path, words, code, part):
    done = run_command(project, tmp_path, *words)
    assert done.returncode == code
    assert part in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_missing_credentials_name_the_command_that_gets_them(project, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    google = Google(**{**project.options(), "credentials": None})
    with pytest.raises(BootstrapError, match="gcloud auth application-default login"):
        project.run(google=google)
