"""The generated scripts under bash, with programs of SLURM's names that note their calls."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.platforms.model import Platform
from dpam_hpc.run_dir import RunDir
from dpam_hpc.submit.render import Renderer
from tests.submit import golden
from tests.submit.golden import ODD, Case

END = "2030-01-02T03:04:05"
NOTE = """#!{python} -IS
import json, os, sys
calls = {calls!r}
with open(calls, "a") as file:
    file.write(json.dumps([sys.argv, dict(os.environ)]) + "\\n")
with open(calls) as file:
    before = sum(json.loads(line)[0][0] == sys.argv[0] for line in file) - 1
codes = {codes!r}
print({says!r}, end="")
sys.exit(codes[min(before, len(codes) - 1)])
"""
SRUN = """#!/bin/bash
# Runs its command once for each task asked for, as SLURM does on so many nodes.
ntasks=1
while [[ $1 == -* ]]; do
    case $1 in --ntasks=*) ntasks=${1#*=} ;; esac
    shift
done
worst=0
for ((rank = 0; rank < ntasks; rank++)); do
    SLURM_PROCID=$rank SLURMD_NODENAME=node$rank "$@"
    code=$?
    [ $code -gt $worst ] && worst=$code
done
exit $worst
"""
IBRUN = """#!/bin/bash
for ((rank = 0; rank < ${SLURM_NTASKS:-1}; rank++)); do
    PMI_RANK=$rank SLURMD_NODENAME=node$rank "$@"
    code=$?
    [ $code -gt ${worst:-0} ] && worst=$code
done
exit ${worst:-0}
"""
SSH = """#!/bin/bash
# What sshd does: a shell gets the words as one text, and little of the environment.
while [[ $1 == -* ]]; do
    [[ $1 == -o ]] && shift
    shift
done
host=$1
shift
exec env -i PATH="$PATH" HOME="$HOME" USER="$USER" SLURMD_NODENAME="$host" bash -c "$*"
"""


@dataclass
class Node:
    """A machine on which scripts run: its programs, and what they noted."""

    folder: Path
    case: Case
    codes: Sequence[int] = (0,)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin = self.folder / "bin"
        self.bin.mkdir(parents=True)
        self.program("launcher", self.codes)
        self.program("squeue", says=f"{END}\n")
        self.program("uname", says="x86_64\n")
        for name in ("scontrol", "sleep"):
            self.program(name)
        for name, text in (("srun", SRUN), ("ssh", SSH), ("ibrun", IBRUN)):
            self.write(name, text)
        # A login shell begins with the machine's own PATH.
        (self.folder / ".bash_profile").write_text(f"PATH={shlex.quote(str(self.bin))}:$PATH\n")
        self.run_dir = RunDir.named(Path(self.case.work_dir), golden.RUN).path
        self.run_dir.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.executable", str(self.bin / "launcher"))
            self.scripts = self.case.prepared().scripts(self.case.run(), Renderer())
        for name, text in self.scripts.items():
            (self.run_dir / name).write_text(text)

    def write(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def program(self, name: str, codes: Sequence[int] = (0,), says: str = "") -> None:
        """A program that notes its call, and ends with the next of ``codes``, at last the last."""
        values = {"python": sys.executable, "calls": str(self.folder / "calls")}
        self.write(name, NOTE.format(**values, codes=list(codes), says=says))

    def run(self, script: str = "job.sh", *arguments: str, **more: str) -> int:
        """Run a script as SLURM would; its exit code."""
        done = subprocess.run(
            ["bash", str(self.run_dir / script), *arguments],
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "HOME": str(self.folder),
                "USER": "me",
                "SLURM_JOB_ID": "17",
                **self.environment,
                **more,
            },
            capture_output=True,
            text=True,
            timeout=100,
            cwd=self.folder,
        )
        self.stderr = done.stderr
        assert "unbound variable" not in done.stderr
        return done.returncode

    def calls(self, name: str) -> list[tuple[list[str], dict[str, str]]]:
        """Arguments and environment of each call of a program."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        found = [(argv, env) for argv, env in map(json.loads, lines)]
        return [(argv[1:], env) for argv, env in found if os.path.basename(argv[0]) == name]

    def launched(self) -> list[dict[str, str]]:
        """The options of each launcher; of one that is given again the last."""
        found = []
        for argv, _ in self.calls("launcher"):
            assert argv[:4] == ["-m", "dpam_hpc", "launch", str(self.run_dir)]
            found.append(dict(zip(argv[4::2], argv[5::2], strict=True)))
        return found

    def requeued(self) -> list[str]:
        """What was requeued."""
        calls = [argv for argv, _ in self.calls("scontrol") if argv[0] == "requeue"]
        assert all(len(argv) == 2 for argv in calls)
        return [argv[1] for argv in calls]


def array(folder: Path, codes: Sequence[int] = (0,), **more: Any) -> Node:
    """An array of three tasks; its second element is what runs."""
    case = Case(golden.shipped("generic"), 3, 3, str(folder / "w"))
    ids = {"SLURM_ARRAY_JOB_ID": "15", "SLURM_ARRAY_TASK_ID": "1"}
    return Node(folder, replace(case, **more), codes, ids)


def nodes(folder: Path, codes: Sequence[int] = (0,), launch: str = "srun", first: int = 0) -> Node:
    """A job of three nodes."""
    return Node(folder, Case(golden.made(launch, "multi-node"), 3, 3, str(folder / "w")), codes)


@pytest.mark.parametrize("code", [0, 1, 3, 6, 9, 75, 137, 143])
def test_exit_code_is_the_launchers_and_what_was_interrupted_is_requeued(
    code: int, tmp_path: Path
) -> None:
    node = array(tmp_path, [code])
    assert node.run() == code
    assert len(node.launched()) == 1
    assert node.requeued() == (["15_1"] if code in (75, 137, 143) else [])


def test_what_was_cancelled_is_not_requeued(tmp_path: Path) -> None:
    node = array(tmp_path, [75])
    (node.run_dir / "cancelled").touch()
    assert node.run() == 75
    assert node.requeued() == []


@pytest.mark.parametrize(("count", "again"), [("29", ["15_1"]), ("30", []), ("31", [])])
def test_nothing_is_requeued_for_ever(count: str, again: list[str], tmp_path: Path) -> None:
    node = array(tmp_path, [75])
    node.run(SLURM_RESTART_COUNT=count)
    assert node.requeued() == again
    assert node.launched()[0]["--restart"] == count


def test_a_site_that_does_not_requeue(tmp_path: Path) -> None:
    site = golden.made("srun", "array", requeue=False)
    node = array(tmp_path, [75], platform=site)
    assert node.run() == 75
    assert node.requeued() == []


def test_a_launcher_knows_its_task_job_node_and_deadline(tmp_path: Path) -> None:
    node = array(tmp_path)
    assert node.run() == 0
    (options,) = node.launched()
    assert options.pop("--scratch", "/tmp") == "/tmp"
    seconds = subprocess.run(["date", "-d", END, "+%s"], capture_output=True, text=True).stdout
    assert options == {
        "--task": "1",
        "--job": "15_1",
        "--node": "node0",
        "--restart": "0",
        "--deadline": seconds.strip(),
    }
    ((asked, _),) = node.calls("squeue")
    assert asked == ["-h", "-j", "15_1", "-o", "%e"]


@pytest.mark.parametrize("says", ["", "N/A\n", "NONE\n", "slurm_load_jobs error: timed out\n"])
def test_a_deadline_that_squeue_does_not_know_is_none(says: str, tmp_path: Path) -> None:
    node = array(tmp_path)
    node.program("squeue", [1], says)
    assert node.run() == 0
    assert node.launched()[0]["--deadline"] == "0"


def test_without_squeue_on_the_node_there_is_no_deadline(tmp_path: Path) -> None:
    node = array(tmp_path)
    (node.bin / "squeue").unlink()
    assert node.run() == 0
    assert node.launched()[0]["--deadline"] == "0"


def scratch_of(node: Node) -> list[str]:
    ((argv, _),) = node.calls("launcher")
    return [value for name, value in pairwise(argv) if name == "--scratch"]


def with_places(*places: str) -> Platform:
    return golden.shipped("generic").model_copy(
        update={"scratch": golden.made("srun", "array").scratch.model_copy(
            update={"candidates": places})}
    )  # fmt: skip


def test_scratch_is_what_exists_of_the_places_in_their_order(tmp_path: Path) -> None:
    there, spaced = tmp_path / "there", tmp_path / "two 'words' $x"
    there.mkdir()
    spaced.mkdir()
    site = with_places("$UNSET", "$SPACED", f"{tmp_path}/absent", "${BASE}/there", "$EMPTY/")
    node = array(tmp_path / "n", platform=site)
    node.run(SPACED=str(spaced), BASE=str(tmp_path), EMPTY="")
    assert scratch_of(node) == [str(spaced), str(there), "/"]


def test_without_any_scratch_there_is_a_launcher_nonetheless(tmp_path: Path) -> None:
    for n, places in enumerate([("$UNSET", "/absent"), ()]):
        node = array(tmp_path / str(n), platform=with_places(*places))
        assert node.run() == 0
        assert scratch_of(node) == []


FOREIGN = {
    "OMP_NUM_THREADS": "3",
    "OMP_PLACES": "cores",
    "APPTAINER_BIND": "/x",
    "APPTAINERENV_LD_PRELOAD": "/x",
    "SINGULARITY_BIND": "/x",
    "SINGULARITYENV_X": "/x",
    "SBATCH_PARTITION": "x",
    "PYTHONPATH": "/x",
    "PYTHONHOME": "/x",
    "DPAM_HPC_WORK_DIR": "/x",
    "DPAM_HPC_REDO": "1",
    "DALI_HOME": "/x",
}


def image_at(path: Path) -> str:
    """An image as far as a script looks into it."""
    path.write_bytes(b"an image")
    return str(path)


@pytest.mark.parametrize("in_image", [False, True])
def test_nothing_of_the_callers_settings_reaches_the_launcher(
    in_image: bool, tmp_path: Path
) -> None:
    image = image_at(tmp_path / "my image.sif") if in_image else None
    node = array(tmp_path / "n", settings={"image": image, "dali_home": None})
    node.program("apptainer")
    assert node.run(**FOREIGN, KEPT="yes") == 0
    ((_, environment),) = node.calls("apptainer" if image else "launcher")
    assert not FOREIGN.keys() & environment.keys()
    assert environment["KEPT"] == "yes"


def test_an_image_is_run_with_its_binds_and_nothing_else_of_the_machine(tmp_path: Path) -> None:
    scratch = tmp_path / "my scratch"
    scratch.mkdir()
    work = str(tmp_path / "w")
    site = with_places("$HERE", "/absent").model_copy(
        update={"container": golden.made("srun", "array").container.model_copy(
            update={"modules": ()})}
    )  # fmt: skip
    image = image_at(tmp_path / "my image.sif")
    settings = {"image": image, "data_dir": "/data/my ecod", "dali_home": None}
    node = array(tmp_path / "n", platform=site, work_dir=work, settings=settings)
    node.program("singularity", [3])
    assert node.run(HERE=str(scratch)) == 3
    ((argv, _),) = node.calls("singularity")
    at = argv.index(image)
    assert argv[:3] == ["exec", "--containall", "--no-home"]
    binds = [value for name, value in pairwise(argv[:at]) if name == "--bind"]
    read = [f"{path}:{path}:ro" for path in ("/data/my ecod", "/sw", image)]
    assert binds == [str(scratch), work, *read]
    assert argv[at - 2 : at] == ["--pwd", str(node.run_dir)]
    assert argv[at + 1 : at + 4] == ["dpam-hpc", "launch", str(node.run_dir)]
    options = dict(zip(argv[at + 4 :: 2], argv[at + 5 :: 2], strict=True))
    assert options["--task"] == "1"
    assert options["--scratch"] == str(scratch)
    assert options["--image"] == image


def test_of_an_image_that_is_a_link_the_launcher_sees_the_file(tmp_path: Path) -> None:
    file = image_at(tmp_path / "v1 of it.sif")
    (tmp_path / "latest.sif").symlink_to(file)
    link = tmp_path / "link.sif"
    link.symlink_to("latest.sif")
    node = array(tmp_path / "n", settings={"image": str(link)})
    node.program("apptainer")
    assert node.run() == 0
    ((argv, _),) = node.calls("apptainer")
    assert argv[argv.index("dpam-hpc") - 1] == argv[argv.index("--image") + 1] == file
    assert f"{file}:{file}:ro" in [value for name, value in pairwise(argv) if name == "--bind"]


@pytest.mark.parametrize("how", ["absent", "a folder"])
def test_an_image_that_the_node_cannot_read_is_named_with_the_node(
    how: str, tmp_path: Path
) -> None:
    image = tmp_path / "it's an $(image).sif"
    if how == "a folder":
        image.mkdir()
    node = array(tmp_path / "n", settings={"image": str(image)})
    node.program("apptainer")
    assert node.run() == 9
    (line,) = node.stderr.splitlines()
    assert line.startswith(f"dpam-hpc: the image {image} cannot be read on node0: ")
    assert line.endswith("dpam-hpc resume")
    assert node.calls("apptainer") == []
    assert node.requeued() == []


@pytest.mark.parametrize(("machine", "code"), [("aarch64", 9), ("x86_64", 0)])
def test_an_image_for_other_processors_than_the_nodes_is_not_started(
    machine: str, code: int, tmp_path: Path
) -> None:
    image = image_at(tmp_path / "dpam.sif")
    node = array(tmp_path / "n", settings={"image": image})
    node.program("apptainer")
    node.program("uname", says=f"{machine}\n")
    assert node.run() == code
    if code:
        (line,) = node.stderr.splitlines()
        assert f"{image} is made for x86_64, and node0 is aarch64: dpam-hpc submit" in line
    assert len(node.calls("apptainer")) == (code == 0)
    assert node.requeued() == []


def test_modules_are_loaded_and_one_that_is_missing_ends_it(tmp_path: Path) -> None:
    site = golden.made("srun", "array")
    image = image_at(tmp_path / "i.sif")
    node = array(tmp_path, platform=site, settings={"image": image})
    node.program("singularity")
    log = tmp_path / "modules"
    define = f'module() {{ echo "$*" >> {shlex.quote(str(log))}; [ "$2" != "$MISSING" ]; }}\n'
    (tmp_path / "env").write_text(define)
    assert node.run(BASH_ENV=str(tmp_path / "env"), MISSING="") == 0
    assert log.read_text() == "load apptainer/1.3\nload two words\n"
    assert node.run(BASH_ENV=str(tmp_path / "env"), MISSING="two words") == 1
    assert len(node.calls("singularity")) == 1


@pytest.mark.parametrize("launch", ["srun", "ssh", "ibrun"])
def test_each_node_of_a_job_has_a_task_of_its_own(launch: str, tmp_path: Path) -> None:
    node = nodes(tmp_path, [0, 75, 3], launch)
    node.program("scontrol", says="n1\nn2\nn3\n")
    batch = {"SLURM_JOB_NODELIST": "n[1-3]", "SLURM_NTASKS": "3", "SLURM_PROCID": "0"}
    assert node.run(SLURM_RESTART_COUNT="2", **batch) == 75
    launched = node.launched()
    assert sorted(each["--task"] for each in launched) == ["0", "1", "2"]
    assert len({each["--node"] for each in launched}) == 3
    assert {each["--job"] for each in launched} == {"17"}
    assert {each["--restart"] for each in launched} == {"2"}
    assert node.requeued() == ["17"]


@pytest.mark.parametrize("launch", ["ssh", "ibrun"])
def test_elements_of_an_array_by_other_launches(launch: str, tmp_path: Path) -> None:
    node = array(tmp_path, [75], platform=golden.made(launch, "array"))
    node.program("scontrol", says="n1\n")
    assert node.run(SLURM_JOB_NODELIST="n1") == 75
    ((options),) = node.launched()
    assert (options["--task"], options["--job"]) == ("1", "15_1")
    assert node.requeued() == ["15_1"]


def test_a_later_job_of_several_begins_with_its_own_task(tmp_path: Path) -> None:
    case = Case(golden.made("srun", "multi-node"), 5, 3, str(tmp_path / "w"))
    node = Node(tmp_path, case)
    assert node.run("job-1.sh") == 0
    assert [each["--task"] for each in node.launched()] == ["3", "4"]


def test_by_ssh_a_signal_is_passed_on_to_the_launchers_of_this_run_alone(tmp_path: Path) -> None:
    node = nodes(tmp_path, launch="ssh")
    node.program("scontrol", says="n1\n")
    node.program("pkill")
    # The launcher sends what SLURM would send to the batch shell, and then takes its time.
    node.write(
        "launcher",
        f"#!/bin/bash\ncd {shlex.quote(str(tmp_path))}\n"
        "if mkdir once; then kill -USR1 $(cat shell); sleep 2; exit 75; fi\n",
    )
    node.write("sleep", '#!/bin/sh\nexec /bin/sleep "$@"\n')
    job = node.run_dir / "job.sh"
    job.write_text(job.read_text().replace("set -u\n", "set -u\necho $$ > shell\n", 1))
    assert node.run(SLURM_JOB_NODELIST="n1") == 75
    ((argv, _),) = node.calls("pkill")
    assert argv[:4] == ["-TERM", "-u", "me", "-f"]
    command = f"python -m dpam_hpc launch {node.run_dir} --task 0"
    assert re.search(argv[4], command)
    assert not re.search(argv[4], command.replace(golden.RUN, "20260102-030405-beef"))
    assert node.requeued() == ["17"]


@pytest.mark.parametrize("launch", ["srun", "ssh", "local"])
def test_paths_with_spaces_and_quotes_survive(launch: str, tmp_path: Path) -> None:
    odd = str(tmp_path / ODD.lstrip("/"))
    local = golden.shipped("local")
    platform = local if launch == "local" else golden.made(launch, "multi-node")
    node = Node(tmp_path / "n", Case(platform, 1, 1, odd))
    node.program("scontrol", says="n1\n")
    assert node.run(SLURM_JOB_NODELIST="n1") == 0
    assert len(node.launched()) == 1  # with that very run folder
    assert not (tmp_path / "n" / "x").exists()


def test_starts_of_many_tasks_are_spread_and_restarts_are_not(tmp_path: Path) -> None:
    case = Case(golden.shipped("generic"), 20, 20, str(tmp_path / "w"))
    ids = {"SLURM_ARRAY_JOB_ID": "15", "SLURM_ARRAY_TASK_ID": "1"}
    node = Node(tmp_path, case, environment=ids)
    node.run()
    ((waits, _),) = node.calls("sleep")
    assert 0 <= int(waits[0]) < 20
    node.run(SLURM_RESTART_COUNT="1")
    assert len(node.calls("sleep")) == 1
    assert array(tmp_path / "few").run() == 0


@pytest.mark.parametrize(
    ("codes", "tasks", "code"),
    [([0], 3, 0), ([0, 3, 0], 3, 3), ([3, 75, 0], 2, 75), ([137, 0, 0], 3, 137), ([75], 1, 75)],
)
def test_locally_all_tasks_run_until_one_is_interrupted(
    codes: list[int], tasks: int, code: int, tmp_path: Path
) -> None:
    node = Node(tmp_path, Case(golden.shipped("local"), 3, 1, str(tmp_path / "w")), codes)
    assert node.run() == code
    launched = node.launched()
    assert [each["--task"] for each in launched] == ["0", "1", "2"][:tasks]
    assert {(each["--job"], each["--deadline"]) for each in launched} == {("", "0")}
    assert node.calls("squeue") == node.calls("scontrol") == []


def test_locally_a_signal_to_all_ends_the_script_with_its_launcher_not_before(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path, Case(golden.shipped("local"), 3, 1, str(tmp_path / "w")))
    node.write(
        "launcher",
        f"#!{sys.executable} -IS\n"
        "import os, signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep(1)\n"
        f"    open({str(tmp_path / 'ended')!r}, 'a').write('x')\n"
        "    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "os.killpg(0, signal.SIGTERM)\n"
        "time.sleep(50)\n",
    )
    running = subprocess.Popen(
        ["bash", str(node.run_dir / "job.sh")],
        env={"PATH": f"{node.bin}:/usr/bin:/bin"},
        cwd=tmp_path,
        start_new_session=True,
    )
    assert running.wait(60) == 75
    assert (tmp_path / "ended").read_text() == "x"
