"""Runs a format's plan on a folder, without the command around it."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from weights.checkpoint import read_checkpoint
from weights.files import SourceFile
from weights.manifest import Request
from weights.output import OutputFile
from weights.reader import SourceReader
from weights.tensors import Checkpoint

# Interpreters that have the real consumers: what one lacks, the other may have.
CONSUMERS = [
    Path(
        os.environ.get("WEIGHTS_CONSUMERS", Path(__file__).parents[2] / "serve" / ".venv" / "bin" / "python")
    ),
    *(Path(each) for each in (os.environ.get("WEIGHTS_CONSUMERS_MORE"),) if each),
]


@cache
def consumer(needs: str) -> Path | None:
    """The first interpreter that has a module."""
    script = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({needs!r}) is None)"
    for python in CONSUMERS:
        if python.exists() and not subprocess.run([python, "-c", script], check=False).returncode:
            return python
    return None


def consume(script: str, *arguments: str | Path, needs: str = "torch") -> str:
    """Run a script with the real consumers' interpreter, and give what it prints.

    Without them the test is skipped, but in CI it fails.
    """
    python = consumer(needs)
    if python is None:
        places = ", ".join(map(str, CONSUMERS))
        why = f"no {needs} in {places}: name an interpreter in WEIGHTS_CONSUMERS or WEIGHTS_CONSUMERS_MORE"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return _host(python).run(script, [str(each) for each in arguments])


class _Host:
    """A process that has imported the consumers, which takes seconds, and runs script after script."""

    def __init__(self, python: Path) -> None:
        self._environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._folder = TemporaryDirectory(prefix="consumers-")
        # It ends when this process does, however that ends: its input is closed then.
        self._process = subprocess.Popen(
            [python, "-W", "ignore", Path(__file__).parent / "consumers" / "host.py"],
            env={**os.environ, **self._environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, arguments: list[str]) -> str:
        output, errors = (Path(self._folder.name) / name for name in ("output", "errors"))
        for path in (output, errors):
            path.unlink(missing_ok=True)
        job = {
            "script": script,
            "arguments": arguments,
            "environment": {**os.environ, **self._environment},
            "output": str(output),
            "errors": str(errors),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        status = self._process.stdout.readline().strip()
        assert status == "0", errors.read_text()[-3000:] if errors.exists() else f"ended with {status!r}"
        return output.read_text()


@cache
def _host(python: Path) -> _Host:
    return _Host(python)


class FolderSource:
    """A folder as a source that counts what is read of it."""

    def __init__(self, folder: Path) -> None:
        self.title = str(folder)
        self._folder = folder
        self.given = 0

    def files(self) -> list[SourceFile]:
        names = sorted(
            path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file()
        )
        return [self.identify(SourceFile(name, (self._folder / name).stat().st_size, None)) for name in names]

    def identify(self, file: SourceFile) -> SourceFile:
        content = (self._folder / file.name).read_bytes()
        return SourceFile(file.name, len(content), hashlib.sha256(content).hexdigest())

    def read(self, file: SourceFile, start: int, length: int) -> bytearray:
        with (self._folder / file.name).open("rb") as opened:
            opened.seek(start)
            content = bytearray(opened.read(length))
        assert len(content) == length
        self.given += length
        return content

    def settle(self) -> None:
        pass


def open_checkpoint(folder: Path) -> tuple[FolderSource, Checkpoint]:
    """Read a folder's headers and configuration."""
    source = FolderSource(folder)
    files = source.files()
    config = json.loads((folder / "config.json").read_text())
    tensors = read_checkpoint(source, files)
    small = lambda name: (folder / name).read_bytes()  # noqa: E731 - one expression
    return source, Checkpoint(tensors, config, {file.name: file for file in files}, small)


def write(outputs: list[OutputFile], source: FolderSource, target: Path) -> None:
    """Write planned files, each as long as planned, and see that the source passes its verification."""
    with ThreadPoolExecutor(2) as pool:
        reader = SourceReader(source, pool, lambda _tensor, _count: None)
        for output in outputs:
            content = b"".join(bytes(part) for segment in output.segments for part in segment.parts(reader))
            assert len(content) == output.size
            (target / output.name).parent.mkdir(parents=True, exist_ok=True)
            (target / output.name).write_bytes(content)
        reader.verify()
        reader.close()


Plan = Callable[[Checkpoint, Request], list[OutputFile]]


def convert(plan: Plan, folder: Path, target: Path, dtype: str, name: str = "any") -> FolderSource:
    """Plan and write."""
    source, checkpoint = open_checkpoint(folder)
    write(plan(checkpoint, Request("acme/tiny", "0" * 40, name, dtype)), source, target)
    return source
