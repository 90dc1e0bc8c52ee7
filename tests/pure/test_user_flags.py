"""Options of the user's for sbatch: none that dpam-hpc sets, in no spelling."""

from __future__ import annotations

import pytest

from dpam_hpc.submit.preflight import OWNED_HERE
from dpam_hpc.submit.user_flags import user_flags_problem


@pytest.mark.parametrize(
    "argument",
    ["--array=0-3", "--arr=0-3", "-a0-3", "-N2", "-n", "-pshort", "-p=x", "-Aacc", "-t10",
     "--part=x", "--time=1", "--mem=5G", "--exclusive", "--exclu", "--output=x", "-o/x",
     "-HJx", "--requeue", "--no-requeue", "--wrap=true", "--export=ALL", "--job-name=x"],
)  # fmt: skip
def test_what_dpam_hpc_sets_itself(argument: str) -> None:
    (problem,) = user_flags_problem([argument], OWNED_HERE)
    assert problem.startswith(f"{argument}: --")
    assert problem.endswith("is set by dpam-hpc")


@pytest.mark.parametrize(
    "argument",
    ["--qos=high", "-qhigh", "--mem-per-cpu=2G", "--constraint=skx&ib", "-Cskx", "--mail-type=END",
     "--reservation=Ann's day", "--nice", "-k", "--licenses=a:2", "--time-min=10"],
)  # fmt: skip
def test_what_is_the_users(argument: str) -> None:
    assert user_flags_problem([argument], OWNED_HERE) == []


@pytest.mark.parametrize("argument", ["qos", "-", "--", "--qos high", "", "--qos=a\nb", "--x=\x1b"])
def test_what_is_no_option(argument: str) -> None:
    assert len(user_flags_problem([argument], OWNED_HERE)) == 1


def test_all_problems_are_told() -> None:
    assert len(user_flags_problem(["--array=1", "--qos=x", "oops"], OWNED_HERE)) == 2
