"""Runs a program and ends all that it started when the launcher dies, however it dies.

``python -I keeper.py FD PROGRAM ARGUMENT...``: FD is the end of a pipe whose other end the launcher
alone holds. It leads a process group, which the program and what that starts are in. It imports
little: it is started for each target.
"""

from __future__ import annotations

import os
import select
import signal
import sys

LOOK_EVERY = 0.2
"""Seconds, where the kernel does not tell of a process's end by a descriptor (before Linux 5.3)."""
NOT_FOUND = 127
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""A scheduler sends these to all processes of a job, and the launcher decides what follows. What is
ignored here is ignored by the program too, which would die of it in the middle of a file."""


def main(arguments: list[str]) -> int:
    """Run the program; its exit status, as a shell tells it."""
    life, program = int(arguments[0]), arguments[1:]
    os.set_inheritable(life, False)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    try:
        child = os.posix_spawnp(program[0], program, os.environ)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", flush=True)
        return NOT_FOUND
    watched = [life]
    try:
        watched.append(os.pidfd_open(child))
        pause = None
    except (OSError, AttributeError):
        pause = LOOK_EVERY
    while True:
        readable, _, _ = select.select(watched, [], [], pause)
        if life in readable:
            os.killpg(0, signal.SIGKILL)  # this process too
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
