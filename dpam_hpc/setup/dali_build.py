"""DALI built from its source, for a machine without the image: proven, then put in its place."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from dpam_hpc import command
from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.errors import AlignerError, ConfigError, ImageError, StorageError
from dpam_hpc.image import download, recipe
from dpam_hpc.image.recipe import Source
from dpam_hpc.settings import DALI_FOLDER

SECONDS = 3600
"""For the compilers, which take half a minute of a core: a login node may be busy."""
NEEDS = {"tar": "tar", "make": "make", "cc": "gcc", "gfortran": "gfortran"}
"""Programs that the build calls, and the packages that bring them."""
RED_HAT = {"gfortran": "gcc-gfortran"}
"""Other names of packages."""
MAKES_OWN = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKEFILES")
"""Variables by which another make, or a user's habit, would change this one."""
LAST_LINES = 15
NOTICE = (
    "DaliLite.v5 is {licence}; passing it on is {redistribution}."
    " DSSP's authors give it for academic use: read src/dsspcmbi/COPYRIGHT in it."
    " Build it for yourself, and hand on neither sources nor programs."
)


@dataclass(frozen=True)
class Installed:
    """A DALI home that gives the known answer; ``sha256`` of its source, ``fingerprint`` of it."""

    home: Path
    sha256: str
    as_listed: bool
    fingerprint: str


def build(
    prefix: Path,
    source: Path | None = None,
    *,
    sha256: str = "",
    faster: bool = False,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Installed:
    """Build DALI as ``prefix/DaliLite.v5``: whole and proven, or not there.

    ``source``: a tarball, else it is fetched from its home; ``sha256``: of a source that is not
    the one listed. ``faster``: linked statically. ``force``: in place of one that is there.
    """
    listed = recipe.read_sources().dali
    expected = sha256.lower() or listed.sha256
    home = prefix.absolute() / DALI_FOLDER
    if home.exists() and not force:
        raise ConfigError(
            f"{home} is there already",
            f"dpam-hpc dali check --dali-home {quote(str(home))} proves it; --force builds it anew",
        )
    _check_programs()
    say(NOTICE.format(licence=listed.licence, redistribution=listed.redistribution))
    try:
        prefix.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=prefix, prefix=".dali-build-") as folder:
            work = Path(folder)
            tarball = _source(listed, source, expected, work / listed.name, say)
            say("building it (half a minute on one core)")
            built = _run(tarball, work, faster)
            say("proving it on a known pair")
            options = {"dali_home": str(built)}
            fingerprint = DaliAligner.fingerprint(options)
            DaliAligner.prove(options, work / "proof")
            _only_owner_writes(built)
            _move(built, home, work / "before")
    except OSError as error:
        raise StorageError(f"DALI cannot be put into {prefix}: {error}") from None
    return Installed(home, expected, expected == listed.sha256, fingerprint)


def _check_programs() -> None:
    """AlignerError that tells all programs that are missing, with their packages."""
    missing = [name for name in NEEDS if shutil.which(name) is None]
    if missing:
        debian = sorted({NEEDS[name] for name in missing})
        red_hat = sorted({RED_HAT.get(NEEDS[name], NEEDS[name]) for name in missing})
        raise AlignerError(
            f"to build DALI these are missing here: {', '.join(missing)}",
            f"on a cluster: module load gcc; Debian: apt install {' '.join(debian)}; Red Hat:"
            f" dnf install {' '.join(red_hat)}; or use the image, which has DALI (docs/image.md)",
        )


def _source(
    listed: Source, given: Path | None, expected: str, to: Path, say: Callable[[str], None]
) -> Path:
    """The tarball, if it is the one that is meant."""
    if given is None:
        say(f"fetching {', '.join(listed.homes)}")
        hint = "get it by other means, then: dpam-hpc dali install --source TARBALL"
        try:
            download.fetch(listed.homes, expected, to, hint)
        except ImageError as error:
            raise AlignerError(error.what, error.hint) from None
        return to
    if not given.is_file():
        raise ConfigError(f"--source: there is no file {given}")
    if (found := download.sha256(given)) != expected:
        raise ConfigError(
            f"{given} is not the {listed.title} that is meant: SHA-256 {found}, not {expected}",
            f"get it anew from {listed.homes[0]}; or, if you know this one and mean it:"
            f" --sha256 {found}",
        )
    return given.absolute()


def _run(tarball: Path, work: Path, faster: bool) -> Path:
    """Call the script; the DALI home that it made."""
    script = recipe.folder() / recipe.DALI_SCRIPT
    environment = {name: value for name, value in os.environ.items() if name not in MAKES_OWN}
    argv = ["sh", str(script), str(tarball), str(work), *(["static"] if faster else [])]
    try:
        done = command.capture(argv, timeout=SECONDS, env=environment)
    except command.TimedOut as error:
        raise AlignerError(f"DALI could not be built: {error}") from None
    if done.returncode:
        said = "\n  ".join((done.stdout + done.stderr).splitlines()[-LAST_LINES:])
        hint = "without --faster: it takes static libraries, which are not everywhere" * faster
        raise AlignerError(f"DALI could not be built:\n  {said}", hint or "docs/dali.md")
    return work / DALI_FOLDER


def _only_owner_writes(home: Path) -> None:
    """Take from others what would keep the folder from being believed (``trust``)."""
    for folder, _, files in os.walk(home):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            if not os.path.islink(path):
                os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~0o022 | 0o600)


def _move(built: Path, home: Path, before: Path) -> None:
    """Put it in its place, and what was there out of the way: the one or the other is there."""
    with suppress(FileNotFoundError):
        os.rename(home, before)
    try:
        os.rename(built, home)
    except OSError:
        with suppress(OSError):
            os.rename(before, home)
        raise
