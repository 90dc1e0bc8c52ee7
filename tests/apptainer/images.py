"""Two builds of one commit, begun while other tests run: they take minutes, and one processor."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.image import download
from tests.apptainer import stand_in
from tests.ordinary_user import NO_PYTHON, User, environment, make_command

PROGRAMS = ("apptainer", "debootstrap", "mksquashfs")
ANSWER_SECONDS = 1500
# Another night, another country, another hand; nothing of it may be found in the file.
ELSEWHERE = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "LANG": "de_DE.UTF-8", "SOURCE_DATE_EPOCH": "7"}


@dataclass(frozen=True)
class Images:
    """Two images of one commit, and who made them."""

    user: User
    command: Path
    folder: Path
    one: Path
    other: Path

    def dpam_hpc(
        self, *arguments: str | Path, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run ``dpam-hpc`` as the user."""
        return self.user.run([self.command, *arguments], timeout=timeout)

    def inside(
        self, *arguments: str | Path, options: tuple[str | Path, ...] = (), timeout: float = 100
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the image as a job does, as the user."""
        command = ["apptainer", "exec", "--containall", "--no-home", *options, self.one]
        return self.user.run([*command, *arguments], timeout=timeout)

    def scratch(self) -> Path:
        """A new folder of the user's."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        folder.chmod(0o755)
        return self.user.own(folder)


def why_none() -> str:
    """Why no image can be built here, and what to do; empty if one can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if lacking:
        return (
            f"no {', '.join(lacking)}: as root on Debian, .ci/apptainer --user NAME installs them"
        )
    if os.geteuid() == 0 and not os.environ.get("DPAM_HPC_IMAGE_USER"):
        return "root's builds differ: set DPAM_HPC_IMAGE_USER to a user (.ci/apptainer --user NAME)"
    return ""


class Builds:
    """The two builds, one after the other in processes that yield to everything else."""

    def __init__(self) -> None:
        # Nothing in it is secret; a path that the user's own folders would hide is none.
        self.folder = Path(tempfile.mkdtemp(prefix="dpam-hpc-test-images-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.log = self.folder / "log"
        self.log.touch()
        name = os.environ.get("DPAM_HPC_IMAGE_USER", "")
        self.user = self._user(name, "one")
        other = self._user(os.environ.get("DPAM_HPC_OTHER_IMAGE_USER") or name, "other")
        dali = stand_in.make_tarball(self.folder / "DaliLite.v5.tar.gz")
        self.user.own(self.folder / "one")
        self.command = make_command(self.user, self.folder / "one" / "venv")
        self._processes: list[subprocess.Popen[bytes]] = []
        if self.command is None:
            return
        build = (
            f"nice -n 19 {self.command} image build --without-dpam --sandbox-dir . -o image.sif"
            f" --sources-dir sources --source dali={dali}#sha256={download.sha256(dali)}"
        )
        different = " ".join(f"{name}={value}" for name, value in ELSEWHERE.items())
        # Not at the same time as the first, and from a copy of its sources.
        first = self._start(self.user, f"cd {self.folder}/one && {build} && touch built").pid
        after = f"""
            cd {self.folder}/other
            until [ -e ../one/built ]; do [ -e /proc/{first} ] && sleep 1 || exit 1; done
            cp -r ../one/sources . && umask 077 && exec env {different} {build} --offline
        """
        self._start(other, after)

    def _user(self, name: str, place: str) -> User:
        home = self.folder / place / "home"
        home.mkdir(parents=True)
        user = User.named(name, home) if os.geteuid() == 0 else User(None, environment(home))
        user.own(self.folder / place)
        return user

    def _start(self, user: User, script: str) -> subprocess.Popen[bytes]:
        process = user.popen(["bash", "-c", script], self.log)
        self._processes.append(process)
        return process

    def result(self) -> Images:
        """Both images, as soon as they are there; AssertionError with the log if they fail."""
        assert self.command is not None, NO_PYTHON
        until = time.monotonic() + ANSWER_SECONDS
        for process in self._processes:
            while process.poll() is None:
                assert time.monotonic() < until, self.log.read_text()[-3000:]
                time.sleep(0.2)
            assert process.returncode == 0, self.log.read_text()[-6000:]
        one, other = (self.folder / name / "image.sif" for name in ("one", "other"))
        return Images(self.user, self.command, self.folder / "one", one, other)

    def stop(self) -> None:
        """End what still runs, and remove everything."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)
