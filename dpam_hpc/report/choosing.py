"""Which run a report is of."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from dpam_hpc.errors import ConfigError
from dpam_hpc.run_dir import RunDir
from dpam_hpc.target import JOURNAL, OWN_FOLDER

OF_RUN = "run"
"""In place of a submitted run's id: what ``dpam-hpc run`` did in the folder."""


def chosen(work_dir: Path, run: str = "") -> RunDir | None:
    """The submitted run called ``run``, or the latest; None: what ``dpam-hpc run`` did.

    Without a name the one that was begun last, of a chain its step 7. ConfigError if there is none.
    """
    own = work_dir / OWN_FOLDER / JOURNAL
    submitted = RunDir.all(work_dir)
    if run not in ("", OF_RUN):
        named = [each for each in submitted if each.id == run]
        if not named:
            known = ", ".join(each.id for each in submitted[-5:]) or "none was submitted"
            raise ConfigError(f"{work_dir} has no run {run!r}", f"runs there: {known}")
        return named[0]
    last = next((each for each in reversed(submitted) if not _is_of_other_steps(each)), None)
    if own.exists() and (run or last is None or _is_newer(own, last)):
        return None
    if submitted and not run:
        return last or submitted[-1]
    raise ConfigError(
        f"nothing was run in {work_dir}", "dpam-hpc run or submit does that; see --help"
    )


def _is_of_other_steps(run: RunDir) -> bool:
    with suppress(ConfigError):  # which is told of the run that is read
        return run.plan().stage is not None
    return False


def _is_newer(own: Path, run: RunDir) -> bool:
    return own.stat().st_mtime > (run.path / "plan.json").stat().st_mtime
