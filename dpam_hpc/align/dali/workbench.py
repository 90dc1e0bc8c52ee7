"""One folder in which DALI's programs run one after the other, their outputs in memory files.

The programs exit with status 0 when a disk is full and leave a cut file behind; a step with
nothing to say leaves the file of the step before. So each output name is a link to a memory file
that is emptied before the step that writes it: no output can be cut by a disk, none can be stale.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from dpam_hpc import command
from dpam_hpc.align.aligner import ProgramFailed

READ_AT_ONCE = 1 << 24


def program_environment() -> dict[str, str]:
    """What DALI's programs get of the environment: nothing that changes what they compute."""
    kept = ("PATH", "LD_LIBRARY_PATH", "HOME")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


class Workbench:
    """Runs programs of ``programs`` in ``folder``, whose ``outputs`` are memory files."""

    def __init__(self, programs: Path, folder: Path, outputs: tuple[str, ...]) -> None:
        self.folder = folder
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self._programs = programs
        self._environment = program_environment()
        self._stdin = _memory_file("stdin")
        self._stderr = _memory_file("stderr")
        self._stdout = _memory_file("stdout")
        self._outputs: dict[str, int] = {}
        folder.mkdir(mode=0o700, parents=True)
        for name in outputs:
            self.add_output(name)

    def add_output(self, name: str) -> None:
        """Make the file ``name`` of the folder a memory file, if it is not one yet."""
        if name not in self._outputs:
            handle = _memory_file(name)
            os.symlink(f"/proc/self/fd/{handle}", self.folder / name)
            self._outputs[name] = handle

    def write(self, name: str, content: bytes) -> None:
        """Write an input file; OSError where the disk does not take it whole."""
        (self.folder / name).write_bytes(content)

    def run(
        self,
        step: str,
        program: str,
        *arguments: str,
        writes: tuple[str, ...],
        timeout: float,
        stdin: bytes = b"",
    ) -> None:
        """Run one program, the outputs it ``writes`` emptied; ProgramFailed on crash or over time.

        ``step`` is the name under which its CPU seconds are counted.
        """
        written = [self._outputs[name] for name in writes]
        for handle in (*written, self._stdin, self._stdout, self._stderr):
            os.ftruncate(handle, 0)
        os.pwrite(self._stdin, stdin, 0)
        for handle in (self._stdin, self._stdout, self._stderr):
            os.lseek(handle, 0, os.SEEK_SET)
        try:
            completed = command.run(
                [str(self._programs / program), *arguments],
                timeout=timeout,
                cwd=self.folder,
                env=self._environment,
                stdin=self._stdin,
                stdout=self._stdout,
                stderr=self._stderr,
                pass_fds=tuple(self._outputs.values()),
            )
        except command.TimedOut as error:
            raise ProgramFailed(f"over time: {error}") from None
        except OSError as error:
            raise ProgramFailed(f"{step}: {program} cannot be started: {error}") from None
        self.cpu[step] += completed.cpu_seconds
        if completed.returncode:
            raise ProgramFailed(f"{step}: {program} {self._how_it_ended(completed.returncode)}")

    def output(self, name: str) -> bytes:
        """What was last written to the output ``name``; empty if nothing."""
        return _read(self._outputs[name])

    def stdout(self) -> bytes:
        """What the last run wrote to standard output."""
        return _read(self._stdout)

    def close(self) -> None:
        """Close the memory files."""
        for handle in (*self._outputs.values(), self._stdin, self._stdout, self._stderr):
            os.close(handle)
        self._outputs = {}

    def _how_it_ended(self, returncode: int) -> str:
        said = _read(self._stderr).decode("ascii", "replace").split("\n")
        errors = [line.strip() for line in said if "rror" in line]
        said_so = f": {errors[0][:120]}" if errors else ""
        if returncode < 0:
            return f"was killed by signal {-returncode}{said_so}"
        return f"ended with exit status {returncode}{said_so}"


def _memory_file(name: str) -> int:
    try:
        return os.memfd_create(name)
    except OSError:  # a kernel before 3.17: a nameless file in shared memory does the same
        import tempfile

        with tempfile.TemporaryFile(dir="/dev/shm") as file:
            return os.dup(file.fileno())


def _read(handle: int) -> bytes:
    parts = []
    offset = 0
    while part := os.pread(handle, READ_AT_ONCE, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
