"""The world's records, settings, clock and secrets, and several processes at once."""

from __future__ import annotations

import multiprocessing
import stat
import threading
from pathlib import Path

import pytest

from rehearsal.world import AlreadyExists, NotFound, World

SERVICE = "run.googleapis.com/projects/p/locations/l/services/s"
JOB = "run.googleapis.com/projects/p/locations/l/jobs/j"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_record_is_found_again_by_another_world_on_the_same_folder(world: World, tmp_path: Path) -> None:
    world.insert("run.service", SERVICE, {"template": {"timeout": "300s"}})
    found = World(tmp_path).get(SERVICE)
    assert found is not None
    assert (found.kind, found.body, found.generation) == ("run.service", {"template": {"timeout": "300s"}}, 1)


def test_a_name_that_exists_is_never_adopted(world: World) -> None:
    world.insert("run.service", SERVICE, {"a": 1})
    with pytest.raises(AlreadyExists, match="already exists"):
        world.insert("run.service", SERVICE, {"a": 2})
    found = world.get(SERVICE)
    assert found is not None
    assert found.body == {"a": 1}


def test_put_bumps_the_generation_and_needs_a_record(world: World) -> None:
    world.insert("run.service", SERVICE, {})
    assert world.put(SERVICE, {"b": 1}).generation == 2
    with pytest.raises(NotFound):
        world.put(JOB, {})


def test_an_edit_that_fails_changes_nothing(world: World) -> None:
    world.insert("run.service", SERVICE, {"a": 1})
    with pytest.raises(ZeroDivisionError):
        world.edit(SERVICE, lambda body: {"a": body["a"] / 0})
    found = world.get(SERVICE)
    assert found is not None
    assert (found.body, found.generation) == ({"a": 1}, 1)


def test_delete_takes_children_bindings_and_payloads_and_nothing_beside(world: World) -> None:
    world.insert("run.job", JOB, {})
    world.insert("run.job", f"{JOB}2", {})
    world.insert("run.execution", f"{JOB}/executions/e", {})
    world.bind(f"{JOB}/executions/e", "roles/viewer", "user:a@b.c")
    world.secrets.put(f"{JOB}/executions/e", b"payload")
    assert world.delete(JOB)
    assert [record.name for record in world.list()] == [f"{JOB}2"]
    assert world.bindings(f"{JOB}/executions/e") == []
    assert world.secrets.get(f"{JOB}/executions/e") is None
    assert not world.delete(JOB)


def test_list_filters_by_kind_and_takes_a_prefix_literally(world: World) -> None:
    world.insert("run.service", SERVICE, {})
    world.insert("run.service", SERVICE.replace("/s", "/_s"), {})
    world.insert("run.job", JOB, {})
    assert [r.name for r in world.list("run.job")] == [JOB]
    assert [r.name for r in world.list(prefix=SERVICE.replace("services/s", "services/%"))] == []


def test_a_project_keeps_its_number_and_another_has_another(world: World) -> None:
    number = world.ensure_project("acme").body["number"]
    assert world.ensure_project("acme").body["number"] == number
    assert world.ensure_project("acme2").body["number"] != number
    assert number.isdigit()
    assert len(number) == 12


def test_the_clock_goes_forward_for_everybody(world: World, tmp_path: Path) -> None:
    before = world.now()
    world.advance(3600)
    assert World(tmp_path).now()[:13] > before[:13]


def test_a_payload_can_be_read_by_its_owner_only(world: World, tmp_path: Path) -> None:
    world.secrets.put("secretmanager.googleapis.com/projects/p/secrets/s/versions/1", b"hidden")
    (path,) = (tmp_path / "secrets").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        World(tmp_path / "nowhere")


def _count(folder: str, times: int) -> None:
    world = World(Path(folder))
    for _ in range(times):
        world.edit(SERVICE, lambda body: {"n": body["n"] + 1})
        with world.call("t", "update", SERVICE):
            pass


def test_processes_that_edit_one_record_lose_no_edit(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    world = World(tmp_path)
    world.insert("run.service", SERVICE, {"n": 0})
    processes = [spawn.Process(target=_count, args=(str(tmp_path), 25)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = world.get(SERVICE)
    assert found is not None
    assert (found.body["n"], found.generation) == (75, 76)
    assert len(world.calls()) == 75


def test_threads_that_open_a_new_world_at_once_make_it_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(8)

    def begin(index: int) -> None:
        try:
            barrier.wait()
            World(tmp_path).set_setting(f"k{index}", "v")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(World(tmp_path).setting(f"k{index}") == "v" for index in range(8))
