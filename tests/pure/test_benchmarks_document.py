"""docs/benchmarks.md is what the script makes of the committed results, and nothing else."""

from __future__ import annotations

import all as benchmarks
import document
import pytest

RESULTS = document.read()


def test_document_is_made_from_the_results() -> None:
    assert RESULTS
    again = "make it anew: python benchmarks/document.py"
    assert document.DOCUMENT.read_text() == document.text(RESULTS), again
    assert document.SCALE.read_text() == document.scale_text(RESULTS), again
    assert document.README.read_text() == document.readme_text(RESULTS), again


def test_every_plot_is_there() -> None:
    wanted = {file for name, result in RESULTS.items() for file in document.plots(name, result)}
    assert {path.name for path in document.PLOTS_FOLDER.iterdir()} == wanted


@pytest.mark.parametrize("name", RESULTS)
def test_results_say_what_they_were_measured_on(name: str) -> None:
    result = RESULTS[name]
    assert {"cpu", "cores", "memory_gb", "kernel", "load"} <= result["machine"].keys()
    assert result["commit"] and result["date"] and result["versions"]["dpam-hpc"]
    assert not any("/" in word for word in result["arguments"])


def test_results_are_those_of_benchmarks_that_there_are() -> None:
    assert set(RESULTS) <= {benchmark.name for benchmark in benchmarks.BENCHMARKS}


def test_every_benchmark_has_its_line_in_the_readme() -> None:
    readme = (document.HERE / "README.md").read_text()
    missing = {b.script for b in benchmarks.BENCHMARKS if f"- `{b.script}`" not in readme}
    assert not missing
