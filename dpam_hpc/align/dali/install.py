"""Where DALI is on this machine, and whether its programs can start here."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path
from shlex import quote

from dpam_hpc.errors import AlignerError

IMPORT_PROGRAMS = ("dsspcmbi", "puu", "puutos")
PROGRAMS = (*IMPORT_PROGRAMS, "serialcompare", "fssp")
VIRTUAL_MEMORY = 2_200_000_000
"""Bytes of address space that one ``serialcompare`` needs (static arrays; it touches 30-100 MB)."""

HOW_TO_GET = (
    "dpam-hpc dali install gets and builds it; or set DALI_HOME or --dali-home to a DaliLite.v5"
    " folder (docs/dali.md), or use --aligner tmalign: the same loop by TM-align, nothing to"
    " install, its hits under a name of their own since a TM-score is no DALI z"
)


def find(home: str) -> Path:
    """The folder of the five programs: in ``home``, or where dpam looks; AlignerError if none."""
    if home:
        places = [Path(home, "bin"), Path(home)]
    else:
        on_path = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep) if place]
        places = [Path.home() / "src/Dali_v5/DaliLite.v5/bin", *on_path]
    for folder in places:
        try:
            os.stat(folder / "serialcompare")
        except PermissionError:
            if home:
                raise _not_readable(folder) from None
        except OSError:
            continue
        else:
            _check_executable(folder)
            return folder.absolute()
    where = f"in {home}" if home else "(DALI_HOME is not set, and none is on PATH)"
    raise AlignerError(f"there is no DALI here {where}", HOW_TO_GET)


def _not_readable(folder: Path) -> AlignerError:
    home = folder.parent if folder.name == "bin" else folder
    return AlignerError(
        f"user {os.geteuid()} may not read DALI in {folder}",
        f"its owner lets others: chmod -R go+rX {quote(str(home))}, and chmod go+x for the folders"
        " that it lies in",
    )


def _check_executable(folder: Path) -> None:
    """AlignerError if a program is missing, or cannot be started, or copied to a node."""
    there = [folder / name for name in PROGRAMS if os.path.exists(folder / name)]
    if not all(os.access(program, os.R_OK) for program in there):
        raise _not_readable(folder)
    missing = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
    if missing:
        raise AlignerError(
            f"DALI in {folder} lacks {', '.join(missing)}", "build it anew: docs/dali.md"
        )


def import_fingerprint(folder: Path) -> str:
    """SHA-256 over the programs that import a structure: what an imported template depends on."""
    import hashlib  # slow to import, and no worker needs it

    digest = hashlib.sha256()
    for name in IMPORT_PROGRAMS:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each of the five programs."""
    import hashlib

    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in PROGRAMS}


def check_virtual_memory() -> None:
    """AlignerError if a limit on address space keeps ``serialcompare`` from starting."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limit = _strict_commit_left() if soft == resource.RLIM_INFINITY else soft
    if limit < VIRTUAL_MEMORY:
        raise AlignerError(
            f"the limit on virtual memory here is {limit / 1e9:.1f} GB, and each serialcompare"
            f" needs {VIRTUAL_MEMORY / 1e9:.1f} GB (its static arrays; it touches under 0.1 GB)",
            "ulimit -v unlimited, or a job whose limit is on resident memory, or a machine that"
            " does not commit memory strictly (vm.overcommit_memory other than 2)",
        )


def _strict_commit_left() -> float:
    """Bytes that may still be committed where the kernel counts strictly, else without limit."""
    try:
        if Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "2":
            return math.inf
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return 1024.0 * (kilobytes["CommitLimit"] - kilobytes["Committed_AS"])
    except (OSError, KeyError, ValueError, IndexError):
        return math.inf


def copy_programs(folder: Path, to: Path) -> Path:
    """Copy the programs to node-local ``to``; the folder to run them from.

    Where they cannot be executed (a scratch mounted noexec) they stay where they are.
    """
    to.mkdir(mode=0o700)
    for name in PROGRAMS:
        (to / name).write_bytes((folder / name).read_bytes())
        (to / name).chmod(0o700)
    executable = not os.statvfs(to).f_flag & os.ST_NOEXEC
    return to if executable else folder
