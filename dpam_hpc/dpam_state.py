"""dpam_c2's state files: note that its step 7 is complete, so that it goes on with step 8.

Format as dpam_c2 2.0.0 writes it: ``.P.dpam_state.json`` a target, ``_batch_state.json`` a folder.
No dpam may be at work in the folder meanwhile: it rewrites both files from memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dpam_hpc.errors import StorageError

STEP = "ITERATIVE_DALI"
LATER_STEPS = (
    "ANALYZE_DALI", "GET_SUPPORT", "FILTER_DOMAINS", "SSE", "DISORDER", "PARSE_DOMAINS",
    "PREPARE_DOMASS", "RUN_DOMASS", "GET_CONFIDENT", "GET_MAPPING", "GET_MERGE_CANDIDATES",
    "EXTRACT_DOMAINS", "COMPARE_DOMAINS", "MERGE_DOMAINS", "GET_PREDICTIONS", "INTEGRATE_RESULTS",
    "GENERATE_PDBS",
)  # fmt: skip
ENDING = ".dpam.part"


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

    def mark_target(self, target: str, again: bool) -> None:
        """Note step 7 of ``target`` as complete; ``again``: drop later steps, which read old hits.

        Raises OSError, StorageError.
        """
        path = self._work_dir / f".{target}.dpam_state.json"
        state = _read(path)
        state.setdefault("prefix", target)
        state.setdefault("working_dir", str(self._work_dir))
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
        state.setdefault("metadata", {})
        self._write(path, state)

    def begin_batch_again(self, targets: Iterable[str]) -> None:
        """Drop step 7 of ``targets`` and what read its hits, which are about to change.

        Raises OSError, StorageError.
        """
        path = self._work_dir / "_batch_state.json"
        state = _read(path)
        if state:
            _drop(state, (STEP, *LATER_STEPS), targets)
            self._write(path, state)

    def mark_batch(self, targets: Iterable[str], again: bool) -> None:
        """Note step 7 of all ``targets`` as complete in the folder's batch state, if there is one.

        Where there is none dpam makes it from the targets' own states, but only as long as it is
        absent: one that we made would hide what it knows of other targets. Raises OSError,
        StorageError.
        """
        path = self._work_dir / "_batch_state.json"
        state = _read(path)
        if not state:
            return
        done = list(targets)
        state.setdefault(STEP, {}).update(dict.fromkeys(done, "complete"))
        if again:
            _drop(state, LATER_STEPS, done)
        self._write(path, state)

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        temporary = self._own / f"{path.name}.{os.urandom(4).hex()}{ENDING}"
        try:
            temporary.write_text(json.dumps(state, indent=2))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


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
    by_step = (state.get(step, {}) for step in (STEP, *LATER_STEPS))
    return (
        isinstance(completed, list)
        and isinstance(failed, (list, dict))
        and all(isinstance(step, str) for step in (*completed, *failed))
        and all(isinstance(each, dict) for each in by_step)
    )
