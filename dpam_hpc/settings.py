"""Settings of a run and of its submission: every value with where it came from.

Sources, the strongest first: the flag, the environment (``DPAM_HPC_…``), ``dpam-hpc.toml`` in the
working folder, ``dpam-hpc.toml`` in the user's configuration folder, the default; for DALI, before
that, what ``dpam-hpc dali install`` has built.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dpam_hpc import toml_file, trust
from dpam_hpc.errors import ConfigError

FILE_NAME = "dpam-hpc.toml"
PREFIX = "DPAM_HPC_"
WORKERS_A_CPU, MAX_DEFAULT_SEVERAL = 4, 64
"""By default so many workers a processor, up to so many in all; a processor beyond has one each."""
MOST_GB = 1e9
DALI_FOLDER = "DaliLite.v5"
DALI_INSTALLED = "dpam-hpc dali install"
"""The source of a DALI that is named nowhere and lies where that verb puts it."""
OTHER_VARIABLES = {"dali_home": "DALI_HOME"}
"""Variables of other tools that are heard where ours is not set, and there is no image."""
EXCLUDED_BY = {
    "target": "targets", "targets": "target", "redo": "retry_failed", "retry_failed": "redo",
    "image": "no_image", "no_image": "image",
}  # fmt: skip
"""A setting is not taken where a stronger source has the one that excludes it, unless it is OFF."""
PATHS = ("work_dir", "data_dir", "targets", "dali_home", "templates", "scratch_dir", "image")
LISTS = ("target", "sbatch_arg")
OFF: tuple[Any, ...] = (False, "", "0", "false", "no", "off", [])


def available_cpus(environment: Mapping[str, str] = os.environ) -> int:
    """Processors that this process may use: by affinity, cgroup limit and SLURM's allocation."""
    limits = [float(len(os.sched_getaffinity(0))), _cgroup_cpus()]
    allocated = environment.get("SLURM_CPUS_PER_TASK", "")
    if re.fullmatch("[0-9]{1,9}", allocated) and int(allocated):
        limits.append(float(allocated))
    return max(1, math.floor(min(limits)))


def _cgroup_cpus() -> float:
    for path, parse in (
        ("/sys/fs/cgroup/cpu.max", lambda text: text.split()),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", lambda text: [text.strip(), "100000"]),
    ):
        try:
            quota, period = parse(Path(path).read_text())
            if quota not in ("max", "-1"):
                return max(1.0, float(quota) / float(period))
        except (OSError, ValueError):
            continue
    return math.inf


class RunSettings(BaseModel):
    """What ``run`` and ``IterativeDali`` need to know; also the keys of ``dpam-hpc.toml``.

    ``dpam-hpc run --help`` and docs/running.md say what each is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    work_dir: Path = Path(".")
    data_dir: Path | None = None
    targets: Path | None = None  # a file of ids, one a line
    target: list[str] = []
    aligner: str = "dali"
    dali_home: Path | None = None
    templates: Path | None = None  # a template bundle
    scratch_dir: Path | None = None  # None: chosen on the node
    min_free_gb: Annotated[float, Field(ge=0, le=MOST_GB)] = 1.0
    cpus: int = Field(default_factory=available_cpus, ge=1)
    dali_workers: Annotated[int, Field(ge=0)] = 0  # 0: by ``workers``
    retry_failed: bool = False
    redo: bool = False
    fix_long_chains: bool = False
    dpam_state: bool = False
    grace: Annotated[float, Field(ge=0)] = 20.0  # seconds
    time_limit_factor: Annotated[float, Field(gt=0)] = 1.0

    @property
    def workers(self) -> int:
        """Worker processes: as set, else four a processor up to 64, and never under one each."""
        several = min(WORKERS_A_CPU * self.cpus, MAX_DEFAULT_SEVERAL)
        return self.dali_workers or max(several, self.cpus)

    @property
    def again(self) -> Literal["", "failed", "all"]:
        """What to work on once more."""
        return "all" if self.redo else "failed" if self.retry_failed else ""

    @model_validator(mode="after")
    def _one_kind_of_again(self) -> RunSettings:
        if self.redo and self.retry_failed:
            raise ValueError("redo and retry_failed exclude each other")
        if self.targets and self.target:
            raise ValueError("targets and target exclude each other")
        return self


class SubmitSettings(RunSettings):
    """What ``submit`` needs to know besides; also keys of ``dpam-hpc.toml``."""

    platform: str = "auto"
    image: Path | None = None
    no_image: bool = False  # run on the node with this very Python
    account: str = ""
    partition: str = ""
    nodes: Annotated[int, Field(ge=0)] = 0  # 0: as few as will do
    time: str = ""  # as SLURM writes it; empty: by the prediction
    max_tasks: Annotated[int, Field(ge=0)] = 0  # 0: as the platform allows
    sbatch_arg: list[str] = []
    steps: str = "7"  # of dpam's pipeline, as pipeline.steps.parse reads them
    dpam: str = ""  # the command on the nodes; empty: dpam of the image, or of PATH here
    skip_addss: bool = False  # dpam's step 2 without psipred

    @model_validator(mode="after")
    def _image_or_not(self) -> SubmitSettings:
        if self.image and self.no_image:
            raise ValueError("image and no_image exclude each other")
        return self

    def for_launchers(self) -> dict[str, Any]:
        """What of the settings the launchers on the nodes are given, as JSON holds it."""
        own = set(SubmitSettings.model_fields) - set(RunSettings.model_fields)
        chosen = {"targets", "target"} | (
            {"cpus"} if "cpus" not in self.model_fields_set else set()
        )
        given = self.model_dump(mode="json", exclude=own | chosen)
        for name in PATHS:
            if given.get(name):
                given[name] = str(Path(given[name]).absolute())
        return given


S = TypeVar("S", bound=RunSettings)


@dataclass(frozen=True)
class Resolved(Generic[S]):
    """Settings, and for each one the source of its value."""

    settings: S
    sources: dict[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """(setting, value, source) for each setting."""
        values = self.settings.model_dump()
        values["dali_workers"] = self.settings.workers
        return [(name, _shown(values[name]), self.sources[name]) for name in values]


def resolve(
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    user_folder: Path | None = None,
) -> Resolved[RunSettings]:
    """Settings of ``run`` from all sources; see ``resolve_for``."""
    return resolve_for(RunSettings, flags, environment, user_folder)


def resolve_for(
    model: type[S],
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    user_folder: Path | None = None,
) -> Resolved[S]:
    """Settings from all sources; ConfigError tells every error at once, each with its source.

    ``flags`` holds what was given on the command line; a value of None was not given.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    layers: list[tuple[str, Mapping[str, Any]]] = [("flag", given)]
    environment_layer = _from_environment(model, environment)
    layers.append(("environment", environment_layer))
    work_dir = Path(given.get("work_dir", environment.get(PREFIX + "WORK_DIR", ".")))
    user_folder = user_folder or platformdirs.user_config_path("dpam-hpc")
    errors = []
    for path in (work_dir / FILE_NAME, user_folder / FILE_NAME):
        try:
            layers.append((str(path), _from_file(path)))
        except ValueError as error:
            errors.append(f"{path}: {error}")
    merged, sources = _merged(model, layers, environment)
    theirs = f"environment {OTHER_VARIABLES['dali_home']}"
    if merged.get("image") and sources["dali_home"] == theirs:
        # It means the DALI of this machine, and the image has its own.
        del environment_layer["dali_home"]
        merged, sources = _merged(model, layers, environment)
    if "dali_home" not in merged and not merged.get("image"):
        home = installed_dali()
        if home.exists():
            trust.check(home)
            merged["dali_home"], sources["dali_home"] = home, DALI_INSTALLED
    try:
        settings = model(**merged)
    except ValidationError as error:
        errors += [_explained(item, sources) for item in error.errors()]
    if errors:
        raise ConfigError(
            "settings that cannot be used:\n  " + "\n  ".join(errors),
            "dpam-hpc run --show-settings tells where each value comes from",
        )
    return Resolved(settings, sources)


def installed_dali() -> Path:
    """Where ``dpam-hpc dali install`` puts DALI by default."""
    return platformdirs.user_data_path("dpam-hpc") / DALI_FOLDER


def planned(content: Mapping[str, Any], where: Path) -> RunSettings:
    """The launcher's settings as the plan ``where`` has them; ConfigError."""
    try:
        return RunSettings(**content)
    except ValidationError as error:
        found = "; ".join(_explained(item, dict.fromkeys(content, "")) for item in error.errors())
        raise ConfigError(
            f"the settings in {where} cannot be used: {found}",
            "it was planned by another version of dpam-hpc: submit anew, what is done is kept",
        ) from None


def _merged(
    model: type[RunSettings],
    layers: Sequence[tuple[str, Mapping[str, Any]]],
    environment: Mapping[str, str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values from ``layers``, the strongest first, and the source of each setting."""
    merged: dict[str, Any] = {}
    sources = dict.fromkeys(model.model_fields, "default")
    others = SubmitSettings.model_fields.keys() - model.model_fields.keys()
    for source, layer in layers:
        stronger = set(merged)
        for name, value in layer.items():
            excluded = EXCLUDED_BY.get(name, "")
            if (
                name in others
                or name in merged
                or (excluded in stronger and merged[excluded] not in OFF)
            ):
                continue
            merged[name] = value
            sources[name] = f"{source} {_spelled(name, source, environment)}".strip()
    return merged, sources


def _from_environment(model: type[RunSettings], environment: Mapping[str, str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for name in model.model_fields:
        for variable in (PREFIX + name.upper(), OTHER_VARIABLES.get(name, "")):
            if environment.get(variable) and name not in layer:
                value = environment[variable]
                layer[name] = value.split() if name in LISTS else value
    return layer


def _from_file(path: Path) -> dict[str, Any]:
    """A settings file; relative paths in it count from its folder. ValueError if it is no TOML."""
    try:
        content = toml_file.loads(trust.read(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(str(error)) from None
    for name in PATHS:
        if name == "work_dir":
            continue  # it is the folder that was named, or the one of this file
        if isinstance(content.get(name), str):
            try:
                content[name] = path.parent / Path(content[name]).expanduser()
            except RuntimeError:
                raise ValueError(f"{name} = {content[name]!r}: there is no such user") from None
    return content


def _spelled(name: str, source: str, environment: Mapping[str, str]) -> str:
    if source == "flag":
        return "WORK_DIR" if name == "work_dir" else "--" + name.replace("_", "-")
    if source == "environment":
        ours = PREFIX + name.upper()
        return ours if environment.get(ours) else OTHER_VARIABLES[name]
    return ""


def _explained(item: Any, sources: Mapping[str, str]) -> str:
    name = str(item["loc"][0]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        near = get_close_matches(name, SubmitSettings.model_fields, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{name}: there is no such setting ({sources.get(name, 'unknown source')}){hint}"
    text = str(item["msg"]).removeprefix("Value error, ")
    return f"{name} = {item['input']!r} ({sources[name]}): {text}" if name else text


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "-"
    return " ".join(value) if isinstance(value, list) else str(value)
