"""The cluster of this ring, started once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import cluster as slurm
from tests.slurm import user_python as own_python
from tests.slurm.cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Four nodes; tests end their own jobs."""
    yield from _running(None)


@pytest.fixture(scope="session")
def cluster_without_arrays() -> Iterator[Cluster]:
    """A site that takes no job arrays."""
    yield from _running(0)


@pytest.fixture(scope="session")
def user_python(cluster: Cluster) -> Path:
    """A Python with dpam-hpc that the cluster's user can run; the command lies beside it."""
    python = own_python.make(cluster)
    if python is None:
        pytest.skip(
            f"an ordinary user can run neither {sys.executable} nor /usr/bin/python"
            f"{own_python.VERSION} with its packages: work in a folder that all can read, "
            "or apt install python3"
        )
    return python


def _running(max_array_size: int | None) -> Iterator[Cluster]:
    if why := slurm.missing():
        pytest.skip(why)
    with slurm.running(max_array_size=max_array_size) as running:
        yield running
