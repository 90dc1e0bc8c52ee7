"""The pages of a cluster, tried on a real one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests import replay
from tests.docs import home, pages
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(240)]

BUNDLE = "dpam-hpc bundle build DATA/ECOD70 -o ecod70.bundle"
PAGES = [
    "README.md",
    "docs/cluster.md",
    "docs/migrating.md",
    "docs/sites/leda.md",
    "docs/start/cluster.md",
]


@pytest.mark.parametrize("name", PAGES)
def test_a_pages_commands_do_what_it_says(name: str, cluster: Cluster, user_python: Path) -> None:
    page = next(page for page in pages.pages() if pages.name(page) == name)
    folder = Path(tempfile.mkdtemp(dir=cluster.home))
    dali_home = replay.make_home(folder / "replayed", python=str(user_python))
    home.fill(folder, dali_home)
    blocks = pages.blocks(page)
    home.write_files(blocks, folder)
    cluster.user.own(folder)
    environment = {
        "PATH": f"{user_python.parent}:{cluster.env['PATH']}",
        "HOME": str(folder),
        "DALI_HOME": str(folder / "DaliLite.v5"),
        "DPAM_HPC_MIN_FREE_GB": "0.01",
    }
    variables = [f"{name}={value}" for name, value in environment.items()]
    script = "\n".join(("exec 2>&1", BUNDLE, home.script(blocks)))
    done = cluster.run(["env", *variables, "bash", "-c", script], cwd=folder, timeout=200)
    assert not home.judge(blocks, done.returncode, done.stdout, str(folder))
    cluster.wait_until_idle()
    shutil.rmtree(folder)
