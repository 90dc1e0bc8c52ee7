"""What a launcher notes of itself in the journal: a record at its start, and one at its end.

They are for ``dpam-hpc report`` alone; nothing that a launcher does goes by them.
"""

from __future__ import annotations

import os
import platform
import resource
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpam_hpc import __version__, settings
from dpam_hpc.align.aligner import Aligner, Options, programs
from dpam_hpc.errors import DpamHpcError
from dpam_hpc.journal import END, LAUNCHER, START, Record
from dpam_hpc.node import scratch
from dpam_hpc.node.bundle_copy import BundleCopy
from dpam_hpc.node.progress import Progress
from dpam_hpc.node.shared_fs import Asked

REASON_LENGTH = 300
NAMED_LENGTH = 100
"""Of targets that a run was given by name: of more only how many they are."""


class Account:
    """What one start of a launcher was given and what it has used; begins when it is made."""

    def __init__(self, run_settings: settings.RunSettings, about: Mapping[str, Any]) -> None:
        """``about``: what the launcher was told beside its settings, as its job and node."""
        self._settings = run_settings
        self._about = dict(about)
        self._began = time.time()
        self._used_before = _own_cpu()
        self._bundle: dict[str, Any] = {}
        self._copied = 0
        self._runs: list[Progress] = []
        self.asked = Asked()

    def bundle(self, path: Path, copy: BundleCopy | None) -> None:
        """Note the bundle, as far as that costs no reading, and whether it is a copy."""
        status = path.stat()
        self._bundle = {"path": str(path.absolute()), "bytes": status.st_size,
                        "mtime": status.st_mtime}  # fmt: skip
        if copy is not None:
            self._bundle["sha256"] = copy.sha256
            self._copied += copy.copied

    def run(self, progress: Progress) -> None:
        """Note that targets are worked on; ``progress`` goes on to be counted."""
        self._runs.append(progress)

    def start(
        self,
        aligner: type[Aligner],
        options: Options,
        fingerprint: str,
        choice: scratch.Choice,
    ) -> Record:
        """The record of the start: what works where, with what."""
        return {
            "target": LAUNCHER,
            "state": START,
            "at": round(self._began, 1),
            "ready": round(time.time(), 1),
            "node": socket.gethostname(),
            "pid": os.getpid(),
            "cpus": self._settings.cpus,
            "workers": self._settings.workers,
            "version": __version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "aligner": aligner.name,
            "fingerprint": fingerprint,
            "programs": programs(aligner, options),
            "bundle": self._bundle,
            "scratch": {
                "path": str(choice.folder), "type": scratch.mount_type(choice.folder),
                "fallback": choice.is_fallback, "free_bytes": scratch.free_bytes(choice.folder),
            },
            "settings": self._given(),
            **self._about,
        }  # fmt: skip

    def _given(self) -> dict[str, Any]:
        given = self._settings.model_dump(mode="json")
        for name in settings.PATHS:
            if given.get(name):
                given[name] = str(Path(given[name]).absolute())
        named = given["target"]
        is_short = len(" ".join(named)) <= NAMED_LENGTH
        given["target"] = (named if is_short else f"{len(named)} named") if named else "all"
        return given

    def end(self, reason: str, error: BaseException | None, busy: float, least_free: int) -> Record:
        """The record of the end: why, and what was used; ``reason`` of an interruption."""
        cpu: Counter[str] = Counter()
        for progress in self._runs:
            cpu.update(progress.cpu)
        if error is not None and not reason:
            what = error.what if isinstance(error, DpamHpcError) else repr(error)
            reason = what[:REASON_LENGTH]
        return {
            "target": LAUNCHER,
            "state": END,
            "at": round(time.time(), 1),
            "how": "failed" if error else "interrupted" if reason else "finished",
            "reason": reason,
            **self._sums(),
            "wasted": round(sum(progress.wasted for progress in self._runs), 1),
            "busy": round(busy, 1),
            "used": {step: round(seconds, 2) for step, seconds in cpu.items()},
            "launcher": round(_own_cpu() - self._used_before, 2),
            "asked": dict(self.asked.operations),
            "read_bytes": self.asked.read_bytes,
            "written_bytes": self.asked.written_bytes,
            "bundle_bytes": self._copied,
            "least_free_bytes": least_free,
        }

    def _sums(self) -> dict[str, int]:
        counted = ("done", "failed", "skipped", "found", "pairs", "hits")
        return {name: sum(getattr(p, name) for p in self._runs) for name in counted}


def _own_cpu() -> float:
    """CPU seconds of this process, whoever started it and whatever it did before."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def of_job(job: str, node: str, restart: int) -> dict[str, Any]:
    """What the start of a task is told of itself."""
    known: Sequence[tuple[str, Any]] = (("job", job), ("node", node), ("restart", restart))
    return {name: value for name, value in known if value != ""}
