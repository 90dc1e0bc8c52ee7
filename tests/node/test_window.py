"""Which templates go to the next free worker: each one once, whatever becomes of the workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpam_hpc.align.iterate import TemplateResult
from dpam_hpc.node.staging import StagedTarget, TargetResult
from dpam_hpc.node.window import MAX_TRIES, Window
from dpam_hpc.node.work import Done, Place, Unit

PLACE = Place(Path("/scratch"), {})


def staged(name: str, templates: int, residues: int = 100) -> StagedTarget:
    """A target with candidates ``name-0``, ``name-1``, …"""
    candidates = tuple(f"{name}-{number}" for number in range(templates))
    return StagedTarget(name, b"", residues, candidates)


def window_of(*targets: StagedTarget) -> Window:
    """A window with ``targets``."""
    window = Window()
    for target in targets:
        window.add(target)
    return window


def next_unit(window: Window, workers: int = 4, cost_to_come: int = 0) -> Unit | None:
    """The next unit as the launcher makes it."""
    found = window.next(workers, cost_to_come)
    return Unit(PLACE, found[0].target.id, found[1]) if found else None


def answered(unit: Unit) -> Done:
    """A worker's answer to a unit."""
    return Done([TemplateResult(template) for template in unit.templates])


def unit_sizes(window: Window, workers: int, cost_to_come: int = 0) -> list[int]:
    """How many templates each unit has until all are handed out."""
    sizes = []
    while unit := next_unit(window, workers, cost_to_come):
        sizes.append(len(unit.templates))
    return sizes


@pytest.mark.parametrize("workers", [1, 2, 8, 64])
@pytest.mark.parametrize("templates", [1, 7, 64, 600])
def test_units_shrink_as_less_is_left_and_every_worker_gets_one(
    templates: int, workers: int
) -> None:
    sizes = unit_sizes(window_of(staged("P", templates, residues=300)), workers)
    assert sum(sizes) == templates
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) >= min(workers, templates)
    assert sizes[-1] >= 1


def test_a_unit_has_fewer_templates_of_a_longer_target() -> None:
    short, long = staged("P", 600, residues=100), staged("P", 600, residues=2000)
    assert unit_sizes(window_of(long), 4)[0] < unit_sizes(window_of(short), 4)[0]


def test_what_is_still_to_be_read_makes_units_larger() -> None:
    last = unit_sizes(window_of(staged("P", 60)), 4)
    not_last = unit_sizes(window_of(staged("P", 60)), 4, cost_to_come=10**9)
    assert len(not_last) < len(last)


def test_the_target_with_the_most_work_comes_first() -> None:
    window = window_of(
        staged("short", 10, residues=50),
        staged("long", 8, residues=1000),
        staged("many", 70, residues=100),
    )
    order = []
    while unit := next_unit(window):
        if unit.target not in order:
            order.append(unit.target)
    assert order == ["long", "many", "short"]


def test_templates_are_handed_out_in_the_order_of_the_candidates() -> None:
    window = window_of(staged("P", 50))
    templates: list[str] = []
    while unit := next_unit(window):
        templates += unit.templates
    assert templates == list(staged("P", 50).candidates)
    assert len(window) == 1, "a target that is still being worked on is not finished"


def test_what_is_given_back_comes_next_and_in_order() -> None:
    window = window_of(staged("P", 50))
    first = next_unit(window)
    assert first is not None
    assert window.give_back(first) is None
    assert next_unit(window) == first


def test_a_finished_target_holds_everything_known_of_it() -> None:
    refused = TemplateResult("'../x'", failure="no template id")
    window = window_of(StagedTarget("P", b"", 77, ("a", "b"), (refused,)))
    one, other = next_unit(window, workers=2), next_unit(window, workers=2)
    assert one is not None
    assert other is not None
    assert window.done(other, Done([TemplateResult("b")], cpu={"puu": 1.0})) is None
    job = window.done(one, Done([TemplateResult("a")], cpu={"puu": 2.0, "dp": 4.0}))
    assert job is not None
    result = job.result()
    assert (result.id, result.residues, result.candidates) == ("P", 77, 3)
    assert result.results == [refused, TemplateResult("b"), TemplateResult("a")]
    assert result.cpu == {"puu": 3.0, "dp": 4.0}
    assert result.problem == ""
    assert len(window) == window.pairs_left == 0


def run(window: Window, workers: int, killers: set[str]) -> tuple[dict[str, TargetResult], int]:
    """Work everything off with workers that die of ``killers``; results and deaths."""
    finished: dict[str, TargetResult] = {}
    deaths = 0
    while (unit := next_unit(window, workers)) is not None:
        if killers & set(unit.templates):
            deaths += 1
            job = window.give_back(unit, "killed by signal 9")
        else:
            job = window.done(unit, answered(unit))
        if job:
            finished[job.target.id] = job.result()
    return finished, deaths


def test_a_template_that_kills_its_workers_is_a_failure_and_no_other_is() -> None:
    finished, deaths = run(window_of(staged("P", 60), staged("Q", 9)), 2, {"P-3", "Q-8"})
    assert set(finished) == {"P", "Q"}
    for name, templates in (("P", 60), ("Q", 9)):
        results = finished[name].results
        assert sorted(r.template for r in results) == sorted(staged(name, templates).candidates)
        failed = [(r.template, r.failure) for r in results if r.failure]
        assert failed == [("P-3" if name == "P" else "Q-8", "killed by signal 9 (twice)")]
    assert deaths <= 2 * (1 + MAX_TRIES), "together with others, then alone"


def test_a_template_that_killed_a_worker_once_is_no_failure() -> None:
    window = window_of(staged("P", 1))
    unit = next_unit(window)
    assert unit is not None
    assert window.give_back(unit, "killed by signal 9") is None
    assert next_unit(window) == unit
    job = window.done(unit, answered(unit))
    assert job is not None
    assert job.results == [TemplateResult("P-0")]


def test_a_query_that_cannot_be_used_ends_its_job_alone() -> None:
    window = window_of(staged("P", 100, residues=500), staged("Q", 100))
    one, other = next_unit(window), next_unit(window)
    assert one is not None
    assert other is not None
    assert one.target == other.target == "P"
    assert window.done(one, Done(query_failure="two chains")) is None
    rest = next_unit(window)
    assert rest is not None
    assert rest.target == "Q"
    job = window.done(other, answered(other))
    assert job is not None
    assert job.result().problem == "two chains"
    assert len(window) == 1


@pytest.mark.parametrize("died", ["", "killed by signal 9"])
def test_nothing_more_is_tried_with_a_query_that_cannot_be_used(died: str) -> None:
    """The last unit of it is given back after the answer that told so."""
    window = window_of(staged("P", 100))
    one, other = next_unit(window), next_unit(window)
    assert one is not None
    assert other is not None
    assert window.done(one, Done(query_failure="two chains")) is None
    job = window.give_back(other, died)
    assert next_unit(window) is None
    assert job is not None
    assert job.result().problem == "two chains"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=3), st.integers(1, 8), st.data())
def test_every_template_is_worked_on_once_whatever_the_order_of_the_answers(
    sizes: list[int], workers: int, data: st.DataObject
) -> None:
    targets = [staged(f"P{number}", size) for number, size in enumerate(sizes)]
    window = window_of(*targets)
    running: list[Unit] = []
    deaths_alone: Counter[str] = Counter()
    finished: dict[str, TargetResult] = {}
    mishaps = 15

    while len(window):
        unit = next_unit(window, workers) if len(running) < workers else None
        if unit is not None:
            for other in running:
                assert not set(unit.templates) & set(other.templates)
            running.append(unit)
            if data.draw(st.booleans()):
                continue
        assert running, "targets are left, but nothing of them to do"
        unit = running.pop(data.draw(st.integers(0, len(running) - 1)))
        fate = data.draw(st.sampled_from(["done", "given back", "died"])) if mishaps else "done"
        mishaps -= fate != "done"
        if fate == "done":
            job = window.done(unit, answered(unit))
        elif fate == "given back":
            job = window.give_back(unit)
        else:
            if len(unit.templates) == 1:
                deaths_alone[unit.templates[0]] += 1
            job = window.give_back(unit, "died")
        if job is not None:
            assert job.target.id not in finished
            finished[job.target.id] = job.result()

    assert next_unit(window) is None
    assert not running
    for target in targets:
        results = finished[target.id].results
        assert sorted(r.template for r in results) == sorted(target.candidates)
        for result in results:
            assert bool(result.failure) == (deaths_alone[result.template] >= MAX_TRIES)


def test_those_that_are_not_begun_can_be_put_off_and_begun_ones_tell_their_cost() -> None:
    window = window_of(staged("a", 40, 400), staged("b", 4))
    unit = next_unit(window)
    assert unit is not None and unit.target == "a"
    window.done(unit, Done(cpu={"x": 2.0, "y": 0.5}))
    assert window.cpu_seconds == 2.5
    assert window.put_off() == 1
    assert len(window) == 1 and window.job("a").left
    assert window.put_off() == 0
