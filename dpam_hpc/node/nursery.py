"""A small process that has all imported that a worker needs, and forks one at each request.

So a worker costs a fork, not the start of an interpreter. It has one thread, knows nothing of any
work, and ends, its workers with it, when the launcher's end of its socket closes.

A request is the folder to work in, and the worker's end of its socket to the launcher; the answer
is ``["started", pid]`` or ``["failed", errno]``. Unasked it says ``["ended", pid, exit code]``,
where a negative code is the number of the signal that killed the worker.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from dpam_hpc.align import aligner as aligners
from dpam_hpc.node import worker

LONGEST_REQUEST = 1 << 16
MODULE = "dpam_hpc.node.nursery"


def main() -> None:
    """Serve the launcher over the socket of the first argument; the second is the aligner."""
    with suppress(OSError):
        os.setpgid(0, 0)
    for ignored in worker.IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    name_process("dpam-nursery")
    if sys.argv[2:]:
        with suppress(Exception):  # each worker will say so
            aligners.load(sys.argv[2])
        if len(os.listdir("/proc/self/task")) > 1:
            # It started threads, which a fork does not take along: let the workers load it.
            os.execv(sys.executable, [sys.executable, "-m", MODULE, sys.argv[1]])  # noqa: S606
    Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()


def name_process(name: str) -> None:
    """Call this process ``name``, of 15 letters at most, where processes are listed."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


class Nursery:
    """The process's whole state: its launcher, its workers, and a way to hear that one ended."""

    def __init__(self, launcher: socket.socket) -> None:
        self._launcher = launcher
        self._workers: set[int] = set()
        self._wakeup, self._child_ended = socket.socketpair()
        for end in (self._wakeup, self._child_ended):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._child_ended.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        """Fork and reap until the launcher is gone."""
        gc.collect()
        gc.freeze()  # what is here stays, and no worker's collection copies its pages
        poll = select.poll()
        poll.register(self._launcher, select.POLLIN | select.POLLRDHUP)
        poll.register(self._wakeup, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                if self._wakeup.fileno() in ready:
                    self._reap()
                if ready.get(self._launcher.fileno()):
                    self._answer()
        except (EOFError, OSError):
            self._end()

    def _answer(self) -> None:
        folder, files, _, _ = socket.recv_fds(
            self._launcher, LONGEST_REQUEST, 1, socket.MSG_CMSG_CLOEXEC
        )
        if not folder:
            raise EOFError
        with socket.socket(fileno=files[0]) as connection:
            try:
                os.chdir(os.fsdecode(folder))
                pid = os.fork()
            except OSError as error:
                self._tell("failed", error.errno or 0)
                return
            if not pid:
                self._be_worker(connection)
        self._workers.add(pid)
        self._tell("started", pid)

    def _be_worker(self, connection: socket.socket) -> None:
        """In a new process: be a worker, and never return."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (self._launcher, self._wakeup, self._child_ended):
                other.close()
            name_process(worker.PROCESS_NAME)
            worker.serve(connection)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            self._wakeup.recv(LONGEST_REQUEST)
        while self._workers:
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            found = os.waitid(os.P_ALL, 0, options)
            if found is None:
                return
            pid = found.si_pid
            if pid in self._workers:
                _kill_group(pid)  # before it is reaped, so that the number is still its own
            _, status = os.waitpid(pid, 0)
            self._workers.discard(pid)
            self._tell("ended", pid, os.waitstatus_to_exitcode(status))

    def _tell(self, *what: str | int) -> None:
        self._launcher.send(json.dumps(what).encode())

    def _end(self) -> None:
        signal.set_wakeup_fd(-1)  # they end while this process does, and its sockets are closed
        for pid in self._workers:
            _kill_group(pid)


def _kill_group(leader: int) -> None:
    with suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    main()
