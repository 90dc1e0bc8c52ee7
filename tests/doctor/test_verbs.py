"""The verbs doctor and probe as a user calls them."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dpam_hpc.cli.asked_node import arguments_of
from dpam_hpc.cli.doctor import TOLD
from dpam_hpc.errors import ExitCode
from dpam_hpc.node import scratch
from dpam_hpc.platforms.detect import host_name
from dpam_hpc.probe import operations
from dpam_hpc.probe.keeping import Probe, keep
from dpam_hpc.probe.measuring import Budget, measure
from dpam_hpc.run_dir import Job, Plan, RunDir
from dpam_hpc.settings import SubmitSettings
from tests.conftest import COMMAND, environment, run
from tests.doctor.site import Site
from tests.doctor.test_probe_meaning import SHARED, place
from tests.security.people import NEEDED, THEY

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
PLATFORM = """
schema = 1
name = "mycluster"
descr = "a site of the tests"
[scheduler]
type = "local"
[scratch]
candidates = ["$TMPDIR", "$OTHER"]
min_free_gb = 0.01
"""


class User:
    """Somebody with a site that is well; ``call`` runs a verb on the working folder."""

    def __init__(self, site: Site) -> None:
        self.site = site
        platforms = site.root / "config" / "dpam-hpc" / "platforms"
        platforms.mkdir(parents=True)
        (platforms / "mycluster.toml").write_text(PLATFORM)
        self.tmp, self.other = site.root / "tmp", site.root / "other"
        self.other.mkdir(mode=0o700)
        self.env = environment(
            XDG_CONFIG_HOME=str(site.root / "config"),
            XDG_STATE_HOME=str(site.root / "state"),
            TMPDIR=str(self.tmp),
            OTHER=str(self.other),
            COLUMNS="80",
        )

    def arguments(self, verb: str, *more: str | Path) -> list[str | Path]:
        site = self.site.settings
        dali = ["--dali-home", site["dali_home"]] if verb == "doctor" else []
        return [
            verb, site["work_dir"], "--platform", "mycluster", "--data-dir", site["data_dir"],
            *dali, *more,
        ]  # fmt: skip

    def call(
        self, verb: str, *more: str | Path, exit: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = run(*self.arguments(verb, *more), env={**self.env, **env})
        assert done.returncode == exit, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, verb: str, *more: str, exit: int = 0) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.call(verb, "--json", *more, exit=exit).stdout)
        schema = json.loads((SCHEMAS / f"{verb}.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(content, schema)
        return content

    def left(self) -> list[str]:
        """What a probe or the doctor has left anywhere."""
        folders = (self.tmp, self.other, self.site.work, self.site.settings["data_dir"])
        names = [name for folder in folders for name in os.listdir(folder)]
        return [name for name in names if name.startswith((".", scratch.PREFIX))]


@pytest.fixture
def user(site: Site) -> User:
    return User(site)


# doctor


def test_a_site_that_is_well_on_a_dumb_terminal(user: User) -> None:
    told = user.call("doctor", TERM="dumb").stdout
    assert "\x1b" not in told
    assert max(map(len, told.splitlines())) <= 80
    assert told.splitlines()[-1] == "all is well"
    for heading in ("this machine", "programs", "scheduler", "folders"):
        assert f"\n{heading}\n" in told
    assert user.left() == []


def test_a_problem_is_told_with_its_remedy_and_the_exit_code(user: User) -> None:
    (user.site.settings["data_dir"] / "ECOD70").rename(user.site.root / "elsewhere")
    told = user.call("doctor", exit=ExitCode.PROBLEM).stdout
    lines = [line.strip() for line in told.splitlines()]
    at = next(n for n, line in enumerate(lines) if line.startswith("problem data folder"))
    assert "-> --data-dir is the folder with ECOD70/ in it" in lines[at + 1 : at + 4]
    assert lines[-1] == "1 problem to mend, 0 warnings"


def test_another_aligner_is_proved_and_told_to_a_node(user: User) -> None:
    rows = user.json("doctor", "--aligner", "tmalign")["rows"]
    checks = {row["check"]: row["level"] for row in rows}
    assert checks["tmalign"] == "ok" and "DALI" not in checks
    settings = SubmitSettings(**user.site.settings, aligner="tmalign")
    words = arguments_of(settings, user.site.context().platform, TOLD)
    assert words[words.index("--aligner") + 1] == "tmalign"


def test_as_json(user: User) -> None:
    content = user.json("doctor")
    assert (content["worst"], content["platform"]) == ("ok", "mycluster")
    (user.site.work / "dpam-hpc.toml").write_text("cpus = 'many'\n")
    content = user.json("doctor", exit=ExitCode.PROBLEM)
    assert content["counts"]["problem"] == 1
    (row,) = (r for r in content["rows"] if r["level"] == "problem")
    assert "cpus = 'many'" in row["found"] and "--show-settings" in row["remedy"]


@NEEDED
def test_settings_of_another_user_take_nothing_else_down(user: User) -> None:
    THEY.file(user.site.work / "dpam-hpc.toml", b"")
    rows = user.json("doctor", exit=ExitCode.PROBLEM)["rows"]
    assert {r["check"] for r in rows if r["level"] == "problem"} == {"settings", "trust"}
    assert len(rows) > 10


def test_too_few_open_files_here(user: User) -> None:
    words = [*COMMAND, *map(str, user.arguments("doctor", "--json"))]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -Sn 100; exec "$@"', "bash", *words],
        env=user.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == ExitCode.PROBLEM, done.stderr
    (row,) = (r for r in json.loads(done.stdout)["rows"] if r["level"] == "problem")
    assert row["check"] == "open files" and row["remedy"].startswith("ulimit -n ")


def test_names_are_made_printable(user: User) -> None:
    folder = user.site.root / "no\x1b[31mfolder"
    told = user.call("doctor", "--templates", folder, exit=ExitCode.PROBLEM).stdout
    assert "\x1b" not in told and "no [31mfolder" in told


# probe


def test_a_probe_measures_tells_and_is_kept(user: User) -> None:
    told = user.call("probe", "--seconds", "0.5")
    kept = user.site.root / "state" / "dpam-hpc" / "probes" / "mycluster.probe.json"
    assert told.stderr == f"kept in {kept}\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert "what it means: a protein of this folder" in told.stdout
    (order,) = re.findall("scratch is tried in this order: (.*)", told.stdout)
    assert sorted(order.split(", ")) == ["$OTHER", "$TMPDIR"], "one disk: which is first is chance"
    content = json.loads(kept.read_text())
    assert user.json("probe", "--seconds", "0.5").keys() == content.keys()
    by_name = {p["name"]: p for p in content["places"]}
    for name in ("$TMPDIR", "$OTHER", "WORK_DIR"):
        assert by_name[name]["latency"].keys() == {"create", "mkdir", "read", "stat"}
        assert by_name[name]["at_once"]["workers"] == 64
        assert by_name[name]["write_mb_s"] > 0 and by_name[name]["read_mb_s"] > 0
    assert by_name["ECOD70"]["latency"].keys() == {"read", "stat"}  # data are only read
    assert user.left() == []
    wide = {**user.env, "COLUMNS": "300"}
    shown = run("platforms", "show", "mycluster", env=wide).stdout
    assert f"probe of {time.strftime('%Y-%m-%d')} on " in shown and str(user.other) in shown


def test_a_disk_that_is_slow_to_read_is_not_told_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read

    def slowly(file: int, size: int) -> bytes:
        time.sleep(0.2)
        return read(file, size)

    monkeypatch.setattr("os.read", slowly)
    assert operations.throughput(str(tmp_path), 0.1, 1 << 20)["read"] > 0


def test_on_a_login_node_nothing_is_kept(user: User) -> None:
    path = user.site.root / "config" / "dpam-hpc" / "platforms" / "mycluster.toml"
    path.write_text(PLATFORM.replace('"local"', '"slurm"'))
    for job in ("", "17"):  # as in the shell that salloc opens
        told = user.call("probe", "--seconds", "0.5", SLURM_JOB_ID=job)
        assert "not kept" in told.stderr and "--on-node" in told.stderr
        assert not (user.site.root / "state").exists()
    told = user.call("probe", "--seconds", "0.5", SLURM_JOB_ID="17", SLURMD_NODENAME="n1")
    assert "kept in" in told.stderr


def test_on_a_node_each_verb_is_told_what_it_takes(user: User) -> None:
    """A working folder's file has settings that the probe has no option for."""
    dali = user.site.settings["dali_home"]
    (user.site.work / "dpam-hpc.toml").write_text(f"dali_home = '{dali}'\n")
    told = user.call("probe", "--seconds", "0.5", "--on-node")
    assert "kept in" in told.stderr


def kept_probe(user: User, monkeypatch: pytest.MonkeyPatch, **names: float) -> Probe:
    """A probe of this machine in which the candidates have these latencies."""
    monkeypatch.setenv("XDG_STATE_HOME", user.env["XDG_STATE_HOME"])
    places = [place(name, ms) for name, ms in names.items()]
    made = Probe("mycluster", host_name(), time.time(), 64, 64, [*places, SHARED])
    keep(made)
    return made


def test_submit_and_its_node_hear_the_probe(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept_probe(user, monkeypatch, **{"$TMPDIR": 9.0, "$OTHER": 0.05})
    told = user.call("submit", "--dry-run", "--dali-home", user.site.settings["dali_home"]).stdout
    assert f"scratch is tried as the probe of {made.date} on {made.host} has measured" in told
    assert "$TMPDIR is tried last: it is slower than the working folder" in told
    assert 'for place in "${OTHER:-}" "${TMPDIR:-}"; do' in told
    explicit = user.call("submit", "--dry-run", "--scratch-dir", user.tmp).stdout
    assert "is tried" not in explicit


def test_a_task_says_that_it_chose_by_the_probe(user: User) -> None:
    site = user.site.settings
    made = RunDir.create(user.site.work)
    settings = {
        "work_dir": str(site["work_dir"]), "data_dir": str(site["data_dir"]), "min_free_gb": 0.01,
        "dali_home": str(site["dali_home"]), "dali_workers": 1,
    }  # fmt: skip
    tasks = made.write_targets([[("O05011", 1.0)]])
    job = Job("job.sh", 0, 1)
    plan = Plan("x", "local", "array", 1, 1, 60, tasks, [job], settings, {}, scratch_by="the probe")
    made.write_plan(plan)
    done = run("launch", made.path, "--task", "0", "--scratch", user.other, env=user.env)
    assert f"scratch: {user.other}, in the order of the probe\n" in done.stderr


def test_run_hears_the_probe(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    path = user.site.root / "config" / "dpam-hpc" / "platforms" / "mycluster.toml"
    path.write_text('env_match = { HERE = "yes" }\n' + PLATFORM)
    made = kept_probe(user, monkeypatch, **{"$TMPDIR": 9.0, "/tmp": 0.05})
    site = user.site.settings
    done = run(
        "run", site["work_dir"], "--data-dir", site["data_dir"], "--dali-home", site["dali_home"],
        "--dali-workers", "1", "--min-free-gb", "0.01", "--json",
        env={**user.env, "HERE": "yes"},
    )  # fmt: skip
    assert f"scratch: /tmp, in the order of the probe of {made.date}" in done.stderr
    assert "$TMPDIR is tried last" in done.stderr


# It cleans up whatever happens


def started(user: User, in_folder: Path) -> subprocess.Popen[bytes]:
    """A probe that has begun to work in a folder."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, user.arguments("probe", "--seconds", "30"))], env=user.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 30
    while not any(in_folder.glob(f"{scratch.PREFIX}*/f*")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    (own,) = in_folder.glob(f"{scratch.PREFIX}*")
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    return process


def programs_of(user: User) -> list[int]:
    """Processes that measure in this user's folders."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"operations.py" in words and str(user.site.root).encode() in words:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_probe_that_is_interrupted_puts_all_away(user: User, number: int) -> None:
    process = started(user, user.tmp)
    process.send_signal(number)
    assert process.wait(20) != 0
    assert user.left() == []
    assert programs_of(user) == []


def test_a_probe_that_was_killed_is_swept_by_the_next(user: User) -> None:
    process = started(user, user.tmp)
    process.kill()
    process.wait(20)
    assert programs_of(user) != [] and user.left() != []
    end = time.monotonic() + 30
    while programs_of(user) or user.left():  # one that is ended may make a last file meanwhile
        assert time.monotonic() < end
        measure("scratch", "$TMPDIR", user.tmp, Budget(0.1))


def test_places_that_cannot_be_measured_say_why(tmp_path: Path) -> None:
    def problem(role: Any, folder: Path) -> str:
        return measure(role, "x", folder, Budget(0.1)).problem

    assert "cannot be written" in problem("scratch", tmp_path / "absent")
    assert "cannot be written" in problem("scratch", Path("/proc"))
    assert problem("data", tmp_path / "absent") == "is no folder"
    assert "cannot be written" in problem("work", Path("/proc"))
