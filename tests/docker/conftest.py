"""The cluster with the project installed on its shared folder, and how a job is submitted."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_docker.plugin import Services

from dpam_hpc.image import debian, python_packages
from tests import replay
from tests.apptainer.images import Images
from tests.conftest import Work, lay_out
from tests.docker.cluster import NODES, SHARED, Cluster, wait_for, why_no_base, why_no_engine

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "containers" / "slurm" / "compose.yml"
LOCK = ROOT / "requirements" / "run.txt"
SITE = f"{SHARED}/site"
DATA = f"{SHARED}/sample"
HOME = f"{SHARED}/dali"
# TM-align is not run here, and has no wheel for the Python of every Debian.
LEFT_OUT = ("numpy", "tmtools")
OWN_BASE = "dpam-hpc:tests"


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(COMPOSE_FILE)


@pytest.fixture(scope="session")
def docker_setup(built_if_possible: Images | None) -> list[str]:
    """How the cluster is started; the ring is skipped where that cannot be.

    Its nodes have the root of dpam-hpc's image, where one can be built.
    """
    if why := why_no_engine():
        pytest.skip(why)
    if built_if_possible is not None:
        archive = built_if_possible.scratch() / "image.tar"
        image: list[str | Path] = [
            "image",
            "docker",
            built_if_possible.one,
            "--tag",
            OWN_BASE,
            "-o",
            archive,
        ]
        done = built_if_possible.dpam_hpc(*image)
        assert done.returncode == 0, done.stderr
        subprocess.run(["docker", "load", "-qi", archive], check=True, timeout=300)
        archive.unlink()
        os.environ["DPAM_HPC_BASE_IMAGE"] = OWN_BASE
        os.environ["DPAM_HPC_MIRROR"] = next(iter(debian.mirrors(None)), "")
    base = os.environ.get("DPAM_HPC_BASE_IMAGE") or "debian:bookworm-slim"
    if why := why_no_base(base):
        pytest.skip(why)
    return ["up --build --wait"]


@pytest.fixture(scope="module")
def cluster(
    docker_services: Services,
    docker_compose_project_name: str,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Cluster:
    """Two idle nodes; code under test, requirements, sample and stand-in on the shared folder."""
    command = ("docker", "compose", "-f", str(COMPOSE_FILE), "-p", docker_compose_project_name)
    cluster = Cluster(command)
    version = cluster.run(
        "n1", "/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:3])"
    )
    python = ".".join(version.split())
    assert pytestconfig.cache
    packages = requirements_for(python, pytestconfig.cache.mkdir("slurm-nodes"))
    code = tmp_path_factory.mktemp("code") / "site"
    _pip_install(code, "--no-build-isolation", str(ROOT))
    shutil.copytree(ROOT / "tests" / "replay", code / "tests" / "replay")
    cluster.put(packages, SITE)
    cluster.put(code, f"{SHARED}/code")
    cluster.run("ctl", "cp", "-r", f"{SHARED}/code/.", SITE)
    cluster.put(replay.DATA, DATA)
    make_home = "from pathlib import Path; from tests import replay; replay.make_home(Path({!r}))"
    cluster.run("ctl", "/usr/bin/python3", "-c", make_home.format(HOME))
    return cluster


@pytest.fixture(autouse=True)
def quiet_cluster(cluster: Cluster) -> Iterator[None]:
    """Each test finds both nodes idle."""
    wait_for("both nodes are idle", lambda: cluster.idle_nodes() == set(NODES), 60)
    yield


def requirements_for(python: str, cache: Path) -> Path:
    """A folder with the locked requirements for the nodes' Python, which need not be this one."""
    version = python.rpartition(".")[0]
    text = python_packages.requirements(LOCK.read_text(), platform.machine(), version, LEFT_OUT)
    name = f"{python}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    folder = cache / name
    if not folder.exists():
        half, file = cache / f"{name}.half", cache / f"{name}.txt"
        shutil.rmtree(half, ignore_errors=True)
        file.write_text(text)
        _pip_install(
            half, "--python-version", version, "--only-binary=:all:", "--require-hashes", "-r",
            str(file),
        )  # fmt: skip
        half.rename(folder)
    return folder


def _pip_install(folder: Path, *what: str) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--no-deps", "--no-compile", "--target", str(folder), *what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Submission:
    """A working folder of the sample on the cluster, and what its jobs left in it."""

    cluster: Cluster
    folder: str
    targets: tuple[str, ...]

    def done(self) -> list[str]:
        """Markers of finished targets, wherever under the folder."""
        return self.cluster.run("ctl", "find", self.folder, "-name", "*.iterativeDali.done").split()

    def fetch(self, target: Path) -> Work:
        """The working folder as it is now, here."""
        return Work(self.cluster.get(f"{self.folder}/work", target), self.targets)

    def log(self) -> str:
        """What the jobs printed."""
        logs = f"{self.folder}/work/.dpam-hpc/runs/*/logs/*"
        return self.cluster.run("ctl", "sh", "-c", f"tail -n 30 {logs}")


def submit_sample(
    cluster: Cluster, folder: Path, targets: tuple[str, ...], nodes: int, home: str = HOME
) -> Submission:
    """Submit the sample's ``targets`` as a task for each of ``nodes``; ``folder`` is empty.

    The one place that knows how a job is submitted.
    """
    remote = f"{SHARED}/{folder.name}"
    lay_out(folder / "work", targets)
    cluster.put(folder, remote)
    cluster.run(
        "ctl", "dpam-hpc", "submit", f"{remote}/work", "--platform", "generic", "--no-image",
        "--data-dir", DATA, "--dali-home", home, "--min-free-gb", "0.01", "--dali-workers", "2",
        "--partition", "normal", "--nodes", str(nodes), "--cpus", "2", "--time", "10:00",
    )  # fmt: skip
    return Submission(cluster, remote, targets)
