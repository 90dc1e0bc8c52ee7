"""One call of dpam for one target: its command line, its environment, its log, its end."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dpam_hpc import trust
from dpam_hpc.errors import ConfigError
from dpam_hpc.pipeline import keeper
from dpam_hpc.pipeline.steps import STEPS, Stage

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")
"""How a line of dpam's own begins; what follows without it is a traceback."""
STARTING = re.compile(r"\] dpam\.\w+: Starting [A-Z_]+ for ")
REASON_LINES = 3
LONGEST_REASON = 600
TAIL = 64 * 1024
"""Bytes of a log's end in which the reason is looked for."""
PSIPRED = "psipred"


@dataclass(frozen=True)
class Dpam:
    """How dpam is called for the targets of a stage."""

    stage: Stage
    work_dir: Path
    data_dir: Path
    flat: bool
    dali_home: Path | None = None

    def argv(self, target: str, numbers: Sequence[int]) -> list[str]:
        """``dpam run``: it goes by the state that was written for it, so with --resume.

        In a sharded folder --resume finds the layout by step 1's folder, which must be there.
        """
        return [
            *self.stage.command, "run", target,
            "--steps", *(STEPS[number].name for number in numbers),
            "--working-dir", str(self.work_dir), "--data-dir", str(self.data_dir),
            "--cpus", str(self.stage.cpus), "--resume",
            *(["--flat"] if self.flat else []),
            *(["--skip-addss"] if self.stage.skip_addss else []),
        ]  # fmt: skip

    def environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Of this process, with no more threads than a target has processors.

        What lies beside dpam, as in a conda environment, is found though nobody has activated it.
        """
        threads = str(self.stage.cpus)
        own = {
            **dict.fromkeys(
                ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                 "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
                threads,
            ),
            # dpam's network (step 16) is written for Keras 2.
            "TF_USE_LEGACY_KERAS": "1",
            # Where psycopg2 is there dpam asks for a database of its makers', without a time limit.
            "PGCONNECT_TIMEOUT": "5",
        }  # fmt: skip
        if self.dali_home:
            own["DALI_HOME"] = str(self.dali_home)  # dpam takes dsspcmbi from there
        beside = Path(self.stage.command[0]).parent
        if beside.is_absolute():
            own["PATH"] = f"{beside}:{environ.get('PATH', '')}"
            if (beside.parent / "conda-meta").is_dir():
                own["CONDA_PREFIX"] = str(beside.parent)  # addss.pl looks there for psipred
        return {**environ, **own}

    def missing_programs(self, environ: Mapping[str, str] = os.environ) -> list[str]:
        """Programs that the stage's steps call and that are not here."""
        environ = self.environment(environ)
        path = environ.get("PATH", "")
        found = [] if shutil.which(self.stage.command[0], path=path) else [self.stage.command[0]]
        home = self.dali_home or environ.get("DALI_HOME")
        for number in self.stage.numbers:
            for tools in STEPS[number].tools:
                if not any(_is_there(tool, path, home) for tool in tools.split("|")):
                    found.append(f"{tools.replace('|', ' or ')} (step {number})")
        needs_psipred = 2 in self.stage.numbers and not self.stage.skip_addss
        if needs_psipred and not shutil.which(PSIPRED, path=path) and "CONDA_PREFIX" not in environ:
            found.append(f"{PSIPRED} (step 2; --skip-addss does without)")
        return found


def _is_there(tool: str, path: str, dali_home: str | Path | None) -> bool:
    if dali_home and os.access(Path(dali_home) / "bin" / tool, os.X_OK):
        return True
    return shutil.which(tool, path=path) is not None


@dataclass
class Call:
    """dpam at work on a target; ``limit`` in seconds."""

    target: str
    numbers: tuple[int, ...]
    argv: list[str]
    log: Path
    limit: float
    begun: float = field(default_factory=time.monotonic)
    timed_out: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _life: int = -1

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it with its output to the log; OSError."""
        end, self._life = os.pipe()
        try:
            trust.own_folder(self.log.parent)
            with self.log.open("ab") as log:
                log.write(f"$ {shlex.join(self.argv)}\n".encode(errors="backslashreplace"))
                log.flush()
                self._process = subprocess.Popen(
                    [sys.executable, "-I", keeper.__file__, str(end), *self.argv],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    env=dict(environment), pass_fds=(end,), start_new_session=True,
                    cwd=self.log.parent,
                )  # fmt: skip
        except OSError:
            self.close()
            raise
        finally:
            os.close(end)

    def ended(self) -> int | None:
        """Its exit status, as a shell tells it; None while it works. Over its limit it is ended."""
        assert self._process is not None
        if self._process.poll() is None and time.monotonic() - self.begun > self.limit:
            self.timed_out = True
            self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """End it, and all that it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """End what it may have left running."""
        self.kill()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    @property
    def seconds(self) -> float:
        """Wall seconds since it began."""
        return time.monotonic() - self.begun

    def reason(self, step: str, missing: str) -> str:
        """Why a step failed: how dpam ended, what is missing, what the log says of the step."""
        assert self._process is not None
        code = self._process.returncode
        how = f"exit code {code}"
        if self.timed_out:
            how = f"ran over its time limit of {self.limit:.0f} s"
        elif code < 0 or 128 < code < 128 + signal.NSIG:
            number = -code if code < 0 else code - 128
            how = f"killed by signal {number}" + (" (out of memory?)" if number == 9 else "")
        elif code == keeper.NOT_FOUND:
            how = "dpam could not be started"
        said = said_of_step(self.log, step)
        return "; ".join(part for part in (how, missing, said) if part)[:LONGEST_REASON]


def said_of_step(path: Path, step: str) -> str:
    """The errors that dpam's log has of a step, or the last lines: printable, on one line."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    told: list[str] = []
    over = False
    for line in lines:
        if line.startswith("$ "):  # what was told is of an earlier call
            told.clear()
            over = False
            continue
        if f"Starting {step} for " in line:  # of an earlier step
            told.clear()
        elif STARTING.search(line) and told and f"Starting {step} for " in told[0]:
            over = True
        if line.strip() and not over:
            told.append(line)
    errors = [line for line in told if "[ERROR]" in line and STAMP.match(line)]
    chosen = errors[:REASON_LINES] or told[-REASON_LINES:]
    text = " | ".join(STAMP.sub("[", line).strip() for line in chosen)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def needs(stage: Stage, dpam: Dpam) -> None:
    """ConfigError if a program is missing that all targets of the stage need."""
    if missing := dpam.missing_programs():
        raise ConfigError(
            f"steps {stage.name} cannot run here, there is no {', no '.join(missing)}",
            "put it on PATH of the nodes, or use an --image that has it; then dpam-hpc resume",
        )
