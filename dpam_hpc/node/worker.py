"""A worker process: takes units from the launcher and aligns them, one after the other.

It leads a process group, to which the programs that it starts belong, and ends the whole group
when the launcher dies.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import shutil
import signal
import socket
import time

from dpam_hpc.align import aligner as aligners
from dpam_hpc.align.aligner import Aligner, ProgramFailed, Unusable
from dpam_hpc.align.iterate import TemplateResult, align_templates
from dpam_hpc.errors import AlignerError
from dpam_hpc.node import messages
from dpam_hpc.node.template_store import TemplateStore
from dpam_hpc.node.work import Done, Place, Prewarm, Setup, Unit

PYTHON = "Python"
PROCESS_NAME = "dpam-worker"
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""A scheduler and a terminal send these to every process; the launcher alone answers them."""


class Worker:
    """Does units; opens its aligner anew where the launcher moves to another scratch."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._class = aligners.load(setup.aligner)
        self._place: Place | None = None
        self._aligner: Aligner | None = None
        self._store: TemplateStore | None = None
        self._cpu_before: dict[str, float] = {}
        self._programs_failed = False

    def do(self, unit: Unit | Prewarm) -> Done:
        """Do one unit; every failure is in the answer."""
        start = time.monotonic()
        done = Done()
        self._programs_failed = False
        try:
            aligner, store = self._open(unit.place)
            if isinstance(unit, Prewarm):
                for template in unit.templates:
                    self._prepared(store, template)
            else:
                done.results = self._align(aligner, store, unit)
        except Unusable as error:
            done.query_failure = str(error)
        except ProgramFailed as error:
            self._programs_failed = True
            done.query_failure = f"its import failed twice: {error}"
        except (OSError, AlignerError) as error:
            # Scratch is full or gone, the programs' copies with it: nothing is wrong with the unit.
            done.scratch_problem = str(error)
        if self._programs_failed and not done.scratch_problem:
            self._doubt(unit.place, done)
        done.seconds = time.monotonic() - start
        done.cpu = self._cpu_since()
        return done

    def _open(self, place: Place) -> tuple[Aligner, TemplateStore]:
        if self._aligner is None or self._store is None or place != self._place:
            if self._aligner is not None:
                self._aligner.close()
                self._aligner = None
            folder = place.root / f"w{self._setup.number}-{os.getpid()}"
            self._aligner = self._class(place.options, folder)
            self._store = TemplateStore(
                self._aligner, place.cache, self._setup.pdb_folder, place.bundle
            )
            self._place = place
            self._cpu_before = {PYTHON: self._cpu_before.get(PYTHON, 0.0)}
        return self._aligner, self._store

    def _doubt(self, place: Place, done: Done) -> None:
        """Believe that programs failed only where they still give the known answer.

        Where scratch is going away, or its disk returns rubbish, they fail on whatever they are
        given, and nothing is wrong with the unit.
        """
        folder = place.root / f"doubt-{os.getpid()}-{time.monotonic_ns()}"
        try:
            self._class.prove(place.options, folder)
        except (OSError, AlignerError) as error:
            done.scratch_problem = f"programs fail there, on a known pair too: {error}"
            done.results = []
            done.query_failure = ""
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _cpu_since(self) -> dict[str, float]:
        """CPU seconds since the last call by step, this process's own among them."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        programs = resource.getrusage(resource.RUSAGE_CHILDREN)
        now = self._aligner.cpu_seconds() if self._aligner else {}
        # What an aligner computes in this process is its own, not Python's.
        inside = max(0.0, sum(now.values()) - programs.ru_utime - programs.ru_stime)
        now[PYTHON] = own.ru_utime + own.ru_stime - inside
        since = {step: seconds - self._cpu_before.get(step, 0.0) for step, seconds in now.items()}
        self._cpu_before = now
        return since

    def _prepared(self, store: TemplateStore, template: str) -> bytes | str:
        """A template as prepared, or why it cannot be."""
        try:
            return store.template(template)
        except Unusable as error:
            return str(error)
        except ProgramFailed as error:
            self._programs_failed = True
            return f"its import failed twice: {error}"

    def _align(self, aligner: Aligner, store: TemplateStore, unit: Unit) -> list[TemplateResult]:
        pdb = unit.place.query(unit.target).read_bytes()
        prepared = store.query(unit.target, pdb)
        templates: dict[str, bytes] = {}
        results = []
        for template in unit.templates:
            found = self._prepared(store, template)
            if isinstance(found, str):
                results.append(TemplateResult(template, failure=found))
            else:
                templates[template] = found
        try:
            return results + align_templates(aligner, pdb, prepared, templates)
        except (ProgramFailed, ValueError, IndexError, KeyError, TypeError):
            # One of them broke a program for all: alone, only the culprit fails.
            alone = (
                self._align_alone(aligner, pdb, prepared, name, templates[name])
                for name in templates
            )
            return results + list(alone)

    def _align_alone(
        self, aligner: Aligner, pdb: bytes, prepared: bytes, template: str, imported: bytes
    ) -> TemplateResult:
        """One template, tried twice; its failure named."""
        failure = ""
        for _ in range(2):
            try:
                (result,) = align_templates(aligner, pdb, prepared, {template: imported})
                return result
            except ProgramFailed as error:
                failure = f"{error} (twice)"
            except (ValueError, IndexError, KeyError, TypeError) as error:
                failure = f"an answer that cannot be read ({type(error).__name__}: {error}, twice)"
        self._programs_failed = True
        return TemplateResult(template, failure=failure)


def serve(launcher: socket.socket) -> None:
    """Serve the launcher over its socket until that closes."""
    os.setpgid(0, 0)
    _die_with(launcher)
    try:
        worker = Worker(messages.receive(launcher))
        while True:
            messages.send(launcher, worker.do(messages.receive(launcher)))
    except (EOFError, OSError):
        _end_group()


def _die_with(launcher: socket.socket) -> None:
    """End the whole group as soon as the launcher's end of the socket is closed."""

    def on_activity(_signal: int, _frame: object) -> None:
        poll = select.poll()
        poll.register(launcher, select.POLLRDHUP)
        if poll.poll(0):
            _end_group()

    signal.signal(signal.SIGIO, on_activity)
    # The programs that a worker starts ignore them too: what is ignored is inherited.
    for ignored in IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    fcntl.fcntl(launcher, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(launcher, fcntl.F_GETFL)
    fcntl.fcntl(launcher, fcntl.F_SETFL, flags | os.O_ASYNC)
    on_activity(0, None)


def _end_group() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)
