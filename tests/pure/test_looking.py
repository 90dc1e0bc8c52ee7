"""Looks at many targets: in order, by one thread where nothing is waited for, by many elsewhere."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from dpam_hpc.submit import looking

TARGETS = [f"P{number}" for number in range(10 * looking.AT_ONCE + 5)]


class Disk:
    """A file system on which a look takes so long, by a clock that only looks move."""

    def __init__(self, waits: float, computes: float) -> None:
        self._waits, self._computes = waits, computes
        self._lock = threading.Lock()
        self.cpu = self.wall = 0.0
        self.threads: set[int] = set()

    def look(self, target: str) -> str:
        with self._lock:
            self.cpu += self._computes
            self.wall += self._computes + self._waits
            self.threads.add(threading.get_ident())
        return target.lower()


@pytest.mark.parametrize(
    ("waits", "computes", "many"),
    [(0.0, 0.001, False), (0.0004, 0.001, False), (0.01, 0.001, True)],
)
def test_threads_look_only_where_there_is_waiting(
    monkeypatch: pytest.MonkeyPatch, waits: float, computes: float, many: bool
) -> None:
    disk = Disk(waits, computes)
    clock = SimpleNamespace(monotonic=lambda: disk.wall, thread_time=lambda: disk.cpu)
    monkeypatch.setattr(looking, "time", clock)
    assert list(looking.look_at_all(disk.look, TARGETS)) == [name.lower() for name in TARGETS]
    assert (disk.threads != {threading.get_ident()}) == many


def test_what_a_look_raises_is_not_kept_back() -> None:
    def look(target: str) -> str:
        raise OSError(target)

    with pytest.raises(OSError, match="P0"):
        list(looking.look_at_all(look, TARGETS))


def test_no_targets() -> None:
    assert list(looking.look_at_all(str.lower, [])) == []
