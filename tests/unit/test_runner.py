"""How the runners start a container."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rehearsal.runner import Mount, StartError, WorkloadSpec, docker, dockerfile, init
from rehearsal.runner.choose import choose_runner
from rehearsal.runner.process import ProcessRunner
from rehearsal.runner.types import Image, tail


def write_dockerfile(folder: Path, text: str) -> Path:
    path = folder / "Dockerfile"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("/usr/bin/tini", "--", "python", "-m", "x"), ("python", "-m", "x")),
        (("tini", "-g", "--", "serve"), ("serve",)),
        (("dumb-init", "serve", "--", "a"), ("serve", "--", "a")),
        (("python", "--", "a"), ("python", "--", "a")),
        ((), ()),
    ],
)
def test_the_init_before_the_command_is_dropped(argv, expected):
    assert dockerfile.without_init(argv) == expected


def test_only_the_last_stage_of_a_dockerfile_counts(tmp_path):
    path = write_dockerfile(
        tmp_path,
        'FROM a AS one\nENTRYPOINT ["one"]\nENV X=1\n# CMD ["no"]\nFROM b\n'
        'ENTRYPOINT ["python", \\\n  "-m", "two"]\nCMD ["--help"]\n'
        'ENV A=1 B="two words" \\\n  PATH=/opt:$PATH HOME=/root\n',
    )
    start = dockerfile.read(path)
    assert (start.entrypoint, start.command) == (("python", "-m", "two"), ("--help",))
    assert start.env == {"A": "1", "B": "two words"}


@pytest.mark.parametrize(
    ("text", "says"), [("FROM a\nCMD python -m x\n", "exec form"), ("FROM a\n", "no ENTRYPOINT")]
)
def test_a_dockerfile_that_does_not_say_how_to_start_is_refused(tmp_path, text, says):
    with pytest.raises(StartError, match=says):
        dockerfile.read(write_dockerfile(tmp_path, text))


def spec(tmp_path: Path, program: str, **changes: object) -> WorkloadSpec:
    snapshot = tmp_path / "snapshot"
    (snapshot / "src").mkdir(parents=True)
    (snapshot / "src" / "app.py").write_text(program)
    write_dockerfile(snapshot, 'FROM a\nENTRYPOINT ["tini", "--", "python", "-m", "app"]\nCMD ["default"]\n')
    bin_folder = tmp_path / "context" / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").symlink_to(sys.executable)
    folder = tmp_path / "workloads" / "w"
    folder.mkdir(parents=True)
    fields: dict = {
        "id": "w",
        "folder": folder,
        "world": tmp_path,
        "image": Image("app", "sha256:" + "0" * 64, snapshot, tmp_path / "context"),
        "command": (),
        "args": (),
        "env": {},
    }
    return WorkloadSpec(**{**fields, **changes})


def ended(handle) -> int:
    deadline = time.monotonic() + 20
    while (code := handle.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return code


@pytest.mark.parametrize(
    ("command", "args", "printed"),
    [
        ((), (), "['default']"),
        ((), ("a", "/mnt/models/b"), "['a', '{bucket}/b']"),
        (("python", "-m", "app"), (), "[]"),
    ],
)
def test_command_and_arguments_replace_the_images_own_as_cloud_run_does(tmp_path, command, args, printed):
    bucket = tmp_path / "bucket"
    mounts = (Mount(bucket, "/mnt/models", read_only=True),)
    given = spec(tmp_path, "import sys; print(sys.argv[1:])", command=command, args=args, mounts=mounts)
    assert ended(ProcessRunner().start(given)) == 0
    assert tail(given.log) == [printed.format(bucket=bucket)]


def test_an_engine_that_the_environment_has_runs_and_one_that_it_lacks_is_refused(tmp_path):
    given = spec(tmp_path, "print('up')")
    libraries = tmp_path / "context" / ".venv" / "lib" / "python3.11" / "site-packages"
    (libraries / "ctranslate2").mkdir(parents=True)

    def with_engine(engine):
        image = dataclasses.replace(given.image, build_args={"ENGINE": engine})
        return dataclasses.replace(given, image=image)

    assert ended(ProcessRunner().start(with_engine("ctranslate2"))) == 0
    with pytest.raises(StartError, match=r"app with engine vllm: .* does not have vllm, so only a Docker"):
        ProcessRunner().start(with_engine("vllm"))


def test_a_process_is_given_four_ports_of_the_loopback_interface_that_nobody_has(tmp_path):
    program = (
        "import os, socket\nfirst = int(os.environ['LOOPBACK_PORT'])\n"
        "held = [socket.create_server(('127.0.0.1', first + n)) for n in range(4)]\nprint(first, len(held))\n"
    )
    found = set()
    for name in ("a", "b"):
        given = spec(tmp_path / name, program)
        assert ended(ProcessRunner().start(given)) == 0
        first, count = tail(given.log)[-1].split()
        assert count == "4"
        found.add(first)
    assert len(found) == 2


def test_an_exit_code_is_known_to_who_did_not_start_the_process(tmp_path):
    given = spec(tmp_path, "raise SystemExit(7)")
    handle = ProcessRunner().start(given)
    assert ended(handle) == 7
    adopted = ProcessRunner().adopt(given.folder, handle.state())
    assert adopted is not None
    assert adopted.poll() == 7


def test_sigterm_reaches_the_program_which_may_end_in_its_own_way(tmp_path):
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *rest: sys.exit(5))\nprint('up', flush=True)\ntime.sleep(60)\n"
    )
    given = spec(tmp_path, program)
    handle = ProcessRunner().start(given)
    wait_for_line(given.log, "up")
    handle.terminate(grace=20)
    assert handle.poll() == 5


def test_what_ignores_sigterm_is_killed_with_its_children(tmp_path):
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    given = spec(tmp_path, program)
    handle = ProcessRunner().start(given)
    child = int(wait_for_line(given.log, ""))
    handle.terminate(grace=0.2)
    assert handle.poll() == 128 + signal.SIGKILL
    assert not psutil.pid_exists(child)


def test_the_end_of_the_program_ends_what_it_left_behind(tmp_path):
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
    )
    given = spec(tmp_path, program)
    assert ended(ProcessRunner().start(given)) == 0
    child = int(tail(given.log)[0])
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_command_runs_in_a_container_with_its_environment_and_tells_why_it_failed(tmp_path):
    given = spec(tmp_path, "import time; print('up', flush=True); time.sleep(60)", env={"COLOUR": "red"})
    handle = ProcessRunner().start(given)
    wait_for_line(given.log, "up")
    found = "import os, sys; sys.exit(f\"{os.environ['COLOUR']} {os.getcwd()}\")"
    assert handle.execute(("python", "-c", found), 20) == "red /"
    assert handle.execute(("python", "-c", ""), 20) is None
    assert handle.execute(("python", "-c", "import time; time.sleep(60)"), 0.1) == "no end within 0.1 s"
    assert "no-such-program" in str(handle.execute(("no-such-program",), 20))
    handle.terminate(grace=0.2)
    assert handle.execute(("python", "-c", ""), 20) == "the container has ended"


def test_a_missing_environment_names_the_command_that_makes_it(tmp_path):
    given = spec(tmp_path, "")
    (tmp_path / "context" / ".venv" / "bin" / "python").unlink()
    with pytest.raises(StartError, match="make images"):
        ProcessRunner().start(given)


def test_the_init_says_when_a_command_cannot_be_executed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-S", init.__file__, str(tmp_path / "exit"), "/no/such/program"],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert "/no/such/program" in done.stderr
    assert (tmp_path / "exit").read_text() == "127"


FAKE_DOCKER = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (here / "calls").open("a") as file:
    file.write(json.dumps(words) + "\\n")
if words[0] == "run":
    given = pathlib.Path(words[words.index("--env-file") + 1])
    (here / "env").write_text(oct(given.stat().st_mode & 0o777) + "\\n" + given.read_text())
if words[:2] == ["image", "inspect"]:
    sys.exit(1)
if words[:2] == ["container", "inspect"] and "--format" in words:
    print("false 3")
"""


def test_docker_gets_mounts_and_limits_on_its_command_line_and_values_only_in_a_private_file(
    tmp_path, monkeypatch
):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(FAKE_DOCKER.format(python=sys.executable))
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    mounts = (Mount(tmp_path / "bucket", "/mnt/models", read_only=True),)
    given = spec(
        tmp_path, "", args=("--x",), env={"TOKEN": "hf_planted"}, mounts=mounts, cpu="500m", memory="1Gi"
    )
    handle = docker.DockerRunner().start(given)
    assert ended(handle) == 3
    assert handle.execute(("python", "-m", "x"), 20) is None
    calls = (folder / "calls").read_text()
    assert "hf_planted" not in calls
    assert f"{tmp_path}/bucket:/mnt/models:ro" in calls
    assert f'["exec", "--workdir", "/", "llmstack-{given.id}", "python", "-m", "x"]' in calls
    assert '"--cpus", "0.5", "--memory", "1073741824"' in calls
    assert (folder / "env").read_text().splitlines()[:2] == ["0o600", "TOKEN=hf_planted"]
    assert not (given.folder / "env").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("512Mi", 2**29), ("1.5Gi", 3 * 2**29), ("2G", 2 * 10**9), ("7", 7)]
)
def test_quantities_are_read_as_kubernetes_writes_them(text, size):
    assert docker.quantity(text) == size


def test_an_unknown_runner_is_refused_with_the_ones_there_are(monkeypatch):
    monkeypatch.setenv("LLMSTACK_RUNNER", "podman")
    with pytest.raises(StartError, match="auto, docker, process"):
        choose_runner()


def wait_for_line(log: Path, text: str) -> str:
    deadline = time.monotonic() + 20
    while True:
        lines = [line for line in tail(log) if text in line]
        if lines:
            return lines[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
