"""Free space is watched: no new work, then the cache goes, only then the run moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpam_hpc.errors import StorageError
from dpam_hpc.node import room as rooms
from dpam_hpc.node.room import Room
from dpam_hpc.node.work import Place

FLOOR = 1000


class Disk:
    """Free space as the test wants it, and a clock that it turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.free = 5000
        self.freed_by_trim = 0
        self.trims = 0
        self.now = 100.0
        monkeypatch.setattr(rooms, "free_bytes", lambda folder: self.free)
        monkeypatch.setattr("dpam_hpc.node.template_store.trim", self._trim)
        monkeypatch.setattr("dpam_hpc.node.room.time.monotonic", lambda: self.now)
        self.place, self.fallback = tmp_path / "scratch", tmp_path / "work"
        self.place.mkdir()
        self.fallback.mkdir()
        self.room = Room(self.place, self.fallback, FLOOR, self._stage)

    def _trim(self, cache: Path) -> int:
        self.trims += 1
        self.free += self.freed_by_trim
        return self.freed_by_trim

    @staticmethod
    def _stage(folder: Path) -> Place:
        place = Place(folder, {})
        place.make()
        return place

    def look(self, seconds: float = 2.0, running: bool = False) -> bool:
        self.now += seconds
        return self.room.is_enough(running)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Disk:
    return Disk(monkeypatch, tmp_path)


def test_room_enough_lets_work_start(disk: Disk) -> None:
    assert disk.look()
    assert disk.trims == 0


def test_the_cache_goes_first_and_may_be_enough(disk: Disk) -> None:
    disk.free, disk.freed_by_trim = 900, 500
    assert disk.look()
    assert disk.trims == 1
    assert disk.room.place.root.parent == disk.place


def test_under_the_floor_nothing_new_starts_and_what_runs_goes_on(disk: Disk) -> None:
    disk.free = 900
    for _ in range(50):
        assert not disk.look(running=True)
    assert disk.room.place.root.parent == disk.place


def test_space_that_comes_back_is_used(disk: Disk) -> None:
    disk.free = 900
    assert not disk.look()
    disk.free = 5000
    assert disk.look()
    assert disk.room.place.root.parent == disk.place


def test_only_after_patience_the_run_moves(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    disk.free = 900
    assert not disk.look()
    assert not disk.look(rooms.PATIENCE / 2)
    assert disk.look(rooms.PATIENCE)
    assert disk.room.place.root.parent == disk.fallback
    assert "the run moves to" in caplog.text
    disk.room.put_query("P", b"ATOM")
    assert disk.room.place.query("P").read_bytes() == b"ATOM"


def test_where_the_fallback_is_full_too_it_is_an_error(disk: Disk) -> None:
    disk.free = 900
    with pytest.raises(StorageError, match="no other place"):
        for _ in range(10):
            disk.look(rooms.PATIENCE)


def test_troubles_that_go_on_move_the_run_and_ones_that_pass_do_not(disk: Disk) -> None:
    for _ in range(rooms.TROUBLES_BEFORE_MOVE - 1):
        disk.room.report("I/O error")
    disk.room.went_well()
    disk.room.report("I/O error")
    assert disk.look()
    assert disk.room.place.root.parent == disk.place
    for _ in range(rooms.TROUBLES_BEFORE_MOVE):
        disk.room.report("I/O error")
    assert disk.look()
    assert disk.room.place.root.parent == disk.fallback


def test_scratch_that_vanishes_moves_the_run(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(folder: Path) -> int:
        if folder.parent == disk.place:
            raise FileNotFoundError(2, "No such file or directory")
        return 5000

    monkeypatch.setattr(rooms, "free_bytes", gone)
    assert disk.look()
    assert disk.room.place.root.parent == disk.fallback


def test_all_that_was_claimed_is_removed(disk: Disk) -> None:
    disk.free = 900
    disk.look()
    disk.look(rooms.PATIENCE)
    disk.room.remove()
    assert list(disk.place.iterdir()) == []
    assert list(disk.fallback.iterdir()) == []
