"""All checks, one after the other: none is waited for without end, none takes the others down."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dpam_hpc.doctor import cluster, container, inputs, machine, places
from dpam_hpc.doctor.context import Context
from dpam_hpc.doctor.findings import Findings, Row, grouped, problem
from dpam_hpc.errors import DpamHpcError
from dpam_hpc.patience import TookTooLong, within
from dpam_hpc.platforms.detect import host_name

Check = Callable[[Context], list[Row]]
REPORT = "please report it, with this line"
SHORT, LONG = 20.0, 180.0
"""Seconds that a check may take: a measurement, and the known answer in an image to be unpacked."""

CHECKS: Sequence[tuple[str, str, float, Check]] = (
    ("this machine", "Python", SHORT, machine.python),
    ("this machine", "locale", SHORT, machine.session_locale),
    ("this machine", "clock", SHORT, machine.clock),
    ("this machine", "limits", SHORT, machine.limits),
    ("programs", "DALI", LONG, inputs.aligner),
    ("programs", "Apptainer", 4 * SHORT, container.apptainer),
    ("programs", "image", LONG, container.image),
    ("scheduler", "SLURM", 5 * SHORT, cluster.slurm),
    ("folders", "WORK_DIR", 2 * SHORT, places.work_dir),
    ("folders", "data folder", 2 * SHORT, places.data),
    ("folders", "scratch", 5 * SHORT, places.scratch),
    ("folders", "bundle", LONG, inputs.bundle),
    ("folders", "trust", SHORT, inputs.trusted),
)
"""Heading, what is checked, how long it may take, and how: the aligner before the bundle."""


def examine(
    context: Context,
    reason: str,
    *,
    before: Sequence[Row] = (),
    checks: Sequence[tuple[str, str, float, Check]] = CHECKS,
) -> Findings:
    """All rows; ``before``: what went wrong before any check could be made."""
    rows = list(before)
    for group, name, seconds, check in checks:
        rows += grouped(group, checked(name, seconds, check, context))
    job = context.environment.get("SLURM_JOB_ID", "") if context.on_node else ""
    return Findings(context.platform.name, reason, host_name(), rows, job)


def checked(name: str, seconds: float, check: Check, context: Context) -> list[Row]:
    """The rows of a check; one that hangs or fails is a problem by itself."""
    try:
        return within(seconds, lambda: check(context))
    except TookTooLong as error:
        told = f"{error}: a file system or a program hangs"
        return [problem(name, told, "see which: ls WORK_DIR, the data folder, the scratch places")]
    except DpamHpcError as error:
        return [problem(name, error.what, error.hint or REPORT)]
    except OSError as error:
        return [problem(name, str(error), "see that the folder is there, answers and may be used")]
    except Exception as error:
        return [problem(name, f"failed unexpectedly: {type(error).__name__}: {error}", REPORT)]
