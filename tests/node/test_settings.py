"""Settings: which source wins, and that every error is told at once with its source."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from dpam_hpc import settings
from dpam_hpc.errors import ConfigError, ExitCode
from dpam_hpc.settings import (
    FILE_NAME,
    Resolved,
    RunSettings,
    SubmitSettings,
    available_cpus,
    resolve,
    resolve_for,
)


class Sources:
    """A working folder, a user's configuration folder and an environment."""

    def __init__(self, root: Path) -> None:
        self.work, self.user = root / "work", root / "user"
        self.work.mkdir()
        self.user.mkdir()
        self.environment: dict[str, str] = {}

    def write(self, folder: Path, text: str) -> Path:
        """Write a settings file."""
        path = folder / FILE_NAME
        path.write_text(text)
        return path

    def resolve(self, **flags: object) -> Resolved[RunSettings]:
        """What the settings are."""
        return resolve({"work_dir": self.work, **flags}, self.environment, self.user)

    def error(self, **flags: object) -> str:
        """What is said to be wrong with them."""
        with pytest.raises(ConfigError) as caught:
            self.resolve(**flags)
        assert caught.value.exit_code == ExitCode.USAGE
        assert "--show-settings" in caught.value.hint
        return caught.value.what


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    """Sources in which nothing is set."""
    for name in os.environ:
        if name.startswith(settings.PREFIX) or name == "DALI_HOME":
            monkeypatch.delenv(name)
    return Sources(tmp_path)


def test_the_strongest_source_wins_and_is_named(sources: Sources) -> None:
    def grace() -> tuple[float, str]:
        resolved = sources.resolve(grace=flag)
        return resolved.settings.grace, resolved.sources["grace"]

    flag: float | None = None
    assert grace() == (20.0, "default")
    user_file = sources.write(sources.user, "grace = 1")
    assert grace() == (1.0, str(user_file))
    work_file = sources.write(sources.work, "grace = 2")
    assert grace() == (2.0, str(work_file))
    sources.environment["DPAM_HPC_GRACE"] = "3"
    assert grace() == (3.0, "environment DPAM_HPC_GRACE")
    flag = 0.0
    assert grace() == (0.0, "flag --grace")


def test_each_setting_comes_from_its_own_source(sources: Sources) -> None:
    sources.write(sources.user, 'aligner = "tmalign"\nmin_free_gb = 5')
    sources.write(sources.work, "min_free_gb = 7.5")
    sources.environment["DPAM_HPC_RETRY_FAILED"] = "1"
    resolved = sources.resolve(dali_workers=3)
    assert resolved.settings.aligner == "tmalign"
    assert resolved.settings.min_free_gb == 7.5
    assert resolved.settings.again == "failed"
    assert resolved.settings.workers == 3
    rows = {name: (value, source) for name, value, source in resolved.rows()}
    assert rows["aligner"] == ("tmalign", str(sources.user / FILE_NAME))
    assert rows["dali_workers"] == ("3", "flag --dali-workers")
    assert rows["data_dir"] == ("-", "default")
    assert rows["work_dir"] == (str(sources.work), "flag WORK_DIR")


def test_an_empty_variable_counts_as_not_set(sources: Sources) -> None:
    sources.environment["DPAM_HPC_GRACE"] = ""
    assert sources.resolve().sources["grace"] == "default"


def test_targets_are_separated_by_blanks_in_the_environment(sources: Sources) -> None:
    sources.environment["DPAM_HPC_TARGET"] = "P1  P2"
    assert sources.resolve().settings.target == ["P1", "P2"]
    assert sources.resolve(target=["P3"]).settings.target == ["P3"]


def test_relative_paths_in_a_file_count_from_its_folder(sources: Sources) -> None:
    sources.write(sources.work, 'data_dir = "../data"\ntemplates = "/abs/t.bundle"')
    sources.write(sources.user, 'scratch_dir = "~/scratch"\ntargets = "list.txt"\ndali_home = "d"')
    found = sources.resolve().settings
    assert found.data_dir == sources.work / "../data"
    assert found.templates == Path("/abs/t.bundle")
    assert found.scratch_dir == Path.home() / "scratch"
    assert found.targets == sources.user / "list.txt"
    assert found.dali_home == sources.user / "d"
    assert sources.resolve(data_dir=Path("here")).settings.data_dir == Path("here")


def test_the_file_of_the_working_folder_named_by_the_environment_is_heard(
    sources: Sources,
) -> None:
    sources.write(sources.work, "grace = 2")
    environment = {"DPAM_HPC_WORK_DIR": str(sources.work)}
    resolved = resolve({"work_dir": None}, environment, sources.user)
    assert (resolved.settings.work_dir, resolved.settings.grace) == (sources.work, 2.0)


def test_dalis_own_variable_is_heard_where_ours_is_not_set(sources: Sources) -> None:
    sources.environment["DALI_HOME"] = "/theirs"
    resolved = sources.resolve()
    assert resolved.settings.dali_home == Path("/theirs")
    assert resolved.sources["dali_home"] == "environment DALI_HOME"
    sources.environment["DPAM_HPC_DALI_HOME"] = "/ours"
    resolved = sources.resolve()
    assert resolved.settings.dali_home == Path("/ours")
    assert resolved.sources["dali_home"] == "environment DPAM_HPC_DALI_HOME"


def test_with_an_image_dalis_own_variable_is_not_heard(sources: Sources) -> None:
    def dali_home(**flags: object) -> tuple[Path | None, str]:
        flags = {"work_dir": sources.work, **flags}
        found = resolve_for(SubmitSettings, flags, sources.environment, sources.user)
        return found.settings.dali_home, found.sources["dali_home"]

    image = Path("dpam.sif")
    sources.environment["DALI_HOME"] = "/host"
    assert dali_home(image=image) == (None, "default")
    assert dali_home() == (Path("/host"), "environment DALI_HOME")
    work_file = sources.write(sources.work, 'dali_home = "/file"\nimage = "of/file.sif"')
    assert dali_home() == (Path("/file"), str(work_file))
    assert dali_home(no_image=True) == (Path("/host"), "environment DALI_HOME")
    sources.environment["DPAM_HPC_DALI_HOME"] = "/host"
    assert dali_home() == (Path("/host"), "environment DPAM_HPC_DALI_HOME")
    assert dali_home(dali_home=Path("/flag")) == (Path("/flag"), "flag --dali-home")
    assert sources.resolve().settings.dali_home == Path("/host"), "run has no image"


def test_every_error_is_told_at_once_with_its_source(sources: Sources) -> None:
    sources.write(sources.work, "grace = -1\ndali_worker = 3")
    sources.write(sources.user, 'min_free_gb = "much"')
    sources.environment["DPAM_HPC_CPUS"] = "0"
    told = sources.error(time_limit_factor=0.0).splitlines()
    expected = {
        "grace = -1": str(sources.work / FILE_NAME),
        "dali_worker: there is no such setting": str(sources.work / FILE_NAME),
        "min_free_gb = 'much'": str(sources.user / FILE_NAME),
        "cpus = '0'": "DPAM_HPC_CPUS",
        "time_limit_factor = 0.0": "--time-limit-factor",
    }
    assert len(told) == 1 + len(expected)
    for start, source in expected.items():
        (line,) = [line for line in told if line.strip().startswith(start)]
        assert source in line


@pytest.mark.parametrize(
    ("key", "near"), [("dali_worker", "dali_workers"), ("min_free", "min_free_gb"), ("xyz", None)]
)
def test_an_unknown_key_is_told_with_the_nearest_known_one(
    sources: Sources, key: str, near: str | None
) -> None:
    sources.write(sources.user, f"{key} = 1")
    told = sources.error()
    assert (f"did you mean {near}?" in told) if near else ("did you mean" not in told)


@pytest.mark.parametrize("text", ["grace = ", "[run\n", "\x00", 'grace = 1\ngrace = "2"'])
def test_a_file_that_is_no_toml_is_named(sources: Sources, text: str) -> None:
    path = sources.write(sources.user, text)
    told = sources.error(cpus=0)
    assert f"{path}: " in told
    assert "cpus = 0" in told, "other errors are told too"


def test_a_folder_in_place_of_a_file_is_named(sources: Sources) -> None:
    (sources.work / FILE_NAME).mkdir()
    assert str(sources.work / FILE_NAME) in sources.error()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"redo": True, "retry_failed": True}, "redo and retry_failed"),
        ({"targets": Path("list"), "target": ["P1"]}, "targets and target"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    sources: Sources, flags: dict[str, object], told: str
) -> None:
    assert f"{told} exclude each other" in sources.error(**flags)
    for name, value in flags.items():
        sources.resolve(**{name: value})


def test_a_flag_wins_over_a_setting_of_a_file_that_it_excludes(sources: Sources) -> None:
    sources.write(sources.work, 'targets = "list.txt"\nretry_failed = true')
    found = sources.resolve(target=["P1"], redo=True).settings
    assert (found.target, found.targets, found.again) == (["P1"], None, "all")


# -- processors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allocated", "cgroup", "found"),
    [
        (None, math.inf, 8),
        ("3", math.inf, 3),
        ("99", math.inf, 8),
        ("0", math.inf, 8),
        ("", math.inf, 8),
        ("4(x2)", math.inf, 8),
        ("6", 2.5, 2),
        (None, 1.0, 1),
    ],
)
def test_processors_are_those_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, allocated: str | None, cgroup: float, found: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(settings, "_cgroup_cpus", lambda: cgroup)
    environment = {} if allocated is None else {"SLURM_CPUS_PER_TASK": allocated}
    assert available_cpus(environment) == found


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.cfs_quota_us": "300000\n"}, 3),
        ({"cpu.cfs_quota_us": "-1\n"}, 8),
        ({}, 8),
    ],
)
def test_a_container_s_limit_is_heard(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], found: int
) -> None:
    def read_text(path: Path) -> str:
        if path.name in files:
            return files[path.name]
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(Path, "read_text", read_text)
    assert available_cpus({}) == found


@pytest.mark.parametrize(
    ("cpus", "set_to", "workers"),
    [(2, 0, 8), (16, 0, 64), (17, 0, 64), (64, 0, 64), (128, 0, 128), (2, 3, 3), (1, 100, 100)],
)
def test_there_are_four_workers_a_processor_up_to_64_and_none_is_idle_unless_set(
    sources: Sources, cpus: int, set_to: int, workers: int
) -> None:
    assert sources.resolve(cpus=cpus, dali_workers=set_to).settings.workers == workers
