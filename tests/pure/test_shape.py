"""The shape of a run: limits, tasks of equal cost, times."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpam_hpc.clock import clock, parse_clock
from dpam_hpc.errors import ConfigError
from dpam_hpc.submit.shape import (
    DEFAULT_LIMIT,
    DESIRED_TASK,
    ROUND_TO,
    STARTUP,
    Limits,
    equal_tasks,
    shape,
)

HOUR = 3600


def test_little_work_is_one_short_task() -> None:
    found = shape(600, 3, 16, Limits(), multi_node=False)
    assert (found.tasks, found.at_once, found.starts) == (1, 1, 1)
    assert STARTUP < found.time_limit <= 2 * ROUND_TO


def test_much_work_is_as_few_tasks_as_end_within_the_desired_time() -> None:
    wall = 10 * DESIRED_TASK
    found = shape(wall * 16, 10_000, 16, Limits(), multi_node=False)
    assert found.tasks == 10
    assert DESIRED_TASK < found.time_limit <= DEFAULT_LIMIT
    assert found.starts == 1


@given(
    seconds=st.floats(0, 1e10),
    targets=st.integers(1, 10**6),
    cpus=st.integers(1, 300),
    runtime=st.none() | st.integers(600, 200 * HOUR),
    max_tasks=st.none() | st.integers(1, 5000),
    max_nodes=st.none() | st.integers(1, 500),
    multi_node=st.booleans(),
)
def test_limits_hold_whatever_the_work(
    seconds: float,
    targets: int,
    cpus: int,
    runtime: int | None,
    max_tasks: int | None,
    max_nodes: int | None,
    multi_node: bool,
) -> None:
    limits = Limits(max_runtime=runtime, max_tasks=max_tasks, max_nodes=max_nodes)
    found = shape(seconds, targets, cpus, limits, multi_node)
    assert 1 <= found.at_once <= found.tasks <= targets
    assert found.tasks <= (max_tasks or targets)
    assert found.at_once <= (max_nodes or targets)
    assert 60 <= found.time_limit <= (runtime or DEFAULT_LIMIT)
    # All of the work fits into the starts that are told.
    assert found.starts * found.time_limit >= seconds / cpus / found.tasks
    if found.starts == 1 and found.time_limit < (runtime or DEFAULT_LIMIT):
        assert found.time_limit >= seconds / cpus / found.tasks + STARTUP


def test_nodes_are_taken_as_given() -> None:
    found = shape(100 * HOUR, 500, 16, Limits(nodes=7), multi_node=False)
    assert (found.tasks, found.at_once) == (7, 7)


def test_more_nodes_than_targets_are_as_many_as_targets() -> None:
    assert shape(HOUR, 3, 16, Limits(nodes=7), multi_node=False).tasks == 3


@pytest.mark.parametrize(
    ("limits", "multi_node"),
    [(Limits(max_tasks=4, nodes=5), False), (Limits(max_nodes=4, nodes=5), True)],
)
def test_more_nodes_than_allowed_are_an_error(limits: Limits, multi_node: bool) -> None:
    with pytest.raises(ConfigError, match=r"--nodes 5 is more than this queue allows \(4\)"):
        shape(100 * HOUR, 500, 16, limits, multi_node)


def test_a_job_of_many_nodes_has_at_least_the_queues_minimum() -> None:
    found = shape(60, 50, 56, Limits(min_nodes=3, max_nodes=512), multi_node=True)
    assert (found.tasks, found.at_once) == (3, 3)
    assert shape(60, 50, 56, Limits(min_nodes=3), multi_node=False).tasks == 1


def test_fewer_targets_than_the_queues_minimum_of_nodes_are_an_error() -> None:
    with pytest.raises(ConfigError, match="jobs of 3 nodes and more, for 2 targets"):
        shape(60, 2, 56, Limits(min_nodes=3), multi_node=True)


def test_a_given_time_is_asked_for_and_decides_on_the_tasks() -> None:
    work = 100 * HOUR * 16
    short = shape(work, 5000, 16, Limits(time=HOUR), multi_node=False)
    long = shape(work, 5000, 16, Limits(time=10 * HOUR), multi_node=False)
    assert (short.time_limit, long.time_limit) == (HOUR, 10 * HOUR)
    assert short.tasks > long.tasks
    assert short.starts == 1


def test_a_time_above_the_queues_is_an_error() -> None:
    with pytest.raises(ConfigError, match="--time 03:00:00 is more than this queue's 02:00:00"):
        shape(60, 5, 16, Limits(max_runtime=2 * HOUR, time=3 * HOUR), multi_node=False)


def test_tasks_that_do_not_fit_into_the_time_are_told_as_several_starts() -> None:
    found = shape(50 * HOUR, 500, 1, Limits(max_runtime=10 * HOUR, nodes=1), multi_node=False)
    assert found.time_limit == 10 * HOUR
    assert found.starts == 6


@given(st.integers(1, 20), st.integers())
@settings(deadline=None, max_examples=30)
def test_tasks_of_many_targets_are_of_equal_cost(tasks: int, seed: int) -> None:
    chance = random.Random(seed)
    # Lengths of proteins are spread like this; the cost goes with their square.
    costs = [
        (f"P{n}", min(2700.0, chance.lognormvariate(5.7, 0.6)) ** 2 * 1e-3)
        for n in range(50 * tasks)
    ]
    parts = equal_tasks(costs, tasks)
    loads = [sum(cost for _, cost in part) for part in parts]
    assert max(loads) - min(loads) <= 0.05 * max(loads)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=200),
    st.integers(1, 30),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_every_target_is_in_one_task(
    seconds: list[float], tasks: int, chance: random.Random
) -> None:
    costs = [(f"P{n}", cost) for n, cost in enumerate(seconds)]
    parts = equal_tasks(costs, tasks)
    assert len(parts) == tasks
    assert sorted(target for part in parts for target in part) == sorted(costs)
    for part in parts:
        assert [cost for _, cost in part] == sorted((cost for _, cost in part), reverse=True)
    if tasks <= len(costs):
        assert all(parts), "an empty task would cost a node for nothing"
    shuffled = list(costs)
    chance.shuffle(shuffled)
    assert equal_tasks(shuffled, tasks) == parts, "the plan does not depend on the order given"


@given(st.integers(1, 400 * 86400))
def test_clock_and_back(seconds: int) -> None:
    assert parse_clock(clock(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("10:30", 630),
        ("48:00:00", 172_800),
        ("1:02:03", 3723),
        ("2-0", 172_800),
        ("1-12", 129_600),
        ("1-12:30", 131_400),
        ("2-00:00:00", 172_800),
        (" 1-00:00:01 ", 86_401),
        ("0-1", 3600),
    ],
)
def test_times_as_slurm_takes_them(text: str, seconds: int) -> None:
    assert parse_clock(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "-", "1-", "-5", "1:2:3:4", "1-1:2:3:4", "1h", "1.5", "a-1", "1--2", "1:", ":30", "²", "٣",
     "UNLIMITED", "infinite", "0", "00:00:00", "0-0", "+5", "1 2"],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time"):
        parse_clock(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(59, "00:00:59"), (3600, "01:00:00"), (90_061, "1-01:01:01")]
)
def test_clock_as_slurm_reads_it(seconds: int, text: str) -> None:
    assert clock(seconds) == text


def test_several_multi_node_jobs_where_one_is_not_enough() -> None:
    work = 24 * 3600  # six times what one task takes
    limits = Limits(max_nodes=2, max_jobs=3, max_runtime=48 * 3600)
    found = shape(work, 1000, 1, limits, True)
    assert (found.tasks, found.at_once) == (6, 2)
    assert shape(work, 1000, 1, Limits(max_nodes=2), True).tasks == 2


def test_a_task_has_time_for_its_longest_target() -> None:
    short = shape(600, 3, 16, Limits(), multi_node=False)
    found = shape(600, 3, 16, Limits(), multi_node=False, longest_target=2 * HOUR)
    assert found.tasks == short.tasks
    assert found.time_limit == 3 * HOUR + STARTUP
    limited = shape(600, 3, 16, Limits(max_runtime=HOUR), multi_node=False, longest_target=2 * HOUR)
    assert (limited.time_limit, limited.starts) == (HOUR, 3)
