"""Checks of folders: scratch candidates, working folder, data; each with what its disk is like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpam_hpc.doctor.context import Context
from dpam_hpc.doctor.findings import Row, ok, problem, warning
from dpam_hpc.node.scratch import gb
from dpam_hpc.probe import probing
from dpam_hpc.probe.measuring import Budget, Measured, measure
from dpam_hpc.submit.preflight import FREE_BYTES

LATENCIES = Budget(latency=1.0)
SLOW = 20.0
"""Milliseconds of making a file from which on a shared folder is worth a remark."""
NAME_ANOTHER = "name a folder on this machine's own disk: --scratch-dir"


def scratch(context: Context) -> list[Row]:
    """Each place where a node would look, in that order."""
    need = probing.room_needed(context.settings)
    unset: list[str] = []
    found: list[Measured] = []
    for role, name, folder in probing.places(
        context.settings, context.platform, context.environment
    ):
        if role != "scratch":
            continue
        if folder is None:
            unset.append(name)
        elif all(place.path != str(folder) for place in found):
            found.append(measure("scratch", name, folder, LATENCIES, need))
    return judge_scratch(found, unset, context)


def judge_scratch(found: Sequence[Measured], unset: Sequence[str], context: Context) -> list[Row]:
    """Pure: a row a place, and a word on all where none will do."""
    rows = []
    explicit = context.settings.scratch_dir is not None
    chosen = next((p for p in found if _is_fit(p)), None)
    if explicit:
        found = [p for p in found if p.name == probing.EXPLICIT]
        chosen = next((p for p in found if not p.problem), None)
    for place in found:
        rows.append(_scratch_row(place, place is chosen, explicit, context))
    if unset and not explicit:
        rows.append(ok("scratch", f"not set here: {', '.join(unset)}"))
    if chosen is None and not explicit:
        told = "no place will do: a run works in the working folder, slowly"
        if not context.works_here:
            rows.append(warning("scratch", f"on this machine {told}", "look on a node: --on-node"))
        else:
            rows.append(problem("scratch", told, NAME_ANOTHER))
    return rows


def _scratch_row(place: Measured, is_chosen: bool, explicit: bool, context: Context) -> Row:
    level = problem if explicit and context.works_here else warning
    remedy = NAME_ANOTHER
    if place.problem:
        told = f"{place.path} {place.problem}"
        if "free of the" in place.problem:
            remedy = f"free some room in {place.path}, or {NAME_ANOTHER}"
        return level("scratch", told, remedy)
    told = f"{place.path}: {described(place)}"
    if not place.is_local:
        kind = f"shared file system ({place.filesystem})"
        return warning("scratch", f"{told}; is on a {kind}", remedy)
    return ok("scratch", told + ("; a run works here" if is_chosen else ""))


def _is_fit(place: Measured) -> bool:
    return not place.problem and place.is_local


def work_dir(context: Context) -> list[Row]:
    """The working folder."""
    folder = context.settings.work_dir.absolute()
    if not folder.is_dir():
        return [problem("WORK_DIR", f"there is no folder {folder}", "name dpam's working folder")]
    return [judge_work_dir(measure("work", "WORK_DIR", folder, LATENCIES))]


def judge_work_dir(place: Measured) -> Row:
    """Pure."""
    if place.problem:
        told = f"{place.path} {place.problem}"
        return problem("WORK_DIR", told, "name a working folder of your own that can be written")
    told = f"{place.path}: {described(place)}"
    if place.free_bytes < FREE_BYTES:
        return problem("WORK_DIR", told, "free some room there: hits would not be written")
    making = place.latency["create"].median
    if making > SLOW:
        remedy = "keep scratch on the nodes' own disks: dpam-hpc probe tells what this costs"
        return warning("WORK_DIR", f"{told}; slow", remedy)
    return ok("WORK_DIR", told)


def data(context: Context) -> list[Row]:
    """The templates' PDB files; they may be absent where there is a bundle."""
    folder = context.settings.data_dir
    has_bundle = context.settings.templates is not None
    if folder is None and (context.settings.work_dir / "ECOD70").is_dir():
        folder = context.settings.work_dir
    if folder is None:
        if has_bundle:
            return [ok("data folder", "none is named; the bundle has the templates")]
        return [problem("data folder", "none is named", "give --data-dir DIR, with ECOD70/ in it")]
    ecod = folder.absolute() / "ECOD70"
    if not ecod.is_dir():
        return [judge_no_ecod(ecod, has_bundle)]
    return [judge_data(measure("data", "ECOD70", ecod, LATENCIES), has_bundle)]


def judge_no_ecod(ecod: Path, has_bundle: bool) -> Row:
    """Pure."""
    told = f"there is no folder {ecod}"
    if has_bundle:
        return ok("data folder", f"{told}; the bundle has the templates")
    return problem("data folder", told, "--data-dir is the folder with ECOD70/ in it")


def judge_data(place: Measured, has_bundle: bool) -> Row:
    """Pure."""
    if place.problem:
        told = f"{place.path} {place.problem}"
        return problem("data folder", told, "see that you may read it, and its server answers")
    if "read" not in place.latency and not has_bundle:
        told = f"{place.path} has no files in it"
        return problem("data folder", told, "--data-dir is dpam's data folder, with the templates")
    return ok("data folder", f"{place.path}: {described(place)}")


def described(place: Measured) -> str:
    """File system, room, latencies in milliseconds."""
    where = "local" if place.is_local else "shared"
    times = ", ".join(f"{kind} {ms(found.median)}" for kind, found in place.latency.items())
    return f"{place.filesystem} ({where}), {gb(place.free_bytes)} free; {times} ms"


def ms(value: float) -> str:
    """Milliseconds as people read them."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
