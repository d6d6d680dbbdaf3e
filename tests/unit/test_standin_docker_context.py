"""Which files belong to a build context."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rehearsal.standins.docker_context import files


@pytest.mark.parametrize(
    ("exception", "kept"),
    [("!a/b", {"a/b/f"}), ("!a/b/f", {"a/b/f"}), ("!*/c", {"a/c", "d/c"}), ("!**/f", {"a/b/f", "d/e/f"})],
)
def test_an_exception_reaches_into_folders_that_are_left_out(
    tmp_path: Path, exception: str, kept: set[str]
) -> None:
    for name in ("a/b/f", "a/c", "a/x/y", "d/c", "d/e/f", "Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("FROM scratch\n")
    (tmp_path / ".dockerignore").write_text(f"*\n{exception}\n")
    found = {path.relative_to(tmp_path).as_posix() for path in files(tmp_path, tmp_path / "Dockerfile")}
    assert found == kept


def test_a_folder_that_no_exception_reaches_is_not_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".venv/lib").mkdir(parents=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.py").write_text("")
    (tmp_path / ".dockerignore").write_text("*\n!src\n")
    walked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (walked.append(Path(path).name), scandir(path))[1])
    found = list(files(tmp_path, tmp_path / "Dockerfile"))
    assert [path.name for path in found] == ["main.py"]
    assert ".venv" not in walked
    assert "src" in walked
