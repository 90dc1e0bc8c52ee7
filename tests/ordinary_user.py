"""An ordinary user, where the tests are root's: who builds images, and runs in them."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class User:
    """Who runs commands, with which environment; ``account`` None: whoever runs the tests."""

    account: pwd.struct_passwd | None
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str, home: Path) -> User:
        """An account of this machine, with ``home`` as its home folder; KeyError if it is none."""
        account = pwd.getpwnam(name)
        return cls(account, environment(home, name))

    def arguments(self) -> dict[str, object]:
        """For subprocess: who runs it."""
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def popen(self, argv: Sequence[str | Path], log: Path, **env: str) -> subprocess.Popen[bytes]:
        """Start a command with its output in ``log``."""
        with log.open("ab") as file:
            return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
                [str(word) for word in argv], env={**self.environment, **env}, cwd="/",
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
                **self.arguments(),
            )  # fmt: skip

    def run(
        self, argv: Sequence[str | Path], timeout: float = 100, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [str(word) for word in argv], env={**self.environment, **env}, cwd="/",
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
            **self.arguments(),
        )  # fmt: skip

    def own(self, folder: Path) -> Path:
        """Give a folder and all in it to this user."""
        if self.account is not None:
            for place, _, files in os.walk(folder):
                for name in (place, *(os.path.join(place, file) for file in files)):
                    os.chown(name, self.account.pw_uid, self.account.pw_gid)
        return folder


def environment(home: Path, name: str = "user") -> dict[str, str]:
    """Of a user who has just logged in."""
    return {
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{SBIN}", "HOME": str(home), "USER": name,
        "LOGNAME": name, "SHELL": "/bin/bash", "LANG": "C.UTF-8", "COLUMNS": "200",
    }  # fmt: skip


def make_command(user: User, folder: Path) -> Path | None:
    """``dpam-hpc`` in a virtual environment that the user can run; None if there can be none.

    It has this project and the packages of the tests' own Python, without PYTHONPATH, which the
    environment of a job does not keep. ``python`` lies beside it.
    """
    for base in (sys.executable, f"/usr/bin/python{VERSION}", f"/usr/local/bin/python{VERSION}"):
        try:
            made = user.run([base, "-I", "-m", "venv", "--without-pip", "--clear", folder])
        except OSError:
            continue  # it is not there, or the user may not run it
        if made.returncode == 0:
            break
    else:
        return None
    packages = folder / "lib" / f"python{VERSION}" / "site-packages"
    paths = dict.fromkeys([str(ROOT), *(sysconfig.get_path(n) for n in ("purelib", "platlib"))])
    (packages / "tests.pth").write_text("".join(f"{path}\n" for path in paths))
    command = folder / "bin" / "dpam-hpc"
    command.write_text(f'#!/bin/sh\nexec {folder}/bin/python -m dpam_hpc "$@"\n')
    command.chmod(0o755)
    asked = user.run([command, "--version"], PYTHONDONTWRITEBYTECODE="1")
    return command if asked.returncode == 0 else None


NO_PYTHON = (
    f"an ordinary user can run neither {sys.executable} nor /usr/bin/python{VERSION} with its"
    " packages: work in a folder that all can read, or apt install python3"
)
