"""dpam's steps as data: what --steps means, which steps share a job, what a target costs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dpam_hpc.errors import ConfigError
from dpam_hpc.pipeline import steps
from dpam_hpc.pipeline.program import Call, said_of_step
from dpam_hpc.pipeline.steps import ALL, STARTING, STEPS, Stage

STAMP = "2026-01-01 00:00:00"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("7", (7,)),
        ("all", ALL),
        ("1-24", ALL),
        ("-", None),
        ("7-13", (7, 8, 9, 10, 11, 12, 13)),
        ("8-", (*range(8, 14), *range(15, 25))),
        ("-6", (1, 2, 3, 4, 5, 6)),
        ("7,8", (7, 8)),
        ("8, 7", (7, 8)),
        ("13-15", (13, 15)),
        ("1,3-5,24", (1, 3, 4, 5, 24)),
        ("14", None),
        ("13-14", None),
        ("0-3", None),
        ("9-7", None),
        ("25", None),
        ("", None),
        ("7,", None),
        ("seven", None),
        ("7-8-9", None),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
    ],
)
def test_what_steps_mean(text: str, numbers: tuple[int, ...] | None) -> None:
    if numbers is None:
        with pytest.raises(ConfigError, match=r"is no step|names no steps"):
            steps.parse(text)
    else:
        assert steps.parse(text) == numbers


@pytest.mark.parametrize("numbers", [ALL, (7,), (7, 8), (13, 15), (1, 3, 4, 24), (1, 24)])
def test_steps_are_spelled_as_they_are_read(numbers: tuple[int, ...]) -> None:
    assert steps.parse(steps.spelled(numbers)) == numbers


def test_all_steps_are_four_jobs() -> None:
    found = steps.stages(ALL)
    assert [stage.name for stage in found] == ["1-6", "7", "8-13", "15-24"]
    assert [(stage.cpus, stage.memory_mb) for stage in found] == [
        (4, 8000),
        (1, 2000),
        (1, 2000),
        (1, 2000),
    ]


def test_a_stage_asks_for_what_its_own_steps_need() -> None:
    (cheap,) = steps.stages((4, 5, 6))
    (heavy,) = steps.stages((2,))
    assert (cheap.name, cheap.cpus, cheap.memory_mb) == ("4-6", 1, 2000)
    assert (heavy.cpus, heavy.memory_mb) == (4, 8000)
    assert heavy.seconds(1000) == pytest.approx(STARTING + 2 * 2700)
    assert heavy.seconds(500) > 50 * cheap.seconds(500)


def test_stages_go_from_step_to_step() -> None:
    for number, step in STEPS.items():
        assert all(read < number for read in step.reads), step.name
        if step.idle_without:
            source = STEPS[step.idle_without.number]
            assert step.idle_without.ending in (*source.always, *source.sometimes)
    assert sorted(STEPS) == list(ALL)
    assert Stage((8, 9)).names == ["ANALYZE_DALI", "GET_SUPPORT"]


def test_the_reason_is_that_of_the_last_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "".join(
            f"$ dpam run P\n{STAMP} [INFO] dpam.pipeline: Starting SSE for P\n"
            f"{STAMP} [ERROR] dpam.steps.sse: {why}\n"
            f"{STAMP} [INFO] dpam.pipeline: Starting DISORDER for P\n"
            f"{STAMP} [ERROR] dpam.steps.disorder: another matter\n"
            for why in ("the first time", "the second time")
        )
    )
    assert said_of_step(log, "SSE") == "[ERROR] dpam.steps.sse: the second time"
    assert said_of_step(log, "DISORDER") == "[ERROR] dpam.steps.disorder: another matter"


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exit 255", "exit code 255"),
        ("exit 3", "exit code 3"),
        ("kill -6 $$", "killed by signal 6"),
    ],
)
def test_how_dpam_ended(tmp_path: Path, script: str, how: str) -> None:
    call = Call("P", (1,), ["sh", "-c", script], tmp_path / "targets" / "P.log", 60.0)
    call.start(os.environ)
    while call.ended() is None:
        time.sleep(0.01)
    call.close()
    assert call.reason("PREPARE", "").split(";")[0] == how
