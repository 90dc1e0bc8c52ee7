"""What several rings need: the sample, the stand-in for DALI, the command, images.

Tests run in several processes, those of a cluster and of images in one of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import replay
from tests.apptainer import images
from tests.apptainer.images import Builds, Images

BUILDS = pytest.StashKey[Builds]()
NEED_IMAGES = {"built", "built_if_possible"}
OF_MACHINE = ("apptainer", "docker", "slurm")
"""Rings whose tests share images or a cluster, of which there is one."""
os.environ["XDG_STATE_HOME"] = "/nonexistent"  # no probe of this user's decides on scratch
COMMAND = [sys.executable, "-m", "dpam_hpc"]
HITS = "_iterativdDali_hits"


def as_upstream(hits: str) -> str:
    """Hits with field 5 of each header as upstream writes it."""
    return re.sub(r"(?m)^(>.*\t)\d+$", r"\g<1>0", hits)


@dataclass(frozen=True)
class Work:
    """A working folder with targets of the sample."""

    root: Path
    targets: tuple[str, ...]
    sharded: bool = False

    @property
    def output(self) -> Path:
        return self.root / "step07_dali" if self.sharded else self.root

    def hits(self, target: str) -> bytes:
        return (self.output / f"{target}{HITS}").read_bytes()

    def expect_whole(self) -> None:
        """All targets have upstream's hits, to the byte, and their marker; nothing else is left."""
        for target in self.targets:
            assert self.hits(target) == (replay.DATA / f"{target}{HITS}").read_bytes(), target
            marker = self.output / f"{target}.iterativeDali.done"
            assert marker.read_text() == "done\n"
        left = [p.name for p in self.output.iterdir() if p.name.startswith(".")]
        assert set(left) <= {".dpam-hpc"}, left


def lay_out(root: Path, targets: tuple[str, ...], sharded: bool = False) -> Work:
    """A working folder as dpam's steps 1 to 6 leave it."""
    queries = root / "step01_prepare" if sharded else root
    candidates = root / "step06_candidates" if sharded else root
    queries.mkdir(parents=True, exist_ok=True)
    candidates.mkdir(exist_ok=True)
    for target in targets:
        shutil.copy(replay.DATA / f"{target}.pdb", queries)
        shutil.copy(replay.DATA / f"{target}_hits4Dali", candidates)
    return Work(root, targets, sharded)


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command: nothing of the machine's own settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DPAM_", "DALI_", "SLURM_"))}
    return {**kept, "XDG_CONFIG_HOME": "/nonexistent", "XDG_DATA_HOME": "/nonexistent", **changes}


def run(
    *arguments: str | Path, timeout: float = 100, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``dpam-hpc`` to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment() if env is None else dict(env),
    )


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DALI home whose programs answer from recordings."""
    return replay.make_home(tmp_path_factory.mktemp("dali") / "home")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def launch(stand_in: Path, scratch: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``dpam-hpc run`` on a working folder with the stand-in."""

    def launch(
        work: Work, *more: str | Path, home: Path = stand_in
    ) -> subprocess.CompletedProcess[str]:
        arguments: list[str | Path] = [
            "--dali-home",
            home,
            "--scratch-dir",
            scratch,
            "--min-free-gb",
            "0.01",
        ]
        if "--dali-workers" not in more:
            arguments += ["--dali-workers", "2"]
        return run("run", work.root, "--data-dir", replay.DATA, *arguments, *more)

    return launch


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of a cluster come first, they take long; those that need an image last."""

    def place(item: pytest.Item) -> int:
        if NEED_IMAGES & set(getattr(item, "fixturenames", ())):
            return 2
        return 0 if item.path.parent.name in OF_MACHINE else 1

    items.sort(key=place)


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """A file is one process's work, and so is all that shares images or a cluster."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "machine" if Path(file).parent.name in OF_MACHINE else file


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Instead of xdist's own; what comes first in the list is begun first."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """No test takes the DALI that the developer has installed."""
    os.environ["XDG_DATA_HOME"] = "/nonexistent"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the images."""
    if BUILDS in config.stash:
        config.stash[BUILDS].stop()


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> Images:
    """Two images of this commit with a stand-in for DALI; skipped where there can be none."""
    if why := images.why_none():
        pytest.skip(why)
    return _built(pytestconfig)


@pytest.fixture(scope="session")
def built_if_possible(pytestconfig: pytest.Config) -> Images | None:
    """The same, for tests that have another way."""
    return None if images.why_none() else _built(pytestconfig)


def _built(config: pytest.Config) -> Images:
    if BUILDS not in config.stash:
        config.stash[BUILDS] = Builds()
    return config.stash[BUILDS].result()
