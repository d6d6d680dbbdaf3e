"""What a workflow checks before it lets the engine work on a real stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmstack.deploy.settings import ROLES, SHARED, readiness
from llmstack.deploy.work import DeployError, RealStack

CHECKOUT = Path(__file__).parents[2]
KEY = "gcpkms://projects/acme-ml-dev/locations/us-central1/keyRings/llmstack/cryptoKeys/stack-secrets"
VARIABLES = {
    "GCP_PROJECT_ID": "acme-ml-dev",
    "GCP_WORKLOAD_IDENTITY_PROVIDER": "projects/1/locations/global/workloadIdentityPools/p/providers/g",
    "GCP_DEPLOYER_SERVICE_ACCOUNT": "d@acme-ml-dev.iam.gserviceaccount.com",
    "PULUMI_STATE_BUCKET": "gs://pulumi-state-acme-ml-dev",
    "PULUMI_SECRETS_PROVIDER": KEY,
}
STACK = f"secretsprovider: {KEY}\nconfig:\n  gcp:project: acme-ml-dev\n  gcp:region: us-east4\n"
# Says what it was called with, and where the state would be.
RECORDER = (
    "#!/bin/sh\necho \"$0 $*\" >> calls\nenv | grep '^PULUMI_' >> calls\ncat > input\nexit ${STATUS:-0}\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout whose engine and Docker only write down what they are asked."""
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK)
    programs = tmp_path / ".engine/bin"
    programs.mkdir(parents=True)
    for name in ("pulumi", "docker"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    return tmp_path


def stack(root: Path, **changes: str) -> RealStack:
    return RealStack(root, "dev", {"PATH": "/usr/bin:/bin", **VARIABLES, **changes})


def test_a_stack_that_was_never_set_up_is_passed_over(root: Path) -> None:
    assert readiness("prod", "deployer", root, VARIABLES)[0] is False
    ready, said = readiness("dev", "deployer", root, {})
    assert ready is False
    assert "scripts/bootstrap" in said


def test_a_stack_of_the_rehearsed_cloud_is_passed_over(root: Path) -> None:
    (root / "Pulumi.dev.yaml").write_text(STACK + "  llm:environment: local  # nowhere else\n")
    assert readiness("dev", "deployer", root, VARIABLES) == (
        False,
        "stack dev lives in the rehearsed cloud only",
    )
    (root / "Pulumi.dev.yaml").write_text(STACK + "  llm:environment: dev # not local\n")
    assert readiness("dev", "deployer", root, VARIABLES)[0] is True


def test_a_stack_with_all_variables_is_ready_for_that_role_only(root: Path) -> None:
    assert readiness("dev", "deployer", root, VARIABLES)[0] is True
    previewer = {**VARIABLES, ROLES["previewer"]: "p@acme-ml-dev.iam.gserviceaccount.com"}
    previewer.pop(ROLES["deployer"])
    assert readiness("dev", "previewer", root, previewer)[0] is True
    with pytest.raises(ValueError, match=ROLES["deployer"]):
        readiness("dev", "deployer", root, previewer)


def test_a_stack_whose_previewer_is_left_out_has_no_preview(root: Path) -> None:
    ready, said = readiness("dev", "previewer", root, VARIABLES)
    assert ready is False
    assert ROLES["previewer"] in said
    with pytest.raises(ValueError, match=ROLES["previewer"]):
        readiness("dev", "previewer", root, {**VARIABLES, "PULUMI_STATE_BUCKET": ""})


@pytest.mark.parametrize("name", SHARED)
def test_a_missing_variable_is_named(root: Path, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        readiness("dev", "deployer", root, {**VARIABLES, name: ""})


def test_the_check_runs_without_anything_installed(root: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c"]
    program = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import llmstack.deploy.settings as s; "
    done = subprocess.run(
        [*command, program + "sys.exit(s.main(['dev', 'deployer']))"],
        cwd=root,
        env=VARIABLES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ready=true\n"), done.stderr


def test_a_stack_of_the_environments_own_project_and_key_is_accepted(root: Path) -> None:
    stack(root).check()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"GCP_PROJECT_ID": "acme-ml-prod"}, "for project acme-ml-dev, and GCP_PROJECT_ID is acme-ml-prod"),
        (
            {"PULUMI_SECRETS_PROVIDER": "gcpkms://another"},
            "pulumi stack init dev --secrets-provider gcpkms://another",
        ),
        ({"LLMSTACK_REHEARSAL": "/x"}, "works in a rehearsal"),
        ({"GCP_PROJECT_ID": "", "PULUMI_STATE_BUCKET": ""}, "not set: GCP_PROJECT_ID, PULUMI_STATE_BUCKET;"),
    ],
)
def test_the_wrong_project_key_or_shell_is_refused_with_the_remedy(
    root: Path, changes: dict[str, str], says: str
) -> None:
    with pytest.raises(DeployError) as refused:
        stack(root, **changes).check()
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"config: {a: [\n", "is not valid YAML: `llmstack plan dev` says where"),
        (b"config: \xff\n", "is not valid YAML"),
        (b"config: [a]\n", "is for project None"),
        (b"- a\n", "is for project None"),
    ],
)
def test_a_stack_file_that_is_none_is_told_in_one_line(root: Path, text: bytes, says: str) -> None:
    (root / "Pulumi.dev.yaml").write_bytes(text)
    with pytest.raises(DeployError) as refused:
        stack(root).check()
    assert says in str(refused.value)


def test_a_missing_engine_is_told_with_the_remedy(root: Path) -> None:
    (root / ".engine/bin/pulumi").unlink()
    with pytest.raises(DeployError, match="scripts/install-engine"):
        stack(root, PATH=str(root)).pulumi("up")


@pytest.mark.parametrize("bucket", ["gs://state", "state"])
def test_the_engine_works_on_the_bucket_and_ignores_the_stand_ins(root: Path, bucket: str) -> None:
    assert stack(root, PULUMI_STATE_BUCKET=bucket).pulumi("up", "--yes") is True
    calls = (root / "calls").read_text()
    assert "pulumi up --yes --stack dev --non-interactive" in calls
    assert "PULUMI_BACKEND_URL=gs://state\n" in calls
    assert "PULUMI_IGNORE_AMBIENT_PLUGINS=true\n" in calls


def test_an_engine_that_fails_is_noticed(root: Path) -> None:
    assert stack(root, STATUS="255").pulumi("up") is False


def test_docker_gets_the_token_on_its_input_and_in_no_command_line(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{root}/.engine/bin:/usr/bin:/bin")
    monkeypatch.chdir(root)
    stack(root).login_docker("ya29.secret")
    calls = (root / "calls").read_text()
    assert "https://us-east4-docker.pkg.dev" in calls
    assert "ya29" not in calls
    assert (root / "input").read_text() == "ya29.secret"
    monkeypatch.setenv("STATUS", "1")
    with pytest.raises(DeployError, match="docker login"):
        stack(root).login_docker("ya29.secret")


def test_a_failed_up_names_the_command_that_recovers(root: Path) -> None:
    for name in ("stacks", ".venv"):
        (root / name).mkdir()
    (root / "Pulumi.yaml").touch()
    program = (
        "import llmstack.deploy.__main__ as m; m._token = lambda: 'ya29.x'; "
        "m.app(['up', 'dev'], standalone_mode=True)"
    )
    environment = {
        **VARIABLES,
        "PATH": f"{root}/.engine/bin:/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT),
    }

    def up() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)

    assert up().returncode == 0
    (root / ".engine/bin/pulumi").write_text("#!/bin/sh\nexit 255\n")
    failed = up()
    assert failed.returncode == 1
    assert failed.stderr.startswith("::error::pulumi up of stack dev failed")
    assert "llmstack recover dev" in failed.stderr
