"""dpam_c2's state files: what is noted there of steps that are done, so that dpam goes on rightly.

Format as dpam_c2 2.0.0 writes it: ``.P.dpam_state.json`` a target, ``_batch_state.json`` a folder.
No dpam may be at work in the folder meanwhile: it rewrites both files from memory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpam_hpc.errors import StorageError
from dpam_hpc.target import OWN_FOLDER

EARLIER_STEPS = (
    "PREPARE", "HHSEARCH", "FOLDSEEK", "FILTER_FOLDSEEK", "MAP_ECOD", "DALI_CANDIDATES",
)  # fmt: skip
STEP = "ITERATIVE_DALI"
LATER_STEPS = (
    "ANALYZE_DALI", "GET_SUPPORT", "FILTER_DOMAINS", "SSE", "DISORDER", "PARSE_DOMAINS",
    "PREPARE_DOMASS", "RUN_DOMASS", "GET_CONFIDENT", "GET_MAPPING", "GET_MERGE_CANDIDATES",
    "EXTRACT_DOMAINS", "COMPARE_DOMAINS", "MERGE_DOMAINS", "GET_PREDICTIONS", "INTEGRATE_RESULTS",
    "GENERATE_PDBS",
)  # fmt: skip
ENDING = ".dpam.part"
BEGUN_FOLDER = "begun"
"""In ``.dpam-hpc``: what a target's state said before the steps that were begun. dpam writes its
file in place, so that one that is killed may leave half of it."""
BEGUN = "dpam_hpc_begun"
"""In a target's metadata, which dpam keeps: the run that has begun steps and not ended them, and
the number of the first of them."""


@dataclass(frozen=True)
class TargetState:
    """What a target's state says: steps that dpam calls complete, the run that has begun some.

    Of the steps from ``begun_from`` on those alone were ended that are ``completed``: the files of
    the others may be cut.
    """

    completed: frozenset[str] = frozenset()
    begun: str = ""
    begun_from: int = 0


class StateFiles:
    """dpam's state files of a working folder; one of them changes as a whole or not at all.

    What is to be put in their place is written in ``own``, a folder of this launcher's alone, on
    the same file system; what a killed one left there is removed.
    """

    def __init__(self, work_dir: Path, own: Path) -> None:
        self._work_dir = work_dir
        self._own = own
        for left in own.glob(f"*{ENDING}"):
            left.unlink(missing_ok=True)

    def of_target(self, target: str) -> TargetState:
        """A target's state; empty if it has none. Raises OSError, StorageError."""
        return of_target(self._work_dir, target)

    def begin_steps(self, target: str, done: Iterable[str], run: str, first: int) -> None:
        """Before ``dpam run --resume``: ``done`` alone is complete, and ``run`` has begun the rest.

        Until ``end_steps`` what else is called complete is dpam's word of this very run. It is on
        the disk before dpam starts. Raises OSError, StorageError.
        """
        state = self._changed(target, done, {}, {BEGUN: f"{run} {first}"})
        spare = _spare(self._work_dir, target)
        spare.parent.mkdir(parents=True, exist_ok=True)
        self._write(spare, state, durable=True)
        self._write(self._of(target), state, durable=True)

    def end_steps(self, target: str, done: Iterable[str], failed: dict[str, str]) -> None:
        """After it: what is done by its files, and what failed. Raises OSError, StorageError."""
        self._write(self._of(target), self._changed(target, done, failed, {BEGUN: None}))
        _spare(self._work_dir, target).unlink(missing_ok=True)

    def mark_target(self, target: str, again: bool) -> None:
        """Note step 7 of ``target`` as complete; ``again``: drop later steps, which read old hits.

        Raises OSError, StorageError.
        """
        path = self._of(target)
        state = self._with_defaults(target)
        completed = [step for step in state.get("completed_steps", []) if step != STEP]
        failed = state.get("failed_steps", {})
        if isinstance(failed, list):  # dpam's older form
            failed = dict.fromkeys(failed, "")
        failed.pop(STEP, None)
        if again:
            completed = [step for step in completed if step not in LATER_STEPS]
            failed = {step: text for step, text in failed.items() if step not in LATER_STEPS}
        state["completed_steps"] = [*completed, STEP]
        state["failed_steps"] = failed
        self._write(path, state)

    def begin_batch_again(
        self, targets: Iterable[str], steps: Sequence[str] = (STEP, *LATER_STEPS)
    ) -> None:
        """Drop ``steps`` of ``targets``, as 7 and what reads its hits, which are about to change.

        Raises OSError, StorageError.
        """
        path = self._work_dir / "_batch_state.json"
        state = _read(path)
        if state:
            _drop(state, steps, targets)
            self._write(path, state)

    def mark_batch(
        self, targets: Iterable[str], again: bool, steps: Sequence[str] = (STEP,)
    ) -> None:
        """Note ``steps`` of ``targets`` as complete in the folder's batch state, if there is one.

        ``again``: drop what comes after step 7.

        Where there is none dpam makes it from the targets' own states, but only as long as it is
        absent: one that we made would hide what it knows of other targets. Raises OSError,
        StorageError.
        """
        path = self._work_dir / "_batch_state.json"
        state = _read(path)
        if not state:
            return
        done = list(targets)
        for step in steps:
            state.setdefault(step, {}).update(dict.fromkeys(done, "complete"))
        if again:
            _drop(state, LATER_STEPS, done)
        self._write(path, state)

    def _of(self, target: str) -> Path:
        return _path(self._work_dir, target)

    def _with_defaults(self, target: str) -> dict[str, Any]:
        state = _read_target(self._work_dir, target)
        state.setdefault("prefix", target)
        state.setdefault("working_dir", str(self._work_dir))
        state.setdefault("metadata", {})
        return state

    def _changed(
        self,
        target: str,
        completed: Iterable[str],
        failed: dict[str, str],
        metadata: dict[str, str | None],
    ) -> dict[str, Any]:
        """A target's state with these changes."""
        state = self._with_defaults(target)
        state["completed_steps"] = sorted(completed)
        state["failed_steps"] = failed
        changed = {**state["metadata"], **metadata}
        state["metadata"] = {name: value for name, value in changed.items() if value is not None}
        return state

    def _write(self, path: Path, state: dict[str, Any], durable: bool = False) -> None:
        temporary = self._own / f"{path.name}.{os.urandom(4).hex()}{ENDING}"
        try:
            temporary.write_text(json.dumps(state, indent=2))
            if durable:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def of_target(work_dir: Path, target: str) -> TargetState:
    """A target's state; empty if it has none. Raises OSError, StorageError."""
    state = _read_target(work_dir, target)
    run, _, first = str(state.get("metadata", {}).get(BEGUN, "")).rpartition(" ")
    completed = frozenset(state.get("completed_steps", []))
    return TargetState(completed, run, int(first) if re.fullmatch("[0-9]{1,2}", first) else 0)


def _path(work_dir: Path, target: str) -> Path:
    return work_dir / f".{target}.dpam_state.json"


def _spare(work_dir: Path, target: str) -> Path:
    return work_dir / OWN_FOLDER / BEGUN_FOLDER / f"{target}.json"


def _read_target(work_dir: Path, target: str) -> dict[str, Any]:
    """A target's state; where dpam was killed while it wrote it, that of before its steps."""
    try:
        return _read(_path(work_dir, target))
    except StorageError:
        spare = _spare(work_dir, target)
        if not spare.exists():
            raise
        return _read(spare)


def _drop(state: dict[str, Any], steps: Iterable[str], targets: Iterable[str]) -> None:
    """Take ``targets`` out of ``steps`` of a batch state."""
    dropped = set(targets)
    for step in steps:
        if step in state:
            state[step] = {name: text for name, text in state[step].items() if name not in dropped}


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"dpam's state file {path} is no JSON: {error}", "move it away"
        ) from None
    if not isinstance(state, dict) or not _is_sound(state):
        raise StorageError(f"dpam's state file {path} is none of dpam's", "move it away")
    return state


def _is_sound(state: dict[str, Any]) -> bool:
    """Whether what is read here of a state has the form that dpam gives it."""
    completed, failed = state.get("completed_steps", []), state.get("failed_steps", {})
    by_step = (state.get(step, {}) for step in (*EARLIER_STEPS, STEP, *LATER_STEPS))
    return (
        isinstance(completed, list)
        and isinstance(state.get("metadata", {}), dict)
        and isinstance(failed, (list, dict))
        and all(isinstance(step, str) for step in (*completed, *failed))
        and all(isinstance(each, dict) for each in by_step)
    )
