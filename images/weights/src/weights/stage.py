"""Staging: from a source into a target, file by file, the manifest last."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from weights.body import Body
from weights.contract import contract
from weights.errors import Failure
from weights.files import CONNECTIONS, Source
from weights.formats import FORMATS
from weights.manifest import Manifest, ManifestFile, Request, new_manifest, read_manifest
from weights.output import OutputFile
from weights.progress import Progress
from weights.reader import SourceReader
from weights.target import Target
from weights.tensors import Checkpoint


class Staging:
    """One run.

    Args:
        request: What is to be staged.
        source: Opens where it comes from; called only if something has to be fetched.
        target: Where it goes.
        progress: Told what happens.
    """

    def __init__(
        self,
        request: Request,
        source: Callable[[], tuple[Source, Checkpoint]],
        target: Target,
        progress: Progress,
    ) -> None:
        self._request = request
        self._open_source = source
        self._target = target
        self._progress = progress
        self._manifest = contract().manifest_name

    def run(self) -> None:
        """Stage the model, or find that it is staged.

        Raises:
            Failure: With the outcome as its kind.
        """
        if self._staged(self._target.sizes()):
            self._target.tidy()
            return
        source, checkpoint = self._open_source()
        outputs = FORMATS[self._request.format].plan(checkpoint, self._request)
        with self._target.exclusive():
            sizes = self._target.sizes()
            if self._staged(sizes):
                return
            self._withdraw(sizes, outputs)
            files = self._write_all(source, checkpoint, outputs)
            source.settle()
            self._publish(outputs, files)

    def _staged(self, sizes: dict[str, int]) -> bool:
        """Whether the target holds what is asked for, by its manifest and the sizes of what it lists."""
        found = self._read_manifest(sizes)
        if found is None or not found.answers(self._request) or not found.fits(sizes):
            return False
        self._progress.say(f"{self._target.title} is staged already: nothing to do")
        return True

    def _read_manifest(self, sizes: dict[str, int]) -> Manifest | None:
        content = self._target.read(self._manifest) if self._manifest in sizes else None
        return read_manifest(content) if content is not None else None

    def _withdraw(self, sizes: dict[str, int], outputs: Sequence[OutputFile]) -> None:
        """Take a stale manifest away before anything that it lists changes, then what only it listed.

        And what an interrupted run for something else left: a reader may take it for a part of this model.
        """
        wanted = {output.name for output in outputs}
        if self._manifest in sizes:
            self._withdraw_manifest(sizes, wanted)
        self._target.remove(self._target.leftovers(wanted))

    def _withdraw_manifest(self, sizes: dict[str, int], wanted: set[str]) -> None:
        self._progress.warn(
            f"the manifest in {self._target.title} does not describe what is there: staging again"
        )
        found = self._read_manifest(sizes)
        self._target.remove([self._manifest])
        listed = [file.name for file in found.files] if found is not None else []
        self._target.remove(name for name in listed if name in sizes and name not in wanted)

    def _write_all(
        self, source: Source, checkpoint: Checkpoint, outputs: Sequence[OutputFile]
    ) -> list[ManifestFile]:
        self._progress.expect(sum(output.size for output in outputs))
        pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="read")
        overflows: dict[str, int] = {}
        reader = SourceReader(source, pool, overflows.__setitem__, checkpoint.previewed)
        try:
            files = []
            for output in outputs:
                files.append(self._write(output, reader))
                self._warn_of(output, overflows)
            return files
        finally:
            reader.close()
            # Without waiting: on SIGTERM a thread may sit in a read from a silent server.
            pool.shutdown(wait=False, cancel_futures=True)

    def _write(self, output: OutputFile, reader: SourceReader) -> ManifestFile:
        """Bring one file into the target, unless it is there complete."""
        sha256 = self._target.finished(output)
        if sha256 is not None:
            self._progress.drop(output.size)
            self._progress.say(f"{output.name} is there already")
        else:
            sha256 = self._target.write(Body(output, reader))
        return ManifestFile(output.name, output.size, sha256)

    def _warn_of(self, output: OutputFile, overflows: dict[str, int]) -> None:
        if overflows:
            count = sum(overflows.values())
            self._progress.warn(
                f"{output.name}: {count} elements of {len(overflows)} tensors are beyond the range of "
                f"{self._request.dtype} and became infinite, first in {next(iter(overflows))}; "
                "float32 keeps them, and bfloat16 nearly always",
                overflows=count,
            )
            overflows.clear()

    def _publish(self, outputs: Sequence[OutputFile], files: list[ManifestFile]) -> None:
        """Write the manifest between two looks at everything that it lists: others may be replacing it."""
        self._look(outputs, files)
        manifest = new_manifest(self._request, files)
        if self._target.publish(self._manifest, manifest.encode()):
            try:
                self._look(outputs, files)
            except Failure:
                self._target.remove([self._manifest])
                raise
        else:
            self._accept_other(outputs, files)
        size = sum(file.size for file in files)
        self._progress.say(
            f"{self._request.repository} is staged in {self._target.title}", "NOTICE", bytes=size, total=size
        )

    def _look(self, outputs: Sequence[OutputFile], files: list[ManifestFile]) -> None:
        self._target.sizes()
        for output, file in zip(outputs, files, strict=True):
            if not self._target.holds(output, file.sha256):
                raise Failure(
                    "unavailable",
                    f"{self._target.title}/{file.name} was changed or deleted meanwhile; run this again",
                )

    def _accept_other(self, outputs: Sequence[OutputFile], files: list[ManifestFile]) -> None:
        """Another run has written a manifest: right if it is of the same model.

        Else it may describe files that this run has replaced since, and then it goes.
        """
        sizes = self._target.sizes()
        found = self._read_manifest(sizes)
        if found is not None and found.answers(self._request) and found.fits(sizes):
            return
        ours = {
            file.name: file.sha256
            for output, file in zip(outputs, files, strict=True)
            if self._target.holds(output, file.sha256)
        }
        if found is not None and any(ours.get(file.name, file.sha256) != file.sha256 for file in found.files):
            self._target.remove([self._manifest])
        raise Failure(
            "unavailable",
            f"another run is staging something else into {self._target.title}; wait for its end and run this "
            "again, or choose another target",
        )
