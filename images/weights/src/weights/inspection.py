"""Looking at what is staged: listing it, and reading all of it again."""

from concurrent.futures import ThreadPoolExecutor

from weights.contract import contract
from weights.errors import Failure
from weights.files import CONNECTIONS, Source
from weights.manifest import Manifest, read_manifest
from weights.progress import Progress
from weights.reader import SourceReader
from weights.target import Target


def verify_model(source: Source, manifest: Manifest, progress: Progress) -> None:
    """Read every file of a staged model, and compare sizes and digests with the manifest and the store.

    Args:
        source: The place, opened as a source; the files it gives are those of the manifest.
        manifest: Its manifest.
        progress: Told of bytes read.

    Raises:
        Failure: ``integrity`` for the first file that differs.
    """
    files = sorted(source.files(), key=lambda file: file.name)
    total = sum(file.size for file in files)
    progress.expect(total)
    pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="read")
    reader = SourceReader(source, pool, lambda _tensor, _elements: None)
    try:
        for file in files:
            for part in reader.parts(file, 0, file.size):
                progress.add(len(part))
            reader.verify()
        source.settle()
    finally:
        reader.close()
        pool.shutdown(wait=False, cancel_futures=True)
    progress.say(
        f"{source.title} is whole: {manifest.repository} at {manifest.revision}, {manifest.format} "
        f"{manifest.dtype}, {len(files)} files",
        "NOTICE",
        bytes=total,
        total=total,
    )


def list_models(target: Target, progress: Progress) -> None:
    """Say what every manifest at or below a place describes, and its files if there is but one.

    Raises:
        Failure: ``not_found``, if there is none.
    """
    sizes = target.sizes()
    suffix = "/" + contract().manifest_name
    folders = [name.removesuffix(suffix[1:]) for name in sizes if f"/{name}".endswith(suffix)]
    if not folders:
        raise Failure("not_found", f"there is no staged model at or below {target.title}")
    for folder in sorted(folders):
        content = target.read(folder + contract().manifest_name)
        manifest = read_manifest(content) if content is not None else None
        place = f"{target.title}/{folder}".rstrip("/")
        if manifest is None:
            progress.warn(f"{place} has a manifest that cannot be read")
            continue
        below = {name.removeprefix(folder): size for name, size in sizes.items() if name.startswith(folder)}
        _say_model(place, manifest, below, progress)
        for file in manifest.files if len(folders) == 1 else []:
            progress.say(
                f"{file.size:>15} {file.sha256} {file.name}",
                name=file.name,
                size=file.size,
                sha256=file.sha256,
            )


def _say_model(place: str, manifest: Manifest, sizes: dict[str, int], progress: Progress) -> None:
    complete = manifest.fits(sizes)
    total = sum(file.size for file in manifest.files)
    state = "complete" if complete else "INCOMPLETE"
    progress.say(
        f"{place}: {manifest.repository} at {manifest.revision}, {manifest.format} {manifest.dtype}, "
        f"{len(manifest.files)} files, {total} bytes, {state}",
        "INFO" if complete else "WARNING",
        complete=complete,
        bytes=total,
    )
