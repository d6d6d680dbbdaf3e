"""Where a staged model goes: what staging needs of a bucket's prefix and of a folder alike."""

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from weights.body import Body
from weights.output import OutputFile


class Target(Protocol):
    """A place for one model, used from one thread."""

    @property
    def title(self) -> str:
        """What messages call it."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Within this, writing is safe from other runs; refused or waited for, as the place allows."""

    def tidy(self) -> None:
        """Remove what a run left that was killed after the manifest; called when the model is complete."""

    def sizes(self) -> dict[str, int]:
        """All files, by their name below the target, with their bytes."""

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None if there is none (any more)."""

    def remove(self, names: Iterable[str]) -> None:
        """Delete files; fine if they have gone."""

    def leftovers(self, names: Collection[str]) -> list[str]:
        """Files here that are not among these, and that a run for something else finished and left."""

    def finished(self, output: OutputFile) -> str | None:
        """The sha256 of the file if it is there complete, as this output or an equal one made it."""

    def holds(self, output: OutputFile, sha256: str, /) -> bool:
        """Whether, when ``sizes`` was called last, this file was still there as it was written."""

    def write(self, body: Body) -> str:
        """Write a file so that it is there complete or not at all.

        Returns:
            Its sha256.

        Raises:
            Failure: ``unavailable``, if another run put something else there.
        """

    def publish(self, name: str, content: bytes) -> bool:
        """Write the manifest; False if another run was faster."""
