"""The cluster of ``containers/slurm``: commands in its containers, files in and out, its jobs."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SHARED = "/shared"
NODES = ("n1", "n2")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Job:
    """One line of what SLURM knows of a job, or of an element of an array."""

    id: str
    state: str
    node: str
    restarts: int


@dataclass(frozen=True)
class Cluster:
    """A running cluster; ``compose`` is the command that reaches it."""

    compose: tuple[str, ...]

    def run(self, host: str, *command: str, timeout: float = 60) -> str:
        """Run a command on a host; its standard output. AssertionError if it fails."""
        return self._compose("exec", "-T", host, *command, timeout=timeout)

    def put(self, source: Path, target: str) -> None:
        """Copy a file or folder into the shared folder, to a path that does not exist."""
        self._compose("cp", str(source), f"ctl:{target}")

    def get(self, source: str, target: Path) -> Path:
        """Copy a file or folder of the shared folder to a path that does not exist."""
        self._compose("cp", f"ctl:{source}", str(target))
        return target

    def kill(self, node: str) -> None:
        """What a power failure does: all processes at once; the node's disk keeps its files."""
        self._compose("kill", node)

    def start(self, node: str) -> None:
        """Switch a node on again."""
        self._compose("start", node)

    def jobs(self) -> list[Job]:
        """All jobs since the cluster's start that were not split into elements of an array."""
        text = self._ask("scontrol", "--oneliner", "show", "job")
        found = []
        for line in text.splitlines():
            fields = dict(word.partition("=")[::2] for word in line.split())
            if "JobId" in fields:
                restarts = int(fields["Restarts"])
                node = fields.get("NodeList", "")
                found.append(Job(fields["JobId"], fields["JobState"], node, restarts))
        return found

    def idle_nodes(self) -> set[str]:
        """Nodes that wait for work."""
        text = self._ask("sinfo", "-hNp", "normal", "--states=idle", "--format=%N %t")
        return {line.split()[0] for line in text.splitlines() if line.split()[1] == "idle"}

    def scratch_left(self, node: str) -> list[str]:
        """Folders of dpam-hpc in a node's own /tmp."""
        return self.run(node, "find", "/tmp", "-name", "dh-*", "-prune").split()

    def logs(self) -> str:
        """What the daemons said, for a failure's report."""
        return self._compose("logs", "--no-color", "--tail", "40")

    def _ask(self, *query: str) -> str:
        """Ask the controller, which is deaf for some seconds while it looks for a dead node."""
        for _ in range(5):
            with suppress(AssertionError):
                return self.run("ctl", *query)
        return self.run("ctl", *query)

    def _compose(self, *arguments: str, timeout: float = 60) -> str:
        command = [*self.compose, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout


def wait_for(what: str, look: Callable[[], Found], within: float) -> Found:
    """The first true answer of ``look``; AssertionError if there is none in time."""
    until = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < until, f"after {within} s still not: {what}"
        time.sleep(0.3)
    return found


def why_no_engine() -> str:
    """Why no container can be started here, and what to do; empty if one can."""
    if not shutil.which("docker"):
        return "no docker command: install Docker with compose v2; on Debian .ci/docker-engine does"
    if not _succeeds("docker", "info"):
        return "no Docker engine answers: start one, or as root on Debian .ci/docker-engine does"
    if not _succeeds("docker", "compose", "version"):
        return "docker has no compose: install the plugin docker-compose-v2"
    return ""


def why_no_base(image: str) -> str:
    """Why an image cannot be built on this one; empty if it is there or can be had."""
    if _succeeds("docker", "image", "inspect", image) or _succeeds("docker", "pull", image):
        return ""
    return f"no base image {image}: set DPAM_HPC_BASE_IMAGE to a Debian that the engine has"


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=120)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
