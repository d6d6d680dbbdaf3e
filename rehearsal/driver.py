"""Prepares a rehearsal of a stack and says how to work in it.

A stack whose environment is `local` exists only in the rehearsed cloud and is worked on where it is. Any
other stack is meant for Google Cloud: a copy of its stack file is rehearsed, the original is never touched.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rehearsal import driver_cluster, driver_hub, driver_processes, driver_stack
from rehearsal.cloud.client import CloudError, ensure_running
from rehearsal.cloud.process import PORT_SETTING, PROJECT_SETTING
from rehearsal.cloud.service_unit import free_port
from rehearsal.cloud.tokens import write_credentials
from rehearsal.detached import locked
from rehearsal.driver_errors import RehearsalError
from rehearsal.world import World

__all__ = ["PASSPHRASE", "Rehearsal", "RehearsalError"]

PASSPHRASE = "rehearsal"  # noqa: S105 - guards nothing: a rehearsed state holds no real secret
_OVERRIDDEN = ("RUN", "AIPLATFORM", "STORAGE", "IAMCREDENTIALS", "SECRETMANAGER", "ARTIFACTREGISTRY")
_LOCAL_ENVIRONMENT = "local"
_LOCK = "driver.lock"
_PREPARE_LOCK = "prepare.lock"
# What destroy leaves at Google too: the project, APIs, which are never disabled, Google's own accounts, and
# the lists of custom jobs and operations.
_LASTING = {
    *("project", "serviceusage.service", "iam.serviceAgent"),
    *("aiplatform.customJob", "aiplatform.operation"),
}


class Rehearsal:
    """One stack in its own rehearsed cloud.

    Args:
        root: the checkout.
        stack: name of the stack; `Pulumi.<stack>.yaml` must exist.
        folder: where the rehearsal lives; `<root>/.rehearsal/<stack>` by default.
        copy: work on a copy of the stack file even where the stack lives in the rehearsed cloud.
    """

    def __init__(self, root: Path, stack: str, folder: Path | None = None, *, copy: bool = False) -> None:
        self.root = root.resolve()
        self.stack = stack
        self.folder = (folder or self.root / ".rehearsal" / stack).resolve()
        self._copy = copy
        self._source = self.root / f"Pulumi.{stack}.yaml"

    @property
    def lives_here(self) -> bool:
        """Whether the stack exists in the rehearsed cloud only."""
        config = driver_stack.read_config(self._source) if self._source.is_file() else {}
        return config.get("llm:environment") == _LOCAL_ENVIRONMENT

    @property
    def workdir(self) -> Path:
        """Where to run `pulumi`: the checkout, or the folder of the copy."""
        return self.folder / "project" if self._copy or not self.lives_here else self.root

    def prepare(self) -> None:
        """Make what is missing, from the folder to the stack file's copy, and start the cloud process.

        Where the stack has a cluster, its control plane is started too. Both end by themselves when there is
        nothing to do, so call this before every use.

        Raises:
            RehearsalError: the stack file cannot be read, or one of the processes does not start.
        """
        with self._one_at_a_time():
            self._prepare()

    def _prepare(self) -> None:
        stack_file = self.stack_file()
        project = driver_stack.project_of(self._source)
        for name in ("state", "buckets", "workloads", "pulumi-home"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        world = World(self.folder)
        world.ensure_project(project)
        world.set_setting(PROJECT_SETTING, project)
        if world.setting(PORT_SETTING) is None:
            world.set_setting(PORT_SETTING, str(free_port()))
        write_credentials(self.folder, project, self._port(world))
        world.close()
        try:
            ensure_running(self.folder)
        except CloudError as error:
            raise RehearsalError(str(error)) from None
        driver_cluster.prepare(self.folder, stack_file)

    def stack_file(self) -> Path:
        """The stack file that `pulumi` works on, copied first where the original must not be touched.

        Raises:
            RehearsalError: there is no such stack file, or it cannot be read.
        """
        if not self._source.is_file():
            raise RehearsalError(f"there is no stack '{self.stack}': {self._source} does not exist")
        if self.workdir == self.root:
            return self._source
        return driver_stack.copy_project(self.root, self._source, self.workdir)

    def environment(self) -> dict[str, str]:
        """The variables that make `pulumi`, our provider and Google's clients work in the rehearsal.

        They go on top of the caller's own environment; only PATH contains what the caller's PATH has.

        Raises:
            RehearsalError: there is no engine, or `prepare` has not been called.
        """
        if not (self.folder / "adc.json").exists():
            raise RehearsalError(f"{self.folder} is not prepared: run `llmstack env {self.stack}` first")
        world = World(self.folder)
        address = f"http://127.0.0.1:{self._port(world)}"
        world.close()
        trust = self.folder / driver_cluster.TRUST
        overrides = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": f"{address}/" for api in _OVERRIDDEN}
        return {
            "PATH": self._path(),
            "LLMSTACK_REHEARSAL": str(self.folder),
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_HOME": str(self.folder / "pulumi-home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_IGNORE_AMBIENT_PLUGINS": "false",
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.folder / "adc.json"),
            "STORAGE_EMULATOR_HOST": address,
            **({"SSL_CERT_FILE": str(trust)} if trust.exists() else {}),
            **overrides,
        }

    def shell(self) -> str:
        """`environment` as lines for `eval` in a shell, which also changes to the copy where there is one."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self.environment().items()]
        if self.workdir != self.root:
            lines.append(f"cd {shlex.quote(str(self.workdir))}")
        return "\n".join(lines)

    def ensure_stack(self) -> None:
        """Select the stack in the rehearsal's own state, made first if it is not there.

        Raises:
            RehearsalError: the engine refuses.
        """
        pulumi = str(self.engine_bin() / "pulumi")
        with self._one_at_a_time():
            done = subprocess.run(
                [pulumi, "stack", "select", "--create", "--non-interactive", self.stack],
                cwd=self.workdir,
                env={**os.environ, **self.environment()},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise RehearsalError(f"pulumi stack select {self.stack}: {(done.stderr or done.stdout).strip()}")

    def engine_bin(self) -> Path:
        """The folder of the `pulumi` program: the checkout's own, else the one on PATH.

        Raises:
            RehearsalError: there is none.
        """
        installed = self.root / ".engine" / "bin"
        if (installed / "pulumi").exists():
            return installed
        found = shutil.which("pulumi")
        if found is None:
            raise RehearsalError("there is no Pulumi engine: run `make setup` to install it into .engine/")
        return Path(found).parent

    def engine_root(self) -> Path:
        """The folder above `engine_bin`, as the Automation API wants it."""
        return self.engine_bin().parent

    def hub(self, *, real: bool | None = None) -> str:
        """The Hub that staging jobs read, made ready first; returns its address.

        Args:
            real: whether to use huggingface.co; None: if it answers within three seconds.

        Raises:
            RehearsalError: the models of the loopback Hub cannot be made, or the stack file cannot be read.
        """
        with self._one_at_a_time():
            return driver_hub.choose(self.root, self.folder, real, self.stack_file())

    def executions(self) -> int:
        """How many job executions there have been: of Cloud Run jobs that still exist, and custom jobs."""
        world = World(self.folder)
        count = len(world.list("run.execution")) + len(world.list("aiplatform.customJob"))
        world.close()
        return count

    def down(self) -> None:
        """Stop every process of the rehearsal; world and state stay."""
        driver_cluster.stop(self.folder)
        driver_processes.stop_all(self.folder)
        driver_hub.stop(self.folder)

    def forget(self) -> None:
        """Stop every process and remove world and state; the copy of the stack file goes too."""
        self.down()
        for path in self.folder.iterdir():
            # Whoever holds a lock goes on holding it.
            if path.name not in (_LOCK, _PREPARE_LOCK):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def leftovers(self) -> list[str]:
        """What there still is: resources of the world, objects of buckets, living processes."""
        if not self.folder.is_dir():
            return []
        world = World(self.folder)
        resources = [record.name for record in world.list() if record.kind not in _LASTING]
        world.close()
        files = (path for path in (self.folder / "buckets").glob("**/*") if path.is_file())
        objects = [f"object {path.relative_to(self.folder / 'buckets')}" for path in files]
        return [*resources, *objects, *driver_processes.living(self.folder)]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the rehearsal alone.

        Raises:
            RehearsalError: another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another process works in {self.folder}: wait until it has ended, or end it"
                raise RehearsalError(message) from None
            yield

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Wait for others that get this rehearsal ready: two shells may ask for it at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / _PREPARE_LOCK):
            yield

    def _port(self, world: World) -> int:
        return int(world.setting(PORT_SETTING) or 0)

    def _path(self) -> str:
        folders = (self.root / "rehearsal" / "bin", self.engine_bin(), self.root / ".venv" / "bin")
        ours = [str(folder) for folder in folders]
        rest = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part not in ours]
        return os.pathsep.join([*ours, *rest])
