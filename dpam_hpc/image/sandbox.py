"""An image's root while it is built: made by Apptainer, and then the same each time."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from dpam_hpc.command import TimedOut, capture, path_of_administrators
from dpam_hpc.errors import ImageError, StorageError
from dpam_hpc.image.inspecting import CONTENTS_LABEL

BUILD_SECONDS = 2 * 3600
REMOVE_SECONDS = 600
TOLD_LINES = 15
SAFE_PATH = re.compile(r"[\w./+@%-]+")
WORK_BYTES = {True: 8_000_000_000, False: 3_000_000_000}
"""What a build fills of its folder, with dpam and without."""
ABOUT_THE_BUILD = ("org.label-schema.build-date", "org.label-schema.usage.singularity.deffile")
WAYS_OUT = (
    "three ways out: have an administrator enable user namespaces, with a range of ids for you in"
    " /etc/subuid and /etc/subgid (apptainer's --fakeroot); build on another machine, a laptop or"
    " CI, and copy the file (it is the same to the byte); or a remote builder that takes"
    " Apptainer.def (docs/image.md)"
)


@contextmanager
def work_folder(parent: Path | None, with_dpam: bool) -> Iterator[Path]:
    """A private folder to build in, removed at the end with all that a build leaves in it."""
    if parent is None:
        named = os.environ.get("APPTAINER_TMPDIR") or os.environ.get("TMPDIR")
        parent = Path(named or "/var/tmp")  # noqa: S108 # the folder made in it is private
    if not SAFE_PATH.fullmatch(str(parent.absolute())):
        raise StorageError(
            f"{str(parent)!r} cannot be built in: Apptainer splits paths at blanks and the like",
            "--sandbox-dir DIR names another place",
        )
    try:
        room = os.statvfs(parent)
        folder = Path(mkdtemp(prefix="dpam-hpc-image-", dir=parent.absolute()))
    except OSError as error:
        raise StorageError(
            f"{parent} cannot be built in: {error.strerror}", "--sandbox-dir DIR names another"
        ) from None
    try:
        free = room.f_bavail * room.f_frsize
        if free < WORK_BYTES[with_dpam]:
            raise StorageError(
                f"{parent} has {free / 1e9:.1f} GB free, and a build takes up to"
                f" {WORK_BYTES[with_dpam] / 1e9:.0f} GB",
                "--sandbox-dir DIR names another place",
            )
        yield folder
    finally:
        _remove(folder)


def check_machine() -> None:
    """ImageError, with what to do, if this machine cannot build."""
    for program, package in (
        ("apptainer", "apptainer"), ("debootstrap", "debootstrap"), ("mksquashfs", "squashfs-tools")
    ):  # fmt: skip
        if shutil.which(program, path=path_of_administrators()) is None:
            raise ImageError(f"there is no {program} on this machine", f"install {package}")
    if os.geteuid() == 0:
        return
    try:
        done = capture(["unshare", "--user", "--map-root-user", "true"], timeout=30)
    except (OSError, TimedOut):
        return  # Apptainer will tell
    if done.returncode:
        raise ImageError(
            "user namespaces are switched off here, and without them only root can build", WAYS_OUT
        )


def build(recipe: Path, arguments: Mapping[str, str], work: Path, log: Path, epoch: int) -> Path:
    """Have Apptainer build ``recipe`` into a folder below ``work``; ImageError with why not."""
    root = work / "root"
    (work / "tmp").mkdir()
    command = ["apptainer", "build", "--sandbox"]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("APPTAINER", "SINGULARITY"))},
        "PATH": path_of_administrators(), "LC_ALL": "C.UTF-8", "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(epoch),
        "APPTAINER_TMPDIR": str(work / "tmp"), "APPTAINER_CACHEDIR": str(work / "tmp"),
        "TMPDIR": str(work / "tmp"),
    }  # fmt: skip
    code = _logged([*command, str(root), str(recipe)], log, environment, BUILD_SECONDS)
    if code:
        raise ImageError(f"the build failed:\n{_tail(log)}", _why(log.read_text(errors="replace")))
    return root


def _logged(command: list[str], log: Path, environment: Mapping[str, str], limit: float) -> int:
    """Run a command with its output in a file, in a process group that ends with it."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
            start_new_session=True, umask=0o022,
        )  # fmt: skip
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            raise ImageError(f"{command[0]} ran over its time limit of {limit:.0f} s") from None
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process group: asked first, so that Apptainer clears up its mounts."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    # Its leader may have ended, and a child of it not have listened.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def make_uniform(root: Path, recipe: str, contents: str, epoch: int) -> dict[str, object]:
    """Take out of a root what tells of its making; what `apptainer inspect` shall say of it.

    Out go the labels with the date and the sources' paths, and the recipe with them.
    """
    own = root / ".singularity.d"
    labels = json.loads((own / "labels.json").read_text())
    labels = {k: v for k, v in sorted(labels.items()) if not k.startswith(ABOUT_THE_BUILD)}
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    labels["org.opencontainers.image.created"] = created
    labels[CONTENTS_LABEL] = contents
    labels["org.label-schema.build-date"] = created
    (own / "labels.json").write_text(json.dumps(labels, indent=1) + "\n")
    (own / "Singularity").write_text(recipe)
    # Apptainer makes them as the machine has them, and binds the node's over them.
    for name in ("etc/hosts", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
        (root / name).touch()
        (root / name).chmod(0o644)  # whatever the user's umask is

    def text(name: str) -> str:
        path = own / name
        return path.read_text() if path.is_file() else ""

    attributes = {
        "deffile": recipe,
        "environment": {
            f"/.singularity.d/env/{path.name}": path.read_text()
            for path in sorted((own / "env").iterdir())
            if path.name.startswith(("90", "91")) and path.is_file()
        },
        "helpfile": text("runscript.help"),
        "labels": labels,
        "runscript": text("runscript"),
        "startscript": text("startscript"),
        "test": text("test"),
    }
    return {"data": {"attributes": attributes}, "type": "container"}


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-TOLD_LINES:]
    return "\n".join(f"    {line}" for line in lines)


def _why(log: str) -> str:
    """What to do about a failure that is known."""
    if "image must not be used" in log:
        return "its own test found it wrong, and hits from it would be lost: docs/image.md"
    if "No space left on device" in log:
        return "a disk is full: --sandbox-dir DIR names another place to build in"
    if re.search("CAP_SYS_RESOURCE|user namespace|in /etc/sub[ug]id(?!-)", log):
        return WAYS_OUT
    return "the lines above tell why; --keep-log FILE keeps all of it"


def _remove(folder: Path) -> None:
    """Remove a build's folder; files of other ids of ours are removed under those ids."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    command = ["unshare", "--map-auto", "--map-root-user", "--", "rm", "-rf", str(folder)]
    with suppress(OSError, TimedOut):
        capture(command, timeout=REMOVE_SECONDS)
    if folder.exists():
        raise StorageError(f"{folder} could not be removed", "remove it as root")
