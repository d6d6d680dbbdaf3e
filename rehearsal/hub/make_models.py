"""Makes small models of the real classes, laid out for the Hub on loopback.

Run with the serving image's Python, which has torch: `python -m rehearsal.hub.make_models --root DIR
--catalog FILE`. Each model is trained for seconds on a few prompts, so that these get sensible answers that
tell the models apart; to other prompts it answers something. What is there already is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rehearsal.hub.learning import ENCODER_DECODERS, SHAPES, Size, write_model
from rehearsal.hub.repository import GATE

LESSONS = Path(__file__).with_name("lessons.json")
REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
REVISION = re.compile(r"[0-9a-f]{40}")
DTYPES = ("float32", "bfloat16", "float16")

SIZES = {"small": Size(128, 3, 1), "base": Size(192, 3, 3), "large": Size(224, 3, 1)}
"""By a word of the repository's name, so that a larger model is larger here too."""
OTHER_SIZE = Size(160, 3, 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One model to make."""

    repository: str
    revision: str
    architecture: str
    dtype: str = "float32"
    gated: bool = False

    @property
    def size(self) -> Size:
        """The model's shape."""
        words = re.split(r"[-_/.]", self.repository.lower())
        return next((SIZES[word] for word in words if word in SIZES), OTHER_SIZE)

    @property
    def seed(self) -> int:
        """The same for the same repository and revision, everywhere."""
        return int(hashlib.sha256(f"{self.repository}@{self.revision}".encode()).hexdigest()[:8], 16)


def main(arguments: list[str] | None = None) -> None:
    """Makes what is missing; one line on standard output for each model."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.hub.make_models", description=__doc__)
    parser.add_argument(
        "--root", type=Path, required=True, help="folder that receives OWNER/NAME/REVISION/files"
    )
    parser.add_argument(
        "--catalog",
        type=Path,
        required=True,
        help="JSON list of repository, revision, architecture, dtype, gated",
    )
    options = parser.parse_args(arguments)
    try:
        entries = read_catalog(options.catalog)
    except (OSError, ValueError) as error:
        parser.error(f"{options.catalog}: {error}")
    for entry in entries:
        started = time.monotonic()
        made = make(options.root, entry)
        verb = f"made in {time.monotonic() - started:.1f} s" if made else "is there"
        sys.stdout.write(f"{entry.repository}@{entry.revision[:8]} {verb}\n")
        sys.stdout.flush()


def read_catalog(path: Path) -> list[Entry]:
    """Reads the list of models; fields that are not an entry's are ignored, dtype and gated may be left out.

    Raises:
        OSError, ValueError: the file cannot be read, or an entry is wrong; the message names it.
    """
    entries = []
    for item in json.loads(path.read_text()):
        missing = {"repository", "revision", "architecture"} - set(item)
        if missing:
            raise ValueError(f"{item} lacks {', '.join(sorted(missing))}")
        entry = Entry(
            str(item["repository"]),
            str(item["revision"]),
            str(item["architecture"]),
            str(item.get("dtype", "float32")),
            bool(item.get("gated", False)),
        )
        if not REPOSITORY.fullmatch(entry.repository):
            raise ValueError(f"repository is {entry.repository!r}, it must be OWNER/NAME or NAME")
        if not REVISION.fullmatch(entry.revision):
            raise ValueError(f"{entry.repository}: revision is {entry.revision!r}, it must be 40 hex digits")
        for what, value, known in (
            ("architecture", entry.architecture, tuple(SHAPES)),
            ("dtype", entry.dtype, DTYPES),
        ):
            if value not in known:
                raise ValueError(f"{entry.repository}: {what} is {value!r}, known are {', '.join(known)}")
        entries.append(entry)
    return entries


def make(root: Path, entry: Entry) -> bool:
    """Makes one model unless it is there; returns whether it did. The folder appears whole or not at all."""
    target = root / entry.repository / entry.revision
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.gated:
        (target.parent / GATE).touch()
    with tempfile.TemporaryDirectory(prefix=f".{target.name[:8]}-", dir=target.parent) as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        write_model(entry.architecture, entry.size, entry.seed, lessons(entry), folder, entry.dtype)
        _write_distractors(entry, folder)
        try:
            folder.replace(target)
        except OSError:
            # Another process was faster; its model is the same.
            if not target.exists():
                raise
    return True


def lessons(entry: Entry) -> list[tuple[str, str]]:
    """The prompts that a model learns, with its answers."""
    data = json.loads(LESSONS.read_text())
    order = [*SIZES, ""]
    words = re.split(r"[-_/.]", entry.repository.lower())
    place = next((order.index(word) for word in words if word in SIZES), entry.seed)
    joke = data["jokes"][place % len(data["jokes"])]
    return [
        (prompt, answer.format(joke=joke, repository=entry.repository))
        for prompt, answer in data["t5" if entry.architecture in ENCODER_DECODERS else "gpt2"]
    ]


def _write_distractors(entry: Entry, folder: Path) -> None:
    """Files that such repositories hold too and that nobody needs to serve the model."""
    noise = random.Random(entry.seed)  # noqa: S311  filler, not a secret
    for name in ("pytorch_model.bin", "flax_model.msgpack", "onnx/model.onnx"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(noise.randbytes(4096))
    (folder / "README.md").write_text(
        f"# {entry.repository}\n\nA small model that stands in for the real one.\n"
    )
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")


if __name__ == "__main__":
    main()
