"""The scratch of a run while it runs: its free space, and the move to the fallback."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dpam_hpc.errors import DpamHpcError, StorageError
from dpam_hpc.node import template_store
from dpam_hpc.node.scratch import Scratch, free_bytes, gb
from dpam_hpc.node.work import Place

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
PATIENCE = 20.0
"""Seconds for which space may stay under the floor, all work ended, before the run moves."""
TROUBLES_BEFORE_MOVE = 3


class Room:
    """Where the workers work now; ``stage`` fills a newly claimed folder with what they need."""

    def __init__(
        self, place: Path, fallback: Path, floor: int, stage: Callable[[Path], Place]
    ) -> None:
        self._fallback = fallback
        self._in_fallback = place == fallback
        self._floor = floor
        self._stage = stage
        self._claimed: list[Scratch] = []
        self._looked = 0.0
        self._enough = True
        self._low_since: float | None = None
        self._troubles = 0
        self.free_bytes = 0
        self.least_free_bytes = 0
        self.place = self._claim(place)

    def _claim(self, folder: Path) -> Place:
        scratch = Scratch(folder)
        self._claimed.append(scratch)
        try:
            return self._stage(scratch.folder)
        except OSError as error:
            scratch.remove()
            raise StorageError(
                f"scratch in {folder} cannot be filled: {error}", "name another with --scratch-dir"
            ) from None
        except DpamHpcError:
            scratch.remove()
            raise

    def put_query(self, target: str, pdb: bytes) -> None:
        """Stage a query for the workers, if it is not there; OSError where there is no room."""
        path = self.place.query(target)
        if not path.exists():
            temporary = path.with_suffix(".part")
            temporary.write_bytes(pdb)
            temporary.rename(path)

    def forget_query(self, target: str) -> None:
        """Remove what was staged for a target."""
        with suppress(OSError):  # what is wrong with scratch the next unit will tell
            self.place.query(target).unlink(missing_ok=True)
            template_store.forget_query(self.place.cache, target)

    def went_well(self) -> None:
        """A worker could use scratch: earlier troubles have passed."""
        self._troubles = 0

    def report(self, problem: str) -> None:
        """A worker could not use scratch: look at once, and move if it goes on."""
        log.warning("scratch %s: %s", self.place.root, problem)
        self._troubles += 1
        self._looked = 0.0

    def is_enough(self, running: bool) -> bool:
        """Whether new work may start; below the floor the cache is trimmed, then the run moves."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return self._enough
        self._looked = now
        self._enough = self._look(now, running)
        return self._enough

    def _look(self, now: float, running: bool) -> bool:
        problem = self._problem()
        if problem and self._low_since is None:
            self._low_since = now
            log.warning("scratch %s %s: no new work for now", self.place.root, problem)
        if not problem:
            self._low_since = None
            if self._troubles < TROUBLES_BEFORE_MOVE:
                return True
        if running:
            return False
        if self._troubles < TROUBLES_BEFORE_MOVE and now - (self._low_since or now) < PATIENCE:
            return False
        return self._move(problem or "fails again and again")

    def _problem(self) -> str:
        """What is wrong with the space now, after the cache was trimmed; empty if nothing."""
        try:
            self.free_bytes = free_bytes(self.place.root)
            if self.free_bytes < self._floor:
                template_store.trim(self.place.cache)
                self.free_bytes = free_bytes(self.place.root)
            self.least_free_bytes = min(self.least_free_bytes or self.free_bytes, self.free_bytes)
        except OSError as error:
            self._troubles = TROUBLES_BEFORE_MOVE
            return f"is gone ({error.strerror})"
        if self.free_bytes < self._floor:
            return f"has {gb(self.free_bytes)} free, under the floor of {gb(self._floor)}"
        return ""

    def _move(self, problem: str) -> bool:
        if self._in_fallback:
            raise StorageError(
                f"scratch {self.place.root} {problem}, and there is no other place",
                "make room, then start again: what is done is kept",
            )
        log.warning("scratch %s %s: the run moves to %s", self.place.root, problem, self._fallback)
        self._in_fallback = True
        self._troubles = 0
        self._low_since = None
        self.place = self._claim(self._fallback)
        return True

    def remove(self) -> None:
        """Remove every folder that was claimed."""
        for scratch in self._claimed:
            scratch.remove()
