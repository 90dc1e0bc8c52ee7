"""A launcher's place in a cluster run: its lease, its fallback, its deadline."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dpam_hpc.errors import LockedError, StorageError
from dpam_hpc.journal import Journal
from dpam_hpc.node import scratch
from dpam_hpc.node.launcher import IterativeDali
from dpam_hpc.node.run_lock import RunLock
from dpam_hpc.node.station import Station
from dpam_hpc.settings import RunSettings
from tests.conftest import lay_out
from tests.replay import DATA


def session(tmp_path: Path, station: Station) -> IterativeDali:
    work = lay_out(tmp_path / "w", ("A0A0K2WPR7",))
    settings = RunSettings(
        work_dir=work.root, data_dir=DATA, aligner="tmalign", dali_workers=1, min_free_gb=0.01
    )
    return IterativeDali(settings, station=station)


def station(
    tmp_path: Path,
    *,
    rank: int = 0,
    last_resort: Path | None = None,
    deadline: float | None = None,
) -> Station:
    folder = tmp_path / "task"
    folder.mkdir(exist_ok=True)
    return Station(
        folder,
        lambda: Journal(folder / "journal-0.jsonl"),
        rank=rank,
        last_resort=last_resort,
        deadline=deadline,
    )


def test_the_last_resort_stands_before_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "last"
    last.mkdir()
    monkeypatch.setattr(scratch, "LOCAL_TYPES", frozenset())  # nothing here is a node's own
    with session(tmp_path, station(tmp_path, last_resort=last)):
        assert [path.name[:3] for path in last.iterdir()] == ["dh-"]
    assert not list(last.iterdir())


def test_a_last_resort_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "LOCAL_TYPES", frozenset())
    gone = tmp_path / "gone"
    with (
        pytest.raises(StorageError, match="gone cannot be written"),
        session(tmp_path, station(tmp_path, last_resort=gone)),
    ):
        pass


def test_a_task_that_somebody_holds_is_had_by_a_later_start_alone(tmp_path: Path) -> None:
    here = station(tmp_path)
    held = RunLock(here.folder)
    with pytest.raises(LockedError), session(tmp_path / "a", here):
        pass
    with session(tmp_path / "b", station(tmp_path, rank=1)):
        assert held.is_lost()


def test_what_cannot_end_in_time_is_not_begun(tmp_path: Path) -> None:
    soon = station(tmp_path, deadline=time.time() + 5)
    with session(tmp_path, soon) as launcher:
        progress = launcher.run(["A0A0K2WPR7"])
    assert (progress.done, progress.failed) == (0, 0)
    assert not list((tmp_path / "w").glob("*_hits"))


def test_smaller_ones_behind_one_that_cannot_end_in_time_are_done(tmp_path: Path) -> None:
    limited = station(tmp_path, deadline=time.time() + 1000)
    work = lay_out(tmp_path / "w", ("A0A0K2WPR7", "O05011"))
    many = "\n".join(f"{number:09d}" for number in range(100_000))  # hours, by the prediction
    (work.root / "O05011_hits4Dali").write_text(many)
    with session(tmp_path, limited) as launcher:
        progress = launcher.run(["O05011", "A0A0K2WPR7"])
    assert (progress.done, progress.failed) == (1, 0)
    assert not (work.root / "O05011.iterativeTMalign.done").exists()


def test_there_is_time_enough(tmp_path: Path) -> None:
    later = station(tmp_path, deadline=time.time() + 10_000)
    with session(tmp_path, later) as launcher:
        assert launcher.run(["A0A0K2WPR7"]).done == 1
