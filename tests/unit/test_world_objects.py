"""Objects: atomic, checked, hostile names kept out, and what a mounted folder shows."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rehearsal.world import InvalidArgument, NotFound, PreconditionFailed, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.insert("storage.bucket", "storage.googleapis.com/buckets/b", {})
    world.objects.create_bucket("b")
    return world


def _seen(world: World) -> list[str]:
    root = world.folder / "buckets" / "b"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_an_object_is_a_file_with_the_checksums_that_google_gives(world: World) -> None:
    meta = world.objects.put("b", "models/m/config.json", b"{}", "application/json", metadata={"k": "v"})
    assert (world.folder / "buckets/b/models/m/config.json").read_bytes() == b"{}"
    crc = google_crc32c.Checksum(b"{}").digest()
    assert meta.crc32c == base64.b64encode(crc).decode()
    assert meta.md5 == base64.b64encode(hashlib.md5(b"{}").digest()).decode()
    assert world.objects.stat("b", "models/m/config.json") == meta
    assert (meta.size, meta.content_type, meta.metadata) == (2, "application/json", {"k": "v"})


def test_each_write_has_a_higher_generation(world: World) -> None:
    first = world.objects.put("b", "a", b"1")
    assert world.objects.put("b", "a", b"2").generation > first.generation


def test_zero_as_generation_writes_only_what_is_not_there(world: World) -> None:
    world.objects.put("b", "a", b"1", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        world.objects.put("b", "a", b"2", if_generation_match=0)
    assert world.objects.open("b", "a").read() == b"1"


def test_a_stale_generation_neither_writes_nor_deletes(world: World) -> None:
    stale = world.objects.put("b", "a", b"1").generation
    world.objects.put("b", "a", b"2")
    with pytest.raises(PreconditionFailed):
        world.objects.put("b", "a", b"3", if_generation_match=stale)
    with pytest.raises(PreconditionFailed):
        world.objects.delete("b", "a", if_generation_match=stale)
    assert world.objects.open("b", "a").read() == b"2"


def test_nothing_of_a_refused_write_is_left_in_the_folder(world: World) -> None:
    with pytest.raises(NotFound):
        world.objects.put("other", "a", b"1")
    world.objects.put("b", "a", b"1")
    with pytest.raises(PreconditionFailed):
        world.objects.put("b", "a", b"2", if_generation_match=7)
    assert _seen(world) == ["a"]
    assert list((world.folder / "uploads").iterdir()) == []


def test_a_file_is_copied_or_moved_as_asked(world: World, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    assert world.objects.put("b", "copy", source).size == 3_000_000
    assert source.exists()
    moved = world.objects.put("b", "moved", source, consume=True)
    assert not source.exists()
    assert moved.crc32c == world.objects.put("b", "copy", b"x" * 3_000_000).crc32c


@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/../../b", "a/.", "a\nb", "a\0b", "x" * 1025])
def test_a_name_that_leaves_the_bucket_or_confuses_it_is_refused(world: World, name: str) -> None:
    with pytest.raises(InvalidArgument):
        world.objects.put("b", name, b"1")


@pytest.mark.parametrize("bucket", ["", "..", ".hidden", "a/b"])
def test_a_bucket_name_that_leaves_the_folder_is_refused(world: World, bucket: str) -> None:
    with pytest.raises(InvalidArgument):
        world.objects.put(bucket, "a", b"1")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text(min_size=1, max_size=40))
def test_whatever_the_name_nothing_is_written_outside_the_bucket(world: World, name: str) -> None:
    try:
        world.objects.put("b", name, b"")
    except (InvalidArgument, UnicodeEncodeError):
        return
    assert world.objects.stat("b", name) is not None
    assert sorted(path.name for path in (world.folder / "buckets").iterdir()) == ["b"]
    world.objects.delete("b", name)


def test_one_objects_name_cannot_be_anothers_folder(world: World) -> None:
    world.objects.put("b", "a", b"1")
    with pytest.raises(InvalidArgument, match="folder"):
        world.objects.put("b", "a/b", b"2")


def test_a_listing_folds_what_lies_deeper(world: World) -> None:
    for name in ("a/1", "a/b/2", "a/c/3", "ab"):
        world.objects.put("b", name, b"")
    found = world.objects.listing("b", "a/", "/")
    assert [meta.name for meta in found.items] == ["a/1"]
    assert found.prefixes == ["a/b/", "a/c/"]
    assert [meta.name for meta in world.objects.list("b", "a/")] == ["a/1", "a/b/2", "a/c/3"]


def test_a_file_that_somebody_removed_counts_as_deleted(world: World) -> None:
    world.objects.put("b", "a", b"1")
    (world.folder / "buckets/b/a").unlink()
    assert world.objects.stat("b", "a") is None
    assert world.objects.list("b") == []
    assert not world.objects.delete("b", "a")
    world.objects.put("b", "a", b"2", if_generation_match=0)


def test_deleting_the_last_object_removes_the_empty_folders_but_not_the_bucket(world: World) -> None:
    world.objects.put("b", "a/b/c", b"1")
    assert world.objects.delete("b", "a/b/c")
    assert list((world.folder / "buckets").rglob("*")) == [world.folder / "buckets/b"]


def test_an_open_object_survives_being_overwritten(world: World) -> None:
    world.objects.put("b", "a", b"old")
    with world.objects.open("b", "a") as file:
        world.objects.put("b", "a", b"new")
        assert file.read() == b"old"
