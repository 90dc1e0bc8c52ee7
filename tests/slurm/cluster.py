"""A real SLURM of four nodes on this one machine, for as long as the tests need it.

As root: munged, slurmctld and four slurmd in the foreground, on free ports, with all their files
in one folder under /tmp; nothing of the machine's own SLURM or MUNGE is used or changed. Jobs are
those of an ordinary user, ``dpamhpc``, who is made if missing.

    normal   the default, never preempted         urgent   preempts flex and cancel
    flex     preempted: requeued, after GRACE     cancel   preempted: cancelled, after GRACE
"""

from __future__ import annotations

import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tests.ordinary_user import SBIN, User

USER = "dpamhpc"
NODES = 4
CPUS = 2
GRACE = 10
"""Seconds between the word that a job is preempted and its end."""
SILENT_NODE = 10
"""Seconds without an answer; the controller notices, and takes a node for down, after some 30."""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv", "useradd")
COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "srun")
FREEZER = Path("/sys/fs/cgroup/freezer")
T = TypeVar("T")


def missing() -> str:
    """Why there can be no cluster here, and what to do; empty if there can be one."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    absent = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if absent:
        return f"no {', '.join(absent)}: apt install slurm-wlm munge, run as root"
    if os.geteuid() != 0:
        return "SLURM's daemons run as root: apt install slurm-wlm munge, run as root"
    return ""


class Cluster:
    """A running cluster.

    ``env`` is the environment of its ``user`` on the login node. ``env_of_root`` is for code of
    this process, which is root's: SLURM's commands on its PATH run as the user.
    """

    def __init__(self, folder: Path, *, max_array_size: int | None = None) -> None:
        self.folder = folder
        self._max_array_size = max_array_size
        self._user = _user()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        ports = _free_ports(NODES + 1)
        self._port, self._node_ports = ports[0], ports[1:]
        # Their control groups are named after them: clusters of several test runs do not meet.
        self.nodes = [f"n{i + 1}p{self._port}" for i in range(NODES)]
        self.conf = folder / "slurm.conf"
        self.home = folder / "home"
        self.env = {
            "PATH": f"/usr/local/bin:/usr/bin:/bin:{SBIN}",
            "HOME": str(self.home),
            "USER": USER,
            "LOGNAME": USER,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "SLURM_CONF": str(self.conf),
        }
        self.user = User(self._user, self.env)
        self.env_of_root = {**self.env, "PATH": f"{folder / 'as-user'}:{self.env['PATH']}"}

    # Its life

    def start(self) -> None:
        """Start everything, and wait until all nodes are idle."""
        self.folder.chmod(0o755)
        self.home.mkdir()
        (self.folder / "venv").mkdir()
        for made in (self.home, self.folder / "venv"):
            os.chown(made, self._user.pw_uid, self._user.pw_gid)
        for name in ("ctld", "munge", "as-user", *self.nodes):
            (self.folder / name).mkdir(mode=0o755)
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        self.conf.write_text(self._slurm_conf())
        (self.folder / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainRAMSpace=yes\n"
        )
        for name in COMMANDS:
            wrapper = self.folder / "as-user" / name
            program = shutil.which(name, path=self.env["PATH"])
            wrapper.write_text(
                f"#!/bin/sh\nexec setpriv --reuid={USER} --regid={self._user.pw_gid} "
                f'--init-groups {program} "$@"\n'
            )
            wrapper.chmod(0o755)
        self._start(
            "munged",
            *("--foreground", f"--key-file={key}", f"--socket={self._socket}"),
            *(f"--{n}-file={self.folder}/munge/{n}" for n in ("pid", "seed", "log")),
        )
        self.wait_for(self._socket.exists, "munged")
        self._start("slurmctld", "-D", "-f", str(self.conf))
        for node in self.nodes:
            self.start_slurmd(node)
        self.wait_until_idle()

    def stop(self) -> None:
        """End all jobs and daemons, and whatever they left."""
        if "slurmctld" in self._daemons:
            with suppress(subprocess.SubprocessError):
                self.run(["scancel", "-Q", f"--user={USER}"], as_user=False, timeout=5)
                self.run(["scancel", "-Q", "--user=root"], as_user=False, timeout=5)
                with suppress(AssertionError):
                    self.wait_for(lambda: not self._running_jobs(), "jobs to end", timeout=5)
        for daemon in self._daemons.values():
            daemon.terminate()
        for daemon in self._daemons.values():
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(5)
            daemon.kill()
            daemon.wait()
        self._daemons.clear()
        for node in self.nodes:
            self._kill_steps(node)
            for controller in FREEZER.parent.glob(f"*/slurm_{node}"):
                for group, _, _ in os.walk(controller, topdown=False):
                    with suppress(OSError):
                        os.rmdir(group)

    def start_slurmd(self, node: str) -> None:
        """Start a node, or start it again."""
        self._start("slurmd", "-D", "-f", str(self.conf), "-N", node, name=node)

    def kill_slurmd(self, node: str, *, with_steps: bool) -> None:
        """Kill a node's daemon; ``with_steps`` also all its jobs' processes, as a power cut does.

        Without, the processes go on while the controller takes the node for dead.
        """
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()
        if with_steps:
            self._kill_steps(node)

    def declare_down(self, node: str) -> None:
        """Say that a node is down, as an administrator does who need not wait for a time-out.

        It is up again when its slurmd starts.
        """
        asked = self.run(
            ["scontrol", "update", f"nodename={node}", "state=down", "reason=test"], as_user=False
        )
        assert asked.returncode == 0, asked.stderr

    # Its use

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        as_user: bool = True,
        cwd: Path | None = None,
        timeout: float = 60,
        **env: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the login node, as the user or as root, to its end."""
        who = self._user
        return subprocess.run(
            [str(word) for word in argv],
            cwd=cwd or self.home,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            user=who.pw_uid if as_user else None,
            group=who.pw_gid if as_user else None,
            extra_groups=[] if as_user else None,
        )

    def script(self, text: str, name: str = "job.sh") -> Path:
        """A batch script of the user's, in a folder of its own in the home folder."""
        folder = Path(tempfile.mkdtemp(dir=self.home))
        path = folder / name
        path.write_text(text)
        for made in (folder, path):
            os.chown(made, self._user.pw_uid, self._user.pw_gid)
        path.chmod(0o755)
        return path

    def wait_for(
        self, happens: Callable[[], T], what: str = "a condition", timeout: float = 30
    ) -> T:
        """What ``happens`` returns as soon as it is true; AssertionError after ``timeout`` s."""
        end = time.monotonic() + timeout
        while not (found := happens()):
            if time.monotonic() > end:
                raise AssertionError(f"waited {timeout:.0f} s for {what}\n{self._report()}")
            time.sleep(0.05)
        return found

    def wait_until_idle(self) -> None:
        """Wait until all nodes are up and have nothing to do."""
        self.wait_for(self._all_idle, "all nodes to be idle")

    def processes_of(self, node: str) -> list[int]:
        """Job steps and their processes on a node, its slurmd aside."""
        daemon = self._daemons.get(node)
        mine = (f"SLURM_CONF={self.conf}".encode(), f"SLURMD_NODENAME={node}".encode())
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or (daemon and int(entry.name) == daemon.pid):
                continue
            with suppress(OSError):  # it may end meanwhile
                environ = (entry / "environ").read_bytes().split(b"\0")
                # A slurmstepd has overwritten its environment, but writes to the node's log.
                if all(variable in environ for variable in mine) or any(
                    os.readlink(file) == str(self._log(node)) for file in (entry / "fd").iterdir()
                ):
                    found.append(int(entry.name))
        return found

    # Within

    @property
    def _socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def _start(self, program: str, *arguments: str, name: str = "") -> None:
        path = shutil.which(program, path=self.env["PATH"])
        assert path
        # They end with this process, however it ends.
        self._daemons[name or program] = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", path, *arguments],
            env=self.env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _all_idle(self) -> bool:
        ended = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
        assert not ended, f"{', '.join(ended)} ended at once\n{self._report()}"
        asked = self.run(["sinfo", "-h", "-N", "-p", "normal", "-t", "idle", "-o", "%N"])
        return sorted(asked.stdout.split()) == sorted(self.nodes)

    def _running_jobs(self) -> str:
        return self.run(["squeue", "-h", "-t", "R,CG,S"], as_user=False, timeout=5).stdout

    def _kill_steps(self, node: str) -> None:
        def none_left() -> bool:
            left = self.processes_of(node)
            for pid in left:  # again and again: they may start others meanwhile
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        self.wait_for(none_left, f"the processes of {node} to end")

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _report(self) -> str:
        """What helps to see why a test waits in vain."""
        lines = []
        for command in (["squeue"], ["sinfo", "-N", "-p", "normal", "-o", "%N %t %E"]):
            with suppress(OSError, subprocess.SubprocessError):
                asked = self.run(command, as_user=False, timeout=5)
                lines.append(asked.stdout + asked.stderr)
        for log in sorted([*self.folder.glob("*.log"), self.folder / "munge" / "log"]):
            with suppress(OSError):
                text = log.read_text(errors="replace").splitlines()
                lines += [
                    f"{log.name}: {line}"
                    for line in text
                    if re.search("error|fatal", line, re.I)
                    and not re.search("pmix|state file|backup state", line)  # of every start
                ]
        return "\n".join(lines)

    def _slurm_conf(self) -> str:
        host = socket.gethostname().partition(".")[0]
        lines = [
            "ClusterName=tests",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={self._port}",
            "SlurmUser=root",
            f"AuthInfo=socket={self._socket},cred_expire=5",  # else a requeued job waits 120 s
            f"StateSaveLocation={self.folder}/ctld",
            f"SlurmdSpoolDir={self.folder}/%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/%n.pid",
            f"SlurmctldLogFile={self.folder}/slurmctld.log",
            f"SlurmdLogFile={self.folder}/%n.log",
            "SlurmdParameters=config_overrides",  # whatever this machine really has
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "MpiDefault=none",
            "MailProg=/bin/true",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "DefMemPerCPU=500",
            "SchedulerParameters=sched_interval=1,bf_interval=1,bf_max_time=10,"
            "sched_min_interval=0,preempt_youngest_first",
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "JobRequeue=1",
            f"SlurmdTimeout={SILENT_NODE}",
            "ReturnToService=2",
            "KillWait=5",
            "MinJobAge=300",
            "CompleteWait=0",
            *_containment(),
        ]
        if self._max_array_size is not None:
            lines.append(f"MaxArraySize={self._max_array_size}")
        for node, port in zip(self.nodes, self._node_ports, strict=True):
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
                f"CPUs={CPUS} RealMemory=4000 State=UNKNOWN"
            )
        all_nodes = f"Nodes={','.join(self.nodes)} MaxTime=INFINITE State=UP"
        lines += [
            f"PartitionName=normal {all_nodes} Default=YES PriorityTier=10 PreemptMode=OFF",
            f"PartitionName=urgent {all_nodes} PriorityTier=100 PreemptMode=OFF",
            f"PartitionName=flex {all_nodes} PriorityTier=1 PreemptMode=REQUEUE GraceTime={GRACE}",
            f"PartitionName=cancel {all_nodes} PriorityTier=1 PreemptMode=CANCEL GraceTime={GRACE}",
        ]
        return "\n".join(lines) + "\n"


@contextmanager
def running(*, max_array_size: int | None = None) -> Iterator[Cluster]:
    """A cluster, started and at the end stopped, with a folder of a short name."""
    folder = Path(tempfile.mkdtemp(prefix="dpam-slurm-", dir="/tmp"))  # a socket's path is short
    cluster = Cluster(folder, max_array_size=max_array_size)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _containment() -> list[str]:
    """How jobs are kept together: with control groups no process of a job outlives it."""
    memory = FREEZER.with_name("memory")
    if all(folder.is_dir() and os.access(folder, os.W_OK) for folder in (FREEZER, memory)):
        return ["ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup", "PrologFlags=Contain"]
    return ["ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none"]


def _user() -> pwd.struct_passwd:
    """The user of the jobs."""
    with suppress(KeyError):
        return pwd.getpwnam(USER)
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", USER], check=True)
    return pwd.getpwnam(USER)


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, of a range that the kernel hands out to nobody."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports += [port] if port not in ports else []
    return ports
