"""Job scripts from templates. Pure: text from values; nothing is read but the templates."""

from __future__ import annotations

import re
import shlex
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jinja2

from dpam_hpc.errors import ConfigError

PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
NODE_TEMPLATE = "node.sh.j2"


@dataclass(frozen=True)
class JobScript:
    """What a job's scripts are made of; the templates know nothing else."""

    run_id: str
    run_dir: str
    job_name: str
    platform: str
    scheduler: str
    mode: str
    launch_type: str
    first: int
    tasks: int
    targets: int
    at_once: int
    cpus: int
    exclusive: bool
    memory: str
    time_limit: str
    signal_lead: int
    requeue: bool
    max_restarts: int
    jitter: int
    log: str
    access: Sequence[str]
    sbatch_args: Sequence[str]
    modules: Sequence[str]
    scratch: Sequence[str]
    last_resort: Sequence[str]
    container_command: str
    container_tmp_dir: str
    image: str
    image_architecture: str
    bind_paths: Sequence[str]
    launcher: Sequence[str]

    def values(self) -> dict[str, Any]:
        """All of it under the names that the templates use."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            **own,
            "array": self.mode == "array",
            # SLURM_JOB_ID of an array's last element is the id of the whole array.
            "this_job": '"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"'
            if self.mode == "array"
            else '"$SLURM_JOB_ID"',
            # A word of the shell: the task of the job's first node.
            "first_task": f'"$(({self.first} + SLURM_ARRAY_TASK_ID))"'
            if self.mode == "array"
            else str(self.first),
            "scratch_places": [shell_place(place) for place in self.scratch],
            "last_resort": [shell_place(place) for place in self.last_resort],
            "container_tmp_dir": shell_place(self.container_tmp_dir)
            if self.container_tmp_dir
            else "",
            # srun does not take over --cpus-per-task of the job since SLURM 22.05.
            "srun_cpus": "" if self.exclusive else f" --cpus-per-task={self.cpus}",
        }


class Renderer:
    """Templates from ``folders``, the strongest first, then those that come with dpam-hpc."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([*folders, shipped_folder()]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701 - shell scripts: every value is quoted by ``q``
        )
        self._environment.filters.update(q=quoted, directive=directive, pattern=pattern)

    def job(self, script: JobScript) -> str:
        """The batch script: by the platform's own template, if there is one."""
        general = f"{script.scheduler}-{script.mode}.sh.j2"
        if script.scheduler == "local":
            general = "local.sh.j2"
        return self._render([f"{script.platform}.sh.j2", general], script.values())

    def node(self, script: JobScript) -> str:
        """What runs once a node."""
        return self._render([f"{script.platform}-node.sh.j2", NODE_TEMPLATE], script.values())

    def on_node(self, platform: str, values: Mapping[str, Any]) -> str:
        """A job of one command on one node; ``on_node.py`` says what the template knows."""
        return self._render([f"{platform}-on-node.sh.j2", "on-node.sh.j2"], values)

    def _render(self, names: list[str], values: Mapping[str, Any]) -> str:
        try:
            return self._environment.select_template(names).render(values)
        except jinja2.TemplateError as error:
            where = getattr(error, "filename", None) or getattr(error, "name", None) or names[-1]
            for frame in traceback.extract_tb(error.__traceback__):
                if frame.filename.endswith(".j2"):
                    where = f"{frame.filename}:{frame.lineno}"  # at last the innermost
            raise ConfigError(
                f"the job template {where} cannot be used: {error}",
                "docs/cluster.md says what templates may use",
            ) from None


def shipped_folder() -> Path:
    """The templates that come with dpam-hpc: in the package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


def quoted(value: object) -> str:
    """One word of a shell, whatever is in it."""
    return shlex.quote(str(value))


def directive(value: str) -> str:
    """One word of an ``#SBATCH`` line: sbatch knows double quotes and the backslash."""
    if PLAIN.fullmatch(value):
        return value
    if not value.isprintable():
        raise ConfigError(f"{value!r} has characters that no #SBATCH line can hold")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def pattern(value: str) -> str:
    """A ``--output=`` pattern: {job}, {array} and {task} become SLURM's, other % are its own."""
    folder, slash, name = value.replace("%", "%%").rpartition("/")
    name = name.replace("{job}", "%j").replace("{array}", "%A").replace("{task}", "%a")
    return folder + slash + name


def shell_place(place: str) -> str:
    """A scratch candidate as a word: variables are expanded on the node, nothing else is."""
    parts = []
    end = 0
    for found in VARIABLE.finditer(place):
        parts.append(_inside_quotes(place[end : found.start()]))
        parts.append(f"${{{found[1] or found[2]}:-}}")
        end = found.end()
    parts.append(_inside_quotes(place[end:]))
    return '"' + "".join(parts) + '"'


def _inside_quotes(text: str) -> str:
    return re.sub(r'([\\"$`])', r"\\\1", text)
