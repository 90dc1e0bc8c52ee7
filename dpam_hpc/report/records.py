"""What records of launchers tell: of a start and its end, of what it was run with."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpam_hpc import journal
from dpam_hpc.image.identity import ImageIdentity, sha256
from dpam_hpc.report.facts import BROKEN, DIED, FINISHED, INTERRUPTED, Start, Task
from dpam_hpc.report.values import counts, number, table, text, whole

MADE_WITH = ("version", "python", "system", "aligner", "fingerprint")
ENDINGS = {FINISHED, INTERRUPTED, BROKEN}
OF_PROGRESS = {"finished": FINISHED, "interrupted": INTERRUPTED, "failed": BROKEN}


def add_progress(task: Task, said: dict[str, Any]) -> None:
    """What progress.json tells of the last start, where that has no record of its own."""
    began = number(said, "began")
    if not began:
        return
    last = task.starts[-1] if task.starts else None
    if last is None or (last.began and began > last.began + 1):
        # It is just starting, or died before it had a journal.
        last = Start(task.number, len(task.starts))
        task.starts.append(last)
    if not last.began:
        last.began = last.ready = began
        last.node, last.job = text(said.get("node", "")), text(said.get("job", ""))
    if last.how == DIED:
        last.ended = max(last.ended, last.ready, number(said, "at"))
        before = sum(start.wasted for start in task.starts[:-1])  # progress.json has that of all
        last.wasted = max(0.0, number(said, "wasted") - before)
        last.how = OF_PROGRESS.get(text(said.get("state", "")), DIED)
        last.reason = text(said.get("reason", ""))


def end(start: Start, record: journal.Record) -> None:
    """What a start's last record tells of it."""
    how = text(record.get("how", ""))
    start.how = how if how in ENDINGS else BROKEN
    start.reason = text(record.get("reason", ""))
    start.ended = max(start.ended, number(record, "at"))
    for name in ("done", "failed", "pairs", "hits", "found", "read_bytes", "written_bytes",
                 "bundle_bytes", "least_free_bytes"):  # fmt: skip
        setattr(start, name, whole(record, name))
    for name in ("wasted", "busy", "launcher"):
        setattr(start, name, number(record, name))
    start.used, start.asked = counts(record, "used"), counts(record, "asked")


def made_with(record: journal.Record) -> dict[str, Any]:
    """Versions and checksums of a start's record."""
    bundle = record.get("bundle")
    found: dict[str, Any] = {name: text(record.get(name, "")) for name in MADE_WITH}
    found["programs"] = {k: text(v) for k, v in table(record, "programs").items()}
    found["bundle"] = {}
    if isinstance(bundle, dict) and bundle.get("path"):
        found["bundle"] = {
            "path": text(bundle["path"]), "bytes": whole(bundle, "bytes"),
            "mtime": number(bundle, "mtime"), "sha256": text(bundle.get("sha256", "")),
        }  # fmt: skip
    return found


def checksum_bundle(bundle: dict[str, Any]) -> None:
    """Read a bundle that no launcher copied, if it is still as it was."""
    if not bundle or bundle["sha256"]:
        return
    with suppress(OSError, ValueError):
        path = Path(str(bundle["path"]))
        status = path.stat()
        same = (status.st_size, status.st_mtime) == (bundle["bytes"], bundle["mtime"])
        if stat.S_ISREG(status.st_mode) and same:
            with path.open("rb") as file:
                bundle["sha256"] = sha256(file)


def image(identity: ImageIdentity | None) -> dict[str, Any]:
    """An image as the report tells of it; empty without one."""
    if identity is None:
        return {}
    return {"path": text(identity.path), "sha256": text(identity.sha256),
            "architecture": text(identity.architecture), "bytes": identity.bytes}  # fmt: skip
