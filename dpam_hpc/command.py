"""The one door for external programs: a list of arguments, a time limit, no shell."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LONGEST_POLL = 2**31 - 1
"""Milliseconds that the kernel's poll can wait: 24 days."""


def path_of_administrators() -> str:
    """PATH, and behind it where programs lie that an ordinary user's may not name."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Completed:
    """How a program ended: exit status (negative: signal number), wall and CPU seconds."""

    returncode: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Captured:
    """How a program ended, and what it wrote: exit status (negative: signal number), text."""

    returncode: int
    stdout: str
    stderr: str


class TimedOut(Exception):
    """The program ran over its time limit and was killed."""

    def __init__(self, program: str, limit: float) -> None:
        super().__init__(f"{program} ran over its time limit of {limit:.0f} s")


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run ``argv`` to its end; it is killed, and TimedOut raised, after ``timeout`` seconds.

    CPU seconds are exact as long as the calling process has one child at a time.
    """
    cpu = _children_cpu()
    start = time.monotonic()
    process = subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=tuple(pass_fds)
    )
    try:
        if not _ended_within(process, timeout):
            raise TimedOut(os.path.basename(argv[0]), timeout)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    return Completed(process.returncode, time.monotonic() - start, _children_cpu() - cpu)


def capture(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | None = None,
) -> Captured:
    """Run ``argv`` to its end and keep what it writes; bytes that are no UTF-8 are replaced.

    After ``timeout`` seconds, or when the caller is interrupted, the program and all that it
    started in its process group are killed; TimedOut tells of the first.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            raise TimedOut(os.path.basename(argv[0]), timeout) from None
        finally:
            if process.returncode is None:
                # Not the program alone: a child that keeps the pipe open would be waited for.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return Captured(process.returncode, stdout, stderr)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _ended_within(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait without polling where the kernel has pidfd (Linux 5.3), by Popen's polling elsewhere."""
    try:
        handle = os.pidfd_open(process.pid)
    except (OSError, AttributeError):  # a Python may be built without it
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(min(timeout * 1000, LONGEST_POLL)):
            return False
    finally:
        os.close(handle)
    process.wait()
    return True
