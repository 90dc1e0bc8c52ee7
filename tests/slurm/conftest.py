"""The cluster of this ring, started once: other rings count the processes that they leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ordinary_user import NO_PYTHON, make_command
from tests.slurm import cluster as slurm
from tests.slurm.cluster import Cluster


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """Four nodes; tests end their own jobs."""
    yield from _running(None)


@pytest.fixture(scope="package")
def cluster_without_arrays() -> Iterator[Cluster]:
    """A site that takes no job arrays."""
    yield from _running(0)


@pytest.fixture(scope="package")
def user_python(cluster: Cluster) -> Path:
    """A Python with dpam-hpc that the cluster's user can run; the command lies beside it."""
    command = make_command(cluster.user, cluster.folder / "venv")
    if command is None:
        pytest.skip(NO_PYTHON)
    return command.with_name("python")


def _running(max_array_size: int | None) -> Iterator[Cluster]:
    if why := slurm.missing():
        pytest.skip(why)
    with slurm.running(max_array_size=max_array_size) as running:
        yield running
