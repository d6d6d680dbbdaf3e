"""The places that can give the Pulumi engine: a `pulumi` on PATH, the official release, a build from source.

Each is a function that fills a folder with the engine's programs and returns the version, or raises
`Unavailable`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

VERSION = "3.250.0"
MINIMUM = "3.220.0"
SDK = "github.com/pulumi/pulumi/sdk/v3"
CLI = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
LANGUAGE_HOST_VERSION = "3.70.0"
LANGUAGE_HOST = f"{SDK}/python/cmd/pulumi-language-python"
RELEASES = "https://get.pulumi.com/releases/sdk"
# An older `go` cannot fetch the toolchain that tools/*/go.mod name; from 1.21 on it does so by itself.
MINIMUM_GO = (1, 21)
CONNECT_SECONDS = 3.0
READ_SECONDS = 60.0
PROGRESS_SECONDS = 10.0
HEADERS = {"User-Agent": "llmstack-install-engine"}

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / ".engine"
PROGRAMS = (
    "pulumi",
    "pulumi-language-python",
    "pulumi-language-python-exec",
    "pulumi-resource-pulumi-python",
)


class Unavailable(Exception):
    """This place cannot give the engine on this machine; the text says why."""


def say(text: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {text}", flush=True)


def number(version: str) -> tuple[int, ...]:
    """Turns `v3.250.0-alpha` into a tuple that compares; text without a version compares lowest."""
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    return tuple(int(part) for part in match.groups()) if match else ()


def version_of(pulumi: Path) -> str:
    """Asks a pulumi command for its version, without the leading v; empty when it does not answer."""
    env = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        answer = subprocess.run([pulumi, "version"], env=env, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip().removeprefix("v") if answer.returncode == 0 else ""


# --- 1. a pulumi on PATH --------------------------------------------------------------------------


def from_path(folder: Path) -> str:
    """Links the programs of a pulumi that is on PATH already."""
    found = [Path(entry) / "pulumi" for entry in os.get_exec_path() if (Path(entry) / "pulumi").is_file()]
    # .engine/bin itself may be on PATH: linking it to itself would leave nothing.
    outside = [path for path in found if not path.resolve().is_relative_to(ENGINE)]
    if not outside:
        raise Unavailable("no pulumi on PATH")
    home = outside[0].resolve().parent
    version = version_of(outside[0])
    if number(version) < number(MINIMUM):
        raise Unavailable(f"{outside[0]} is version {version or 'unknown'}, at least {MINIMUM} is needed")
    missing = [program for program in PROGRAMS if not (home / program).is_file()]
    if missing:
        raise Unavailable(f"{outside[0]} has no {', '.join(missing)} beside it")
    for program in home.glob("pulumi*"):
        (folder / program.name).symlink_to(program)
    return version


# --- 2. the official release ----------------------------------------------------------------------


def open_url(url: str) -> IO[bytes]:
    """Opens a download; a host that cannot be reached within seconds is Unavailable.

    Name resolution obeys no timeout of Python's, so the connection is made in a thread that can be given up.
    """
    outcome: list[IO[bytes] | Exception] = []

    def connect() -> None:
        try:
            probe = urllib.request.Request(url, method="HEAD", headers=HEADERS)
            urllib.request.urlopen(probe, timeout=CONNECT_SECONDS).close()
            download = urllib.request.Request(url, headers=HEADERS)
            outcome.append(urllib.request.urlopen(download, timeout=READ_SECONDS))
        except (OSError, ValueError) as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS * 2)
    if not outcome:
        raise Unavailable(f"{url} does not answer within {CONNECT_SECONDS * 2:.0f} s")
    if isinstance(outcome[0], Exception):
        raise Unavailable(f"{url}: {getattr(outcome[0], 'reason', outcome[0])}")
    return outcome[0]


def release_name() -> str:
    """The file name of the pinned release for this system and processor."""
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system())
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    if system is None or machine is None:
        raise Unavailable(f"no official release for {platform.system()} on {platform.machine()}")
    return f"pulumi-v{VERSION}-{system}-{machine}.tar.gz"


def published_sha256(name: str) -> str | None:
    """The sha256 that Pulumi publishes for a release file; None when the list cannot be had."""
    try:
        with open_url(f"{RELEASES}/pulumi-{VERSION}-checksums.txt") as answer:
            lines = answer.read().decode().splitlines()
    except Unavailable as reason:
        say(f"the published checksums are not available, the download rests on TLS alone ({reason})")
        return None
    sums = {words[1].lstrip("*"): words[0] for words in map(str.split, lines) if len(words) == 2}
    return sums.get(name)


def download(url: str, target: Path) -> str:
    """Fetches a file, telling how far it is; returns its sha256."""
    digest, done = hashlib.sha256(), 0
    started = told = time.monotonic()
    with open_url(url) as answer, target.open("wb") as file:
        say(f"downloading {url}")
        while block := answer.read(1 << 20):
            file.write(block)
            digest.update(block)
            done += len(block)
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                say(f"{done >> 20} MiB after {told - started:.0f} s")
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Takes the programs out of a release: regular files only, by their last name."""
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            program = folder / Path(member.name).name
            with content, program.open("wb") as file:
                shutil.copyfileobj(content, file)
            program.chmod(0o755)


def from_official(folder: Path) -> str:
    """Downloads, checks and unpacks the pinned official release."""
    name = release_name()
    archive = folder / name
    try:
        digest, expected = download(f"{RELEASES}/{name}", archive), published_sha256(name)
        if expected is not None and digest != expected:
            raise Unavailable(f"{name} has sha256 {digest}, the published one is {expected}")
        unpack(archive, folder)
    except (OSError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        raise Unavailable(f"the download of {name} broke: {error}") from error
    archive.unlink()
    return VERSION


# --- 3. a build from the Go module proxy ----------------------------------------------------------


def find_go() -> str:
    """The go command, new enough to fetch the toolchain that the pinned modules ask for."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise Unavailable("no go on PATH")
    answer = subprocess.run([go, "version"], capture_output=True, text=True).stdout
    match = re.search(r"go(\d+)\.(\d+)", answer)
    found = (int(match[1]), int(match[2])) if match else (0, 0)
    if found < MINIMUM_GO:
        raise Unavailable(
            f"{go} is version {found[0]}.{found[1]}, at least {MINIMUM_GO[0]}.{MINIMUM_GO[1]} is needed"
        )
    return go


def run_with_progress(command: list[str], cwd: Path, what: str) -> None:
    """Runs a go command that names a package per line, and tells how far it is every ten seconds."""
    started, lines = time.monotonic(), list[str]()
    # A signal that came before the `try` below would leave a compiler that nobody stops: it waits until then.
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, heard),
    )
    assert process.stderr is not None
    reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        reader.start()
        while True:
            try:
                process.wait(PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                fetched = sum(line.startswith("go: downloading") for line in lines)
                say(f"{what}: {time.monotonic() - started:.0f} s, {fetched} modules fetched, "
                    f"{len(lines) - fetched} packages compiled")  # fmt: skip
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    reader.join(5)
    if process.returncode != 0:
        tail = "".join(lines[-8:]).strip()
        raise Unavailable(f"building {what} failed:\n{tail}")
    say(f"{what}: done in {time.monotonic() - started:.0f} s")


def module_folder(go: str, version: str) -> Path:
    """Where the Go module cache holds the SDK at a version; fetches it if it is not there."""
    command = [go, "mod", "download", "-json", f"{SDK}@v{version}"]
    answer = subprocess.run(command, cwd=ROOT / "tools/pulumi", capture_output=True, text=True)
    facts = json.loads(answer.stdout or "{}")
    if "Dir" not in facts:
        raise Unavailable(
            f"the Go module {SDK} v{version} cannot be fetched: {facts.get('Error', answer.stderr)}"
        )
    return Path(facts["Dir"])


def from_build(folder: Path) -> str:
    """Builds the command and its Python language host, and adds the scripts that belong to them."""
    go = find_go()
    say(
        f"building Pulumi {VERSION} from its Go modules; the first time takes about five minutes on two cores"
    )
    new, old = module_folder(go, VERSION), module_folder(go, LANGUAGE_HOST_VERSION)
    builds = [("pulumi", CLI, VERSION), ("pulumi-language-python", LANGUAGE_HOST, LANGUAGE_HOST_VERSION)]
    for name, package, version in builds:
        stamp = f"-s -w -X {SDK}/go/common/version.Version=v{version}"
        tools = ROOT / "tools" / name.removeprefix("pulumi-")
        run_with_progress(
            [go, "build", "-v", "-ldflags", stamp, "-o", str(folder / name), package],
            tools,
            f"{name} {version}",
        )
    scripts = [
        new / "python/cmd/pulumi-language-python-exec",
        new / "python/dist/pulumi-resource-pulumi-python",
        old / "python/dist/pulumi-analyzer-policy-python",
    ]
    for script in scripts:
        shutil.copyfile(script, folder / script.name)
        (folder / script.name).chmod(0o755)
    return VERSION


PLACES: dict[str, Callable[[Path], str]] = {"path": from_path, "official": from_official, "build": from_build}
