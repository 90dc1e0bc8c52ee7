"""Failures by reason: what is alike counted together, with what to do about it."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

from dpam_hpc.report.facts import BROKEN, FAILED, LEFT, RUNNING, Failure
from dpam_hpc.report.values import content, text

if TYPE_CHECKING:
    from dpam_hpc.report.facts import Facts
    from dpam_hpc.target import OutputNames, WorkFolder

FILES_READ = 500
"""Failures files: those of further targets are only counted."""
EXAMPLES = 5
NOT_REPEATED = {"work_dir", "target", "retry_failed", "redo"}
"""Of the flags of ``run``: those that are named anyhow, or begin something anew."""
NOT_NAMED = re.compile("[0-9]+ named")
"""Of targets that were too many to be noted one by one."""
FINAL = "final: such a structure is not aligned"
ADVICE = (
    (r"no \S+_hits4Dali", "run dpam's step 6 for them, then try again"),
    (r"^missing: there is no", "is ECOD70 the release that step 6 used? then try again"),
    (r"^missing: no", "put the queries there (dpam's step 1 writes them), then try again"),
    (r"chains \(|several models|insertion codes", "cut out one chain of one model, renumber it"),
    (r"DALI aligns chains of|DALI is compiled for|CA-only", FINAL),
    (r"no ATOM lines|is empty|is binary|readable coordinates|no number", "get the files again"),
    (r"cannot be read|unreadable", "see to rights and disk, then try again"),
    (r"over time", "a slow node: try again with --time-limit-factor 5"),
    (r"killed by signal 9", "memory: try again with fewer --dali-workers"),
    (r"import failed|ended with exit status|killed by signal", "dpam-hpc dali check; try again"),
)
"""Patterns of reasons as docs/failures.md lists them, the first that is found."""


def by_reason(
    facts: Facts, names: OutputNames | None, folder: WorkFolder
) -> tuple[list[Failure], int]:
    """Failures, the most frequent first, and how many targets' failures files were not read."""
    found: dict[tuple[bool, str], Failure] = {}
    unread = read = 0
    for target in facts.targets:
        if target.state == FAILED:
            _count(found, True, target.reason, target.id, target.id)
        elif target.failures:
            if names is None or read >= FILES_READ:
                unread += 1
                continue
            read += 1
            path = folder.output_folder / names.failures(target.id)
            rows: list[str] = []
            with suppress(OSError):
                rows = content(path).decode(errors="replace").splitlines()[1:]
            for row in rows:
                cells = row.split("\t")
                if len(cells) == 3 and cells[1] == "failed":
                    _count(found, False, text(cells[2]), text(cells[0]), target.id)
    return sorted(found.values(), key=lambda f: (not f.whole, -f.count)), unread


def _count(
    found: dict[tuple[bool, str], Failure], whole: bool, reason: str, failed: str, target: str
) -> None:
    alike = general(reason, failed)
    failure = found.setdefault((whole, alike), Failure(alike, whole, advice=advice(reason)))
    failure.count += 1
    if len(failure.examples) < EXAMPLES:
        failure.examples.append(target if whole else f"{target} with {failed}")


def general(reason: str, failed: str) -> str:
    """A reason without what is this target's or template's own: its id, folders, numbers."""
    shown = reason.replace(failed, "ID") if failed else reason
    shown = re.sub(r"(?:/[^\s/:,]+)+/", ".../", shown)
    return re.sub(r"(?<![\w.-])(?<!signal )\d+(?![\w.-])", "N", shown)


def advice(reason: str) -> str:
    """What to do about it."""
    for pattern, what in ADVICE:
        if re.search(pattern, reason):
            return what
    return "see docs/failures.md; try again"


def commands(facts: Facts) -> list[tuple[str, str]]:
    """(what for, command) to go on with what is left and to try failures again."""
    is_running = any(start.how == RUNNING for start in facts.starts)
    if facts.run:
        go_on = ["dpam-hpc", "resume", facts.work_dir]
    else:
        go_on = ["dpam-hpc", "run", facts.work_dir]
        for name, value, source in facts.settings:
            if name == "target" and source.startswith("flag"):
                if NOT_NAMED.fullmatch(value):
                    return []  # without their names it would do all
                go_on += [word for one in value.split() for word in ("--target", one)]
            elif (
                source.startswith("flag")
                and name not in NOT_REPEATED
                and value not in ("False", "-")
            ):
                go_on.append(f"--{name.replace('_', '-')}")
                go_on += [value] if value != "True" else []
    wanted = []
    waits = not facts.starts and not facts.cancelled
    if facts.count(LEFT) and not is_running and not waits:
        wanted.append(("go on with what is left", shlex.join(go_on)))
    if any(target.has_failures for target in facts.targets):
        wanted.append(("try failures again", shlex.join([*go_on, "--retry-failed"])))
    if facts.run and any(start.how == BROKEN for start in facts.starts):
        log = ["dpam-hpc", "logs", "-C", facts.work_dir]
        wanted.append(("what the jobs said", shlex.join(log)))
    return wanted
