"""Checks of the machine and its session: Python, clock, locale, limits."""

from __future__ import annotations

import locale
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from dpam_hpc import __version__
from dpam_hpc.doctor.context import Context
from dpam_hpc.doctor.findings import Row, ok, problem, warning

OLDEST = (3, 10)
SKEW, GREAT_SKEW = 5.0, 60.0
"""Seconds by which this clock and the file server's may differ: leases of tasks end after 60."""
FILES_BESIDE, FILES_A_WORKER = 128, 2
PROCESSES_BESIDE, PROCESSES_A_WORKER = 50, 2
UNLIMITED = resource.RLIM_INFINITY


def python(context: Context) -> list[Row]:
    """The interpreter."""
    return [judge_python(sys.version_info[:3], sys.executable)]


def judge_python(version: Sequence[int], executable: str) -> Row:
    """Pure."""
    told = f"{'.'.join(map(str, version))}, {executable}; dpam-hpc {__version__}"
    if tuple(version[:2]) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return problem("Python", told, f"install dpam-hpc with Python {wanted} or newer")
    return ok("Python", told)


def clock(context: Context) -> list[Row]:
    """The clock here beside that of the file server of the working folder."""
    folder = context.settings.work_dir
    if not folder.is_dir():
        return []
    return [judge_clock(skew(folder), str(folder))]


def skew(folder: Path) -> float:
    """Seconds by which a file made in ``folder`` now is newer than now."""
    with tempfile.TemporaryFile(dir=folder) as file:
        before = time.time()
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
        written = os.fstat(file.fileno()).st_mtime
        after = time.time()
    return min(0.0, written - before) or max(0.0, written - after)


def judge_clock(seconds: float, folder: str) -> Row:
    """Pure."""
    if abs(seconds) < SKEW:
        return ok("clock", f"differs from that of {folder} by less than {SKEW:.0f} s")
    told = f"is {abs(seconds):,.0f} s {'behind' if seconds > 0 else 'ahead of'} that of {folder}"
    remedy = "have the administrators see to NTP on this machine (chronyc tracking tells more)"
    return (problem if abs(seconds) >= GREAT_SKEW else warning)("clock", told, remedy)


def session_locale(context: Context) -> list[Row]:
    """In which letters this session speaks."""
    name = next(
        (v for n in ("LC_ALL", "LC_CTYPE", "LANG") if (v := context.environment.get(n))), ""
    )
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
        is_known = True
    except locale.Error:
        is_known = False
    finally:
        with suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, before)
    return [judge_locale(name, is_known, sys.getfilesystemencoding())]


def judge_locale(name: str, is_known: bool, encoding: str) -> Row:
    """Pure."""
    if not is_known:
        told = f"{name} is set, and is not installed on this machine"
        return warning("locale", told, "export LC_ALL=C.UTF-8")
    if encoding.lower().replace("-", "") != "utf8":
        told = f"{name or 'not set'}: names of files are taken for {encoding}"
        return warning("locale", told, "export LC_ALL=C.UTF-8")
    return ok("locale", f"{name or 'not set'}; names of files are UTF-8")


def limits(context: Context) -> list[Row]:
    """How many files and processes this session may have."""
    mine = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real == os.getuid():
                mine += process.num_threads()  # the kernel counts these
    processes = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.geteuid() == 0:
        processes = (UNLIMITED, UNLIMITED)  # the kernel does not hold root to it
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    workers = context.settings.workers if context.works_here else 0
    return judge_limits(files, processes, mine, workers)


def judge_limits(
    files: tuple[int, int], processes: tuple[int, int], running: int, workers: int
) -> list[Row]:
    """Pure; limits are soft and hard ones."""
    return [
        _limit("open files", "-n", files, FILES_BESIDE + FILES_A_WORKER * workers),
        _limit(
            "processes",
            "-u",
            processes,
            running + PROCESSES_BESIDE + PROCESSES_A_WORKER * workers,
        ),
    ]


def _limit(what: str, flag: str, limit: tuple[int, int], need: int) -> Row:
    soft, hard = limit
    if soft == UNLIMITED or soft >= need:
        allowed = "without limit" if soft == UNLIMITED else f"{soft:,} allowed"
        return ok(what, f"{allowed}, {need:,} needed")
    told = f"{soft:,} allowed, {need:,} needed"
    if hard == UNLIMITED or hard >= need:
        return problem(what, told, f"ulimit {flag} {need}, before dpam-hpc is started")
    return problem(
        what, told, f"fewer workers (--dali-workers), or a higher limit by the administrators"
        f" (now {hard:,} at most)",
    )  # fmt: skip
