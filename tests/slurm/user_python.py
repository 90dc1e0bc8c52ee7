"""A Python that the cluster's user can run, with dpam-hpc: the tests' own may be root's alone."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from tests.slurm.cluster import Cluster

ROOT = Path(__file__).parents[2]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def make(cluster: Cluster) -> Path | None:
    """The Python of a virtual environment in the cluster's folder; None if there can be none.

    It has this project and the packages of the tests' own Python, without PYTHONPATH, which the
    environment of a job does not keep. ``dpam-hpc`` lies beside it.
    """
    folder = cluster.folder / "venv"
    bases = [sys.executable, f"/usr/bin/python{VERSION}", f"/usr/local/bin/python{VERSION}"]
    for base in bases:
        try:
            made = cluster.run([base, "-I", "-m", "venv", "--without-pip", "--clear", folder])
        except OSError:
            continue  # it is not there, or the user may not run it
        if made.returncode == 0:
            break
    else:
        return None
    packages = folder / "lib" / f"python{VERSION}" / "site-packages"
    paths = dict.fromkeys([str(ROOT), *(sysconfig.get_path(n) for n in ("purelib", "platlib"))])
    (packages / "tests.pth").write_text("".join(f"{path}\n" for path in paths))
    command = folder / "bin" / "dpam-hpc"
    command.write_text(f'#!/bin/sh\nexec {folder}/bin/python -m dpam_hpc "$@"\n')
    command.chmod(0o755)
    asked = cluster.run([command, "--version"], PYTHONDONTWRITEBYTECODE="1")
    return folder / "bin" / "python" if asked.returncode == 0 else None
