"""Checks of Apptainer and of the image: is it there, may it run, does it give the known answer."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc import command
from dpam_hpc.doctor.context import Context
from dpam_hpc.doctor.findings import Row, ok, problem, warning
from dpam_hpc.errors import ImageError
from dpam_hpc.image import fitness
from dpam_hpc.image.apptainer import UNPACKED

SECONDS = 20.0
RUN_SECONDS = 150.0
"""Of the known answer in the image, which may have to be unpacked first."""
NOT_NEEDED = "needed only with --image"
GET_APPTAINER = "load the site's module for Apptainer, or have it installed (apptainer.org)"
GET_NAMESPACES = (
    "have the administrators allow user namespaces (sysctl user.max_user_namespaces=65536), or"
    " install Apptainer with setuid"
)
GET_SQUASHFUSE = (
    "have the administrators install squashfuse and open /dev/fuse to users, else each start of a"
    " task unpacks the whole image"
)


@dataclass(frozen=True)
class Facts:
    """What there is to run images with; ``namespaces``: why there are none, else empty."""

    command: str
    path: str = ""
    version: str = ""
    problem: str = ""
    is_setuid: bool = False
    namespaces: str = ""
    squashfuse: str = ""
    has_fuse: bool = True


def apptainer(context: Context) -> list[Row]:
    """Apptainer, user namespaces, squashfuse."""
    modules = context.platform.container.modules
    name = context.platform.container.command
    if modules and not context.on_node and not shutil.which(name):
        told = f"on the nodes, by module {', '.join(modules)}: --on-node looks there"
        return [ok("Apptainer", told)]
    return judge_apptainer(gather(name), bool(context.settings.image))


def gather(name: str) -> Facts:
    """Ask Apptainer and the kernel."""
    path = shutil.which(name)
    namespaces = _namespaces()
    if path is None:
        return Facts(name, namespaces=namespaces)
    told = _ask([path, "--version"])
    if isinstance(told, str):
        return Facts(name, path, problem=told, namespaces=namespaces)
    if told.returncode:
        said = (told.stderr.strip().splitlines() or [f"exit status {told.returncode}"])[-1]
        return Facts(name, path, problem=said, namespaces=namespaces)
    configured = _ask([path, "buildcfg"])
    settings = {} if isinstance(configured, str) else _settings(configured.stdout)
    helpers = f"{os.environ.get('PATH', '')}:{settings.get('LIBEXECDIR', '')}/apptainer/bin"
    return Facts(
        name,
        path,
        told.stdout.strip().removeprefix("apptainer version "),
        "",
        settings.get("APPTAINER_SUID_INSTALL") == "1",
        namespaces,
        shutil.which("squashfuse_ll", path=helpers)
        or shutil.which("squashfuse", path=helpers)
        or "",
        os.access("/dev/fuse", os.R_OK | os.W_OK),
    )


def judge_apptainer(facts: Facts, is_needed: bool) -> list[Row]:
    """Pure."""
    if not facts.path:
        if not is_needed:
            return [ok("Apptainer", f"not here; {NOT_NEEDED}")]
        return [problem("Apptainer", f"there is no {facts.command} on PATH", GET_APPTAINER)]
    if facts.problem:
        level = problem if is_needed else warning
        told = f"{facts.path} does not work: {facts.problem}"
        return [level("Apptainer", told, "have the administrators look at it")]
    rows = [ok("Apptainer", f"{facts.version}, {facts.path}")]
    if facts.is_setuid:
        return [*rows, ok("images", "are mounted by the kernel: Apptainer is installed setuid")]
    if facts.namespaces:
        level = problem if is_needed else warning
        rows.append(level("user namespaces", facts.namespaces, GET_NAMESPACES))
    else:
        rows.append(ok("user namespaces", "can be made"))
    if not facts.squashfuse:
        rows.append(warning("squashfuse", "not here: images cannot be mounted", GET_SQUASHFUSE))
    elif not facts.has_fuse:
        rows.append(warning("squashfuse", "/dev/fuse may not be used", GET_SQUASHFUSE))
    else:
        rows.append(ok("squashfuse", facts.squashfuse))
    return rows


def image(context: Context) -> list[Row]:
    """The image beside the platform and this version; on a node also its known answer."""
    path = context.settings.image
    if path is None:
        return []
    rows = [judge_image(path, context)]
    if rows[0].remedy or not context.works_here:
        return rows
    program = shutil.which(context.platform.container.command)
    if not program:
        return rows
    rows.append(_known_answer(program, path.absolute()))
    if found := re.search(r"\(import ([0-9a-f]+)\)", rows[-1].found):
        context.fingerprint = found[1]
    return rows


def judge_image(path: Path, context: Context) -> Row:
    """By the file alone."""
    platform = context.platform
    try:
        has = fitness.check(path, platform.node_architecture(), platform.name)
    except ImageError as error:
        return problem("image", error.what, error.hint or "build one: dpam-hpc image build")
    return ok("image", f"{path}, {has}, as this dpam-hpc and the nodes need it")


def _known_answer(program: str, image: Path) -> Row:
    argv = [program, "exec", "--containall", "--no-home", str(image), "dpam-hpc", "dali", "check"]
    told = _ask(argv, RUN_SECONDS)
    check = "DALI in image"
    if isinstance(told, str):
        return problem(check, told, f"try: {shlex.join(argv[:-3])} true")
    if told.returncode:
        said = (told.stderr.strip().splitlines() or [f"exit status {told.returncode}"])[-1]
        return problem(check, said, "dpam-hpc image verify tells what is wrong; build it anew")
    answer = (told.stdout.strip().splitlines() or ["the known answer"])[-1]
    if UNPACKED in told.stderr:
        return warning(check, f"{answer}; the image was unpacked first", GET_SQUASHFUSE)
    return ok(check, answer)


def _ask(argv: list[str], seconds: float = 0.0) -> command.Captured | str:
    """What a command says, or why it says nothing; ``seconds``: 0 for the usual."""
    try:
        return command.capture(argv, timeout=seconds or SECONDS)
    except (OSError, command.TimedOut) as error:
        return str(error)


def _settings(text: str) -> dict[str, str]:
    """NAME=VALUE lines, as ``apptainer buildcfg`` prints them."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def _namespaces() -> str:
    """Why this user can make no user namespace; empty if they can."""
    program = shutil.which("unshare")
    if program is None:
        return ""  # not known; where they are missing the known answer fails
    told = _ask([program, "--user", "--map-root-user", "true"])
    if isinstance(told, str):
        return told
    said = told.stderr.strip().splitlines()[-1:] or [f"exit status {told.returncode}"]
    return f"cannot be made ({said[0]})" if told.returncode else ""
