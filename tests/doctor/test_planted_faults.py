"""Faults, each planted in a site that is well: the doctor finds it and names the remedy."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import psutil
import pytest

from dpam_hpc.align.dali import install
from dpam_hpc.doctor import cluster, container, inputs, machine, places
from dpam_hpc.doctor.context import Context
from dpam_hpc.doctor.examine import CHECKS, REPORT, checked, examine
from dpam_hpc.doctor.findings import Level, Row, ok
from dpam_hpc.node import scratch
from tests import replay
from tests.apptainer.stand_in import READS_NOTHING
from tests.doctor.site import SLURM, Site, programs
from tests.launcher.test_faulty_dali import home_with
from tests.security.people import NEEDED, THEY
from tests.submit import fake_slurm
from tests.submit.fake_slurm import FakeSlurm

WARNING, PROBLEM = Level.WARNING, Level.PROBLEM
APPTAINER = 'case $1 in --version) echo "apptainer version 1.4.0";; buildcfg) echo;; esac'


def test_nothing_is_wrong(site: Site, stand_in: Path) -> None:
    site.bundle(stand_in)
    report = examine(site.context(), "named")
    assert [(r.check, r.found) for r in report.rows if r.level is PROBLEM] == []
    assert {r.group for r in report.rows} == {group for group, _, _, _ in CHECKS}
    told = "\n".join(row.found for row in report.rows)
    assert f"{site.root / 'tmp'}: " in told and "a run works here" in told
    assert os.listdir(site.root / "tmp") == []
    assert ".dpam-hpc" not in os.listdir(site.work)


# The aligner


def test_dsspcmbi_that_reads_nothing(site: Site, tmp_path: Path) -> None:
    home = replay.make_home(tmp_path / "home")
    (home / "bin" / "dsspcmbi").write_text(READS_NOTHING)
    site.settings["dali_home"] = home
    row = site.trouble(inputs.aligner, PROBLEM)
    assert "0 residues" in row.found
    assert "dsspcmbi at -O2" in row.remedy


def test_no_dali(site: Site, tmp_path: Path) -> None:
    site.settings["dali_home"] = tmp_path
    row = site.trouble(inputs.aligner, PROBLEM)
    assert f"there is no DALI here in {tmp_path}" in row.found
    assert "set DALI_HOME" in row.remedy


def test_a_dali_of_another_answer(site: Site, tmp_path: Path) -> None:
    real = str(tmp_path / "faulty" / "real" / "fssp")
    body = (
        "import subprocess\n"
        f"told = subprocess.run([{real!r}, *sys.argv[1:]], stdout=subprocess.PIPE).stdout\n"
        "sys.stdout.write(told.decode().replace(' 0.', '-0.'))\n"
        "sys.exit(0)"
    )
    site.settings["dali_home"] = home_with(tmp_path, "fssp", body)
    row = site.trouble(inputs.aligner, PROBLEM)
    assert "gives another answer for the known pair" in row.found
    assert "build DALI anew" in row.remedy


# Apptainer and the image


def path_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *system: str, **bodies: str) -> None:
    """These programs are all that PATH has; ``system``: the machine's own beside them."""
    folder = programs(tmp_path / "bin", bodies)
    for name in system:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))


def test_no_apptainer(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path_of(monkeypatch, tmp_path)
    assert site.rows(container.apptainer) == [ok("Apptainer", "not here; needed only with --image")]
    site.image()
    row = site.trouble(container.apptainer, PROBLEM)
    assert (row.found, row.remedy) == ("there is no apptainer on PATH", container.GET_APPTAINER)


def test_apptainer_that_does_not_work(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path_of(monkeypatch, tmp_path, apptainer="echo 'FATAL: no config file' >&2; exit 255")
    site.image()
    row = site.trouble(container.apptainer, PROBLEM)
    assert "does not work: FATAL: no config file" in row.found
    assert "administrators" in row.remedy


def test_apptainer_that_hangs(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path_of(monkeypatch, tmp_path, "sleep", apptainer="sleep 60")
    monkeypatch.setattr(container, "SECONDS", 0.2)
    site.image()
    assert "ran over its time limit" in site.trouble(container.apptainer, PROBLEM).found


def test_no_user_namespaces(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1"
    path_of(monkeypatch, tmp_path, apptainer=APPTAINER, unshare=refused, squashfuse=":")
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    site.image()
    row = site.trouble(container.apptainer, PROBLEM)
    assert "Operation not permitted" in row.found
    assert "user.max_user_namespaces" in row.remedy


def test_no_squashfuse(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path_of(monkeypatch, tmp_path, apptainer=APPTAINER, unshare="exit 0")
    site.image()
    row = site.trouble(container.apptainer, WARNING)
    assert row.check == "squashfuse"
    assert "install squashfuse" in row.remedy and "unpacks the whole image" in row.remedy


def test_setuid_apptainer_needs_neither(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setuid = APPTAINER.replace("echo;;", "echo APPTAINER_SUID_INSTALL=1;;")
    path_of(monkeypatch, tmp_path, apptainer=setuid, unshare="exit 1")
    site.image()
    assert {row.level for row in site.rows(container.apptainer)} == {Level.OK}


def test_an_image_for_other_processors(site: Site) -> None:
    site.image("aarch64")
    site.platform["architecture"] = "x86_64"
    row = site.trouble(container.image, PROBLEM)
    assert "is made for aarch64, and the nodes of mycluster are x86_64" in row.found
    assert "build it on a machine with x86_64" in row.remedy


def test_an_image_of_another_version(site: Site) -> None:
    site.image(version="0.0.7")
    row = site.trouble(container.image, PROBLEM)
    assert "has dpam-hpc 0.0.7 in it" in row.found
    assert "build it anew" in row.remedy


def test_an_image_that_is_none(site: Site) -> None:
    site.image().write_bytes(b"no image")
    row = site.trouble(container.image, PROBLEM)
    assert "is no Apptainer image" in row.found
    assert "dpam-hpc image build" in row.remedy


@pytest.mark.parametrize(
    ("body", "level", "found", "remedy"),
    [
        ("echo 'gives the known answer (import 0a1b2c)'", Level.OK, "known answer", ""),
        ("echo 'dpam-hpc: fails on the known pair' >&2; exit 4", PROBLEM, "fails", "image verify"),
        (
            "echo 'INFO: Converting SIF file to temporary sandbox...' >&2; echo proved",
            WARNING,
            "proved; the image was unpacked first",
            "squashfuse",
        ),
    ],
)
def test_the_known_answer_in_the_image(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    level: Level,
    found: str,
    remedy: str,
) -> None:
    path_of(monkeypatch, tmp_path, apptainer=body)
    site.image()
    context = site.context()
    row = container.image(context)[-1]
    assert row.level is level
    assert found in row.found and remedy in row.remedy
    assert context.fingerprint == ("0a1b2c" if level is Level.OK else "")


# SLURM


@pytest.fixture
def slurm(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A SLURM that answers, with two partitions and two accounts."""
    made = fake_slurm.make(tmp_path / "slurm")
    made.does("sbatch").does("squeue").does("scancel").does("scontrol", "MaxArraySize = 1001\n")
    made.does("sinfo", "normal|up|1:00|1|1\nold|inact|1:00|1|1\n").does("sacctmgr", "lab\nother\n")
    monkeypatch.setenv("PATH", made.environ["PATH"])
    site.environment |= {**made.environ, "DPAM_HPC_SCHEDULER_TIMEOUT": "5"}
    site.platform["scheduler"] = SLURM
    site.settings |= {"account": "lab", "partition": "normal"}
    return made


def test_a_scheduler_that_is_well(site: Site, slurm: FakeSlurm) -> None:
    rows = site.rows(cluster.slurm)
    assert [(row.check, row.level) for row in rows] == [
        ("SLURM", Level.OK), ("partition", Level.OK), ("account", Level.OK)
    ]  # fmt: skip


def test_commands_of_slurm_that_are_missing(site: Site, slurm: FakeSlurm) -> None:
    (slurm.folder / "bin" / "sbatch").unlink()
    row = site.trouble(cluster.slurm, PROBLEM)
    assert row.found == "there is no sbatch on PATH"
    assert "login node" in row.remedy


def test_a_slurm_that_hangs(site: Site, slurm: FakeSlurm) -> None:
    (slurm.folder / "scontrol.json").unlink()
    slurm.does("scontrol", seconds=60)
    site.environment["DPAM_HPC_SCHEDULER_TIMEOUT"] = "0.5"
    begun = time.monotonic()
    row = site.trouble(cluster.slurm, PROBLEM)
    assert time.monotonic() - begun < 10
    assert "scontrol ran over its time limit" in row.found
    assert "try again later" in row.remedy


def test_no_account_where_the_platform_needs_one(site: Site, slurm: FakeSlurm) -> None:
    site.settings["account"] = ""
    row = site.trouble(cluster.slurm, PROBLEM)
    assert row.found == "platform mycluster requires one, and none is given"
    assert row.remedy == "give --account NAME (there are lab, other)"


def test_an_account_that_is_not_the_users(site: Site, slurm: FakeSlurm) -> None:
    site.settings["account"] = "theirs"
    row = site.trouble(cluster.slurm, PROBLEM)
    assert "you have no account theirs" in row.found
    assert "there are lab, other" in row.remedy


def test_accounts_are_those_of_who_asks(
    site: Site, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    site.rows(cluster.slurm)
    (asked,) = (call for call in slurm.calls() if call[0] == "sacctmgr")
    assert f"user={psutil.Process().username()}" in asked


def test_a_partition_that_is_unknown(site: Site, slurm: FakeSlurm) -> None:
    site.settings["partition"] = "norml"
    row = site.trouble(cluster.slurm, PROBLEM)
    assert "SLURM knows no partition norml" in row.found
    assert "--partition normal, perhaps?" in row.remedy


def test_a_partition_that_is_down(site: Site, slurm: FakeSlurm) -> None:
    site.settings["partition"] = "old"
    row = site.trouble(cluster.slurm, WARNING)
    assert "is not up" in row.found and "--partition" in row.remedy


def test_a_slurm_without_accounts_cannot_be_asked(site: Site, slurm: FakeSlurm) -> None:
    (slurm.folder / "bin" / "sacctmgr").unlink()
    assert {row.level for row in site.rows(cluster.slurm)} == {Level.OK}


# Folders


def test_scratch_on_a_network_file_system(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "mount_type", lambda folder: "nfs4")
    rows = [row for row in site.rows(places.scratch) if row.level is not Level.OK]
    assert [row.level for row in rows] == [WARNING, PROBLEM]
    assert "is on a shared file system (nfs4)" in rows[0].found
    assert "no place will do" in rows[1].found
    assert {row.remedy for row in rows} == {places.NAME_ANOTHER}


def test_scratch_that_is_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "free_bytes", lambda folder: 10_000_000)
    first, *_ = (row for row in site.rows(places.scratch) if row.level is not Level.OK)
    assert "has 10.0 MB free of the" in first.found
    assert f"free some room in {site.root / 'tmp'}" in first.remedy


def test_scratch_that_cannot_be_written(site: Site) -> None:
    site.settings["scratch_dir"] = Path("/proc")
    row = site.trouble(places.scratch, PROBLEM)
    assert "/proc cannot be written" in row.found
    assert "--scratch-dir" in row.remedy


@NEEDED
def test_scratch_of_another_user(site: Site) -> None:
    site.settings["scratch_dir"] = THEY.folder(site.root / "theirs")
    row = site.trouble(places.scratch, PROBLEM)
    assert "belongs to another user" in row.found
    assert "--scratch-dir" in row.remedy


def test_a_login_node_s_scratch_is_no_problem(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "mount_type", lambda folder: "nfs4")
    site.platform["scheduler"] = SLURM
    last = site.rows(places.scratch)[-1]
    assert (last.level, last.remedy) == (WARNING, "look on a node: --on-node")


def test_no_working_folder(site: Site, tmp_path: Path) -> None:
    site.settings["work_dir"] = tmp_path / "nowhere"
    row = site.trouble(places.work_dir, PROBLEM)
    assert f"there is no folder {tmp_path}/nowhere" in row.found
    assert "dpam's working folder" in row.remedy


def test_a_working_folder_that_is_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "free_bytes", lambda folder: 10_000_000)
    row = site.trouble(places.work_dir, PROBLEM)
    assert "10.0 MB free" in row.found and "free some room" in row.remedy


def test_a_data_folder_without_ecod70(site: Site) -> None:
    shutil.rmtree(site.settings["data_dir"] / "ECOD70")
    row = site.trouble(places.data, PROBLEM)
    assert "there is no folder" in row.found
    assert row.remedy == "--data-dir is the folder with ECOD70/ in it"


def test_no_data_folder(site: Site) -> None:
    site.settings["data_dir"] = None
    assert "--data-dir" in site.trouble(places.data, PROBLEM).remedy


# The bundle


def test_a_bundle_of_another_dali(site: Site, stand_in: Path) -> None:
    site.bundle(stand_in)
    row = site.trouble(inputs.bundle, PROBLEM, fingerprint="0" * 64)
    assert "was made by dali" in row.found and "here it is dali 000000000000" in row.found
    assert "dpam-hpc bundle build" in row.remedy


@pytest.mark.parametrize("damage", ["cut", "torn", "none"])
def test_a_damaged_bundle(site: Site, stand_in: Path, damage: str) -> None:
    path = site.bundle(stand_in)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-5000])
    elif damage == "torn":
        at = content.index(b"SQLite") + 20_000
        path.write_bytes(content[:at] + b"\xff" * 30_000 + content[at + 30_000 :])
    else:
        path.write_bytes(b"something else")
    row = site.trouble(inputs.bundle, PROBLEM)
    assert "dpam-hpc bundle build" in row.remedy


def test_a_bundle_of_other_files(site: Site, stand_in: Path) -> None:
    site.bundle(stand_in, lambda pdb: pdb.replace(b"ATOM", b"ATOM ", 1))
    row = site.trouble(inputs.bundle, PROBLEM)
    assert "is not the one that was imported" in row.found
    assert "dpam-hpc bundle build" in row.remedy


def test_a_bundle_that_lacks_templates(site: Site, stand_in: Path) -> None:
    site.bundle(stand_in)
    shutil.copy(replay.DATA / "O05011.pdb", site.settings["data_dir"] / "ECOD70" / "e1new1.pdb")
    row = site.trouble(inputs.bundle, WARNING)
    assert "5 templates" in row.found and "ECOD70 has 6" in row.found
    assert "dpam-hpc bundle build" in row.remedy


def test_a_bundle_older_than_its_folder(site: Site, stand_in: Path) -> None:
    path = site.bundle(stand_in)
    os.utime(path, (1, 1))
    row = site.trouble(inputs.bundle, WARNING, install.import_fingerprint(stand_in / "bin"))
    assert "ECOD70 changed later" in row.found
    assert "bundle verify" in row.remedy


# The machine


def test_a_clock_that_differs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    for ahead, level in ((-20, WARNING), (-3600, PROBLEM), (3600, PROBLEM)):
        monkeypatch.setattr(time, "time", lambda ahead=ahead: real() + ahead)
        row = site.trouble(machine.clock, level)
        assert ("behind" if ahead < 0 else "ahead of") in row.found
        assert "NTP" in row.remedy


def test_too_few_open_files() -> None:
    few, well = machine.judge_limits((100, 4096), (-1, -1), 50, 64)
    assert (few.level, few.found) == (PROBLEM, "100 allowed, 256 needed")
    assert few.remedy == "ulimit -n 256, before dpam-hpc is started"
    assert well.level is Level.OK
    capped, _ = machine.judge_limits((100, 100), (-1, -1), 50, 64)
    assert "administrators" in capped.remedy


def test_too_few_processes() -> None:
    _, few = machine.judge_limits((4096, 4096), (100, 1000), 90, 64)
    assert (few.level, few.found) == (PROBLEM, "100 allowed, 268 needed")
    assert few.remedy == "ulimit -u 268, before dpam-hpc is started"


def test_threads_count_as_processes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []

    def judged(files: object, processes: object, running: int, workers: int) -> list[Row]:
        limits.append(running)
        return []

    monkeypatch.setattr(machine, "judge_limits", judged)
    enough = threading.Event()
    threads = [threading.Thread(target=enough.wait) for _ in range(1000)]
    for thread in threads:
        thread.start()
    try:
        machine.limits(site.context())
    finally:
        enough.set()
    assert limits[0] > len(threads)


def test_a_locale_that_is_not_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    site.environment["LC_ALL"] = "xx_XX.UTF-8"
    row = site.trouble(machine.session_locale, WARNING)
    assert "xx_XX.UTF-8 is set, and is not installed" in row.found
    assert row.remedy == "export LC_ALL=C.UTF-8"


def test_names_of_files_that_are_no_utf_8() -> None:
    row = machine.judge_locale("C", True, "ascii")
    assert (row.level, row.remedy) == (WARNING, "export LC_ALL=C.UTF-8")


def test_an_old_python() -> None:
    row = machine.judge_python((3, 9, 2), "/usr/bin/python3")
    assert row.level is PROBLEM and "3.10 or newer" in row.remedy


@NEEDED
def test_settings_of_another_user(site: Site) -> None:
    THEY.file(site.work / "dpam-hpc.toml", b"")
    row = site.trouble(inputs.trusted, PROBLEM)
    assert "belongs to user" in row.found and "would decide what you run" in row.found
    assert "remove it" in row.remedy


def test_a_command_that_is_advised_can_be_pasted() -> None:
    remedy = inputs.untrusted(Path("/their $(x) folder"), "belongs to root").remedy
    assert remedy.startswith("chmod go-w '/their $(x) folder', if")


def test_settings_that_others_can_write(site: Site) -> None:
    (site.work / "dpam-hpc.toml").touch()
    (site.work / "dpam-hpc.toml").chmod(0o666)
    row = site.trouble(inputs.trusted, PROBLEM)
    assert "can be written by others" in row.found and "chmod go-w" in row.remedy


# The doctor


def test_a_check_that_hangs_is_a_problem(site: Site) -> None:
    def hangs(context: Context) -> list[Row]:
        time.sleep(5)
        return []

    (row,) = checked("WORK_DIR", 0.1, hangs, site.context())
    assert (row.check, row.level) == ("WORK_DIR", PROBLEM)
    assert "no answer in" in row.found and "ls WORK_DIR" in row.remedy


def test_a_check_that_fails_is_a_problem(site: Site) -> None:
    def fails(context: Context) -> list[Row]:
        raise ZeroDivisionError("by zero")

    rows = examine(
        site.context(),
        "named",
        checks=[("g", "this", 5, fails), ("g", "Python", 5, machine.python)],
    ).rows
    assert (rows[0].level, rows[0].remedy) == (PROBLEM, REPORT)
    assert "ZeroDivisionError: by zero" in rows[0].found
    assert rows[1].level is Level.OK


def test_no_trouble_is_without_a_remedy() -> None:
    with pytest.raises(ValueError, match="without a remedy"):
        Row("x", WARNING, "found")
