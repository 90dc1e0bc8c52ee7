"""``dpam-hpc`` whose calls on a folder are counted, and fail, hang or are its last ones.

``python -m tests.faults.hooked SPEC ...`` is ``python -m dpam_hpc ...`` with the faults of SPEC, a
JSON object of the fields of ``Spec``. The calls are those of the launcher itself, between two of
which it can be killed; its workers and their programs are what they always are.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ON_FILES = ("read", "write", "fsync", "close", "ftruncate", "fstat", "pread", "posix_fadvise")
"""Calls on an open file, which is their first argument."""
ON_NAMES = (
    "open", "stat", "lstat", "listdir", "scandir", "mkdir", "rmdir", "rename", "replace", "link",
    "unlink", "remove", "utime", "chmod",
)  # fmt: skip
STRUCK = "[fault]"
"""Said on standard error where one happens."""


@dataclass(frozen=True)
class Spec:
    """What happens to calls on ``folder``, which are counted from 1.

    ``kill_at``: the process is killed in place of this call. ``error``: ``times`` calls from the
    ``first`` on fail with it, ``calls`` alone if there are any. ``hang_at``: this call takes
    ``hang`` seconds. ``jump``: so many seconds the clock is set forward at call ``jump_at``.
    """

    folder: str
    kill_at: int = 0
    error: str = ""
    calls: tuple[str, ...] = ()
    first: int = 1
    times: int = 1
    hang_at: int = 0
    hang: float = 0.0
    jump_at: int = 0
    jump: float = 0.0


class Hook:
    """The calls on a folder by this process, from ``install`` on."""

    def __init__(self, spec: Spec) -> None:
        self.counted: Counter[str] = Counter()
        self._spec = spec
        self._folder = os.path.realpath(spec.folder)
        self._lock = threading.Lock()
        self._calls = 0
        self._fitting = 0
        self._clock_is_ahead = 0.0

    def install(self) -> None:
        """Put itself between the program and its calls."""
        for name in ON_FILES:
            setattr(os, name, self._around(name, getattr(os, name), self._path_of_file))
        for name in ON_NAMES:
            setattr(os, name, self._around(name, getattr(os, name), self._path_of_name))
        opened = self._around("open", io.open, self._path_of_named_file)
        io.open = builtins.open = opened
        clock = time.time
        time.time = lambda: clock() + self._clock_is_ahead

    def _around(
        self, name: str, call: Callable[..., Any], path_of: Callable[..., str]
    ) -> Callable[..., Any]:
        def around(*args: Any, **kwargs: Any) -> Any:
            if not args or not self._is_inside(path_of(*args, **kwargs)):
                return call(*args, **kwargs)
            # A folder that is open already is listed without a call by name.
            error = self._next(name, f"{name}, open" if isinstance(args[0], int) else name)
            if error and name == "close":
                call(*args, **kwargs)  # the file is closed whatever comes of it
            if error:
                raise OSError(error, os.strerror(error))
            return call(*args, **kwargs)

        return around

    def _next(self, name: str, counted_as: str) -> int:
        """Count a call and have its faults happen; the error that it ends with."""
        spec = self._spec
        with self._lock:
            self._calls += 1
            self.counted[counted_as] += 1
            number = self._calls
            fits = not spec.calls or name in spec.calls
            self._fitting += fits
            fails = fits and spec.first <= self._fitting < spec.first + spec.times
            fails = bool(spec.error and fails)
        if fails or number in (spec.kill_at, spec.jump_at, spec.hang_at):
            print(STRUCK, file=sys.stderr, flush=True)
        if number == spec.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == spec.jump_at:
            self._clock_is_ahead = spec.jump
        if number == spec.hang_at:
            time.sleep(spec.hang)
        return int(getattr(errno, spec.error)) if fails else 0

    def _is_inside(self, path: str) -> bool:
        return path == self._folder or path.startswith(f"{self._folder}/")

    @staticmethod
    def _path_of_file(file: Any, *_: object, **__: object) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{file}")
        except OSError:
            return ""

    def _path_of_name(self, name: Any, *_: object, **more: Any) -> str:
        if isinstance(name, int):
            return self._path_of_file(name)
        text = os.fsdecode(name)
        folder = more.get("dir_fd", more.get("src_dir_fd"))
        base = self._path_of_file(folder) if folder is not None else os.getcwd()
        return os.path.join(base, text)

    def _path_of_named_file(self, name: Any, *_: object, **__: object) -> str:
        return "" if isinstance(name, int) else self._path_of_name(name)  # it is open already


def main() -> None:
    """Run the command line that follows the spec."""
    content = json.loads(sys.argv.pop(1))
    Hook(Spec(**{**content, "calls": tuple(content.get("calls", ()))})).install()
    from dpam_hpc.cli import main as command_line  # after the hook is in its place

    sys.argv[0] = "dpam-hpc"
    command_line()


if __name__ == "__main__":
    main()
