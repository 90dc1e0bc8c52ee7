"""A run by the command, and its report by the command: the launcher notes what the report shows."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from dpam_hpc import journal
from dpam_hpc.journal import DONE, END, START
from dpam_hpc.node.dispatch import STAGING_THREADS
from tests import replay
from tests.conftest import environment, lay_out, run
from tests.report.simulated import HEAD, Simulation
from tests.report.test_page import ROOT, Page

TARGETS = ("A0A0K2WPR7", "O05011")
FAILS = "P00000"


@dataclass(frozen=True)
class Ran:
    """A folder in which ``dpam-hpc run`` was called, and the records of that."""

    root: Path
    records: list[journal.Record]

    def of(self, state: str) -> list[journal.Record]:
        return [record for record in self.records if record["state"] == state]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two targets and one that fails, aligned by TM-align."""
    folder = tmp_path_factory.mktemp("ran")
    work = lay_out(folder / "work", TARGETS)
    shutil.copy(replay.DATA / "O05011_hits4Dali", work.root / f"{FAILS}_hits4Dali")
    done = run(
        "run", work.root, "--data-dir", replay.DATA, "--aligner", "tmalign",
        "--min-free-gb", "0.01",
        "--dali-workers", "2", "--scratch-dir", folder, env=environment(DPAM_HPC_GRACE="7"),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    return Ran(work.root, journal.read(work.root / ".dpam-hpc/journal.jsonl"))


def report(ran: Ran, *arguments: str | Path) -> str:
    """What ``dpam-hpc report`` prints."""
    said = run("report", ran.root, *arguments)
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_a_start_and_an_end_are_noted(ran: Ran) -> None:
    (start,), (end,) = ran.of(START), ran.of(END)
    assert ran.records[0] == start and ran.records[-1] == end
    assert start["at"] <= start["ready"] <= end["at"]
    assert start["sources"]["data_dir"] == "flag --data-dir"
    assert start["sources"]["grace"] == "environment DPAM_HPC_GRACE"
    assert (start["settings"]["grace"], start["settings"]["target"]) == (7.0, "all")
    assert (start["aligner"], start["workers"]) == ("tmalign", 2)
    assert set(start["programs"]) == {"tmtools"}
    assert (end["how"], end["reason"]) == ("finished", "")
    assert (end["done"], end["failed"]) == (2, 1)
    assert end["pairs"] == sum(record["candidates"] for record in ran.of(DONE))
    assert end["busy"] > 0 and end["launcher"] > 0 and end["least_free_bytes"] > 0
    spent = sum(sum(record["cpu"].values()) for record in ran.of(DONE))
    assert sum(end["used"].values()) == pytest.approx(spent, rel=0.5)


def test_operations_of_the_shared_file_system_are_counted(ran: Ran) -> None:
    (end,) = ran.of(END)
    asked = end["asked"]
    assert asked["list"] == 1
    assert asked["open"] == 2 * len(TARGETS) + 2, "a list and a query each; one query is missing"
    assert asked["rename"] == asked["fsync"] == len(TARGETS) + 1
    # Targets that end together each write a marker.
    empty = sum(record["hits"] == 0 for record in ran.of(DONE))
    assert asked["create"] == asked["write"] + empty
    assert len(TARGETS) + 2 <= asked["create"] <= len(TARGETS) + 1 + STAGING_THREADS
    hits = sum((ran.root / f"{t}_iterativeTMalign_hits").stat().st_size for t in TARGETS)
    failures = (ran.root / f"{FAILS}_iterativeTMalign.failures.tsv").stat().st_size
    markers = end["written_bytes"] - hits - failures
    assert markers in (len(b"done\n"), 2 * len(b"done\n"))


def test_a_target_notes_what_its_hits_are_like(ran: Ran) -> None:
    (start,), (end,) = ran.of(START), ran.of(END)
    for record in ran.of(DONE):
        assert start["at"] <= record["at"] <= end["at"]
        text = (ran.root / f"{record['target']}_iterativeTMalign_hits").read_text()
        heads = [line.split("\t") for line in text.splitlines() if line.startswith(">")]
        assert sum(record.get("scores", {}).values()) == len(heads) == record["hits"]
        if heads:
            assert record["best"] == max(float(head[1]) for head in heads)
            assert 0 < record["covered"] <= record["residues"]


def test_the_simulated_run_is_written_as_a_real_one(ran: Ran, tmp_path: Path) -> None:
    made = Simulation(tmp_path, 30).write(tasks=1)
    simulated = {record["state"]: set(record) for record in made.records(0)}
    (start,), (end,) = ran.of(START), ran.of(END)
    of_tasks = {"job", "restart"}
    assert simulated[START] == (set(start) - {"sources"}) | of_tasks
    assert simulated[END] == set(end)
    with_hits = next(record for record in ran.of(DONE) if record["hits"])
    assert simulated[DONE] >= set(with_hits)
    assert set(HEAD["scratch"]) == set(start["scratch"])


def test_its_page(ran: Ran, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    assert report(ran, "-o", path).startswith(str(path))
    text = path.read_text()
    assert "All targets are done but for 1 that failed" in text
    assert f"dpam-hpc run {ran.root}" in text and "--retry-failed" in text
    assert "missing: no ID.pdb in" in text
    assert report(ran, "-o", "-") != "" and not list(tmp_path.glob(".*"))


def test_what_libraries_tell_of_themselves_is_not_shown(ran: Ran, tmp_path: Path) -> None:
    """Matplotlib tells of the cache that it makes at its first use."""
    done = run("report", ran.root, "-o", "-", env=environment(MPLCONFIGDIR=str(tmp_path)))
    assert done.returncode == 0
    assert done.stderr == ""


def test_json_is_as_its_schema_says(ran: Ran) -> None:
    content = json.loads(report(ran, "--format", "json"))
    schema = json.loads((ROOT / "docs/schemas/report.schema.json").read_text())
    jsonschema.validate(content, schema)
    assert content["counts"] == {"done": 2, "failed": 1, "left": 0}
    assert content["aligner"] == "tmalign"


def test_tsv_and_markdown(ran: Ran, tmp_path: Path) -> None:
    assert len(report(ran, "--format", "tsv").splitlines()) == 4
    report(ran, "--format", "md", "-o", tmp_path / "m.md")
    assert "TM-align" in (tmp_path / "m.md").read_text()


def test_a_targets_page_has_its_templates_over_it(ran: Ran, tmp_path: Path) -> None:
    path = tmp_path / "t.html"
    target = next(record["target"] for record in ran.of(DONE) if record["hits"])
    report(ran, "--target", target, "-o", path)
    found = Page(path.read_text())
    data = json.loads(found.texts["script"][0])
    assert data["query"].startswith("ATOM") and data["templates"]
    assert all(each["pdb"].startswith("ATOM") for each in data["templates"])
    assert len(path.read_bytes()) < 2_000_000


def test_a_target_that_failed_has_a_page_that_says_why(ran: Ran, tmp_path: Path) -> None:
    path = tmp_path / "t.html"
    report(ran, "--target", FAILS, "-o", path)
    assert f"Failed: missing: no {FAILS}.pdb" in path.read_text()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--target", "nobody"], "no target 'nobody'"),
        (["--run", "2020"], "no run '2020'"),
        (["--target", "O05011", "--format", "md"], "HTML alone"),
        (["-o", "/nowhere/r.html"], "cannot be written"),
        (["-o", "."], "is a folder"),
        (["-o", "/"], "is a folder"),
    ],
)
def test_what_cannot_be_is_said(ran: Ran, arguments: list[str], words: str) -> None:
    said = run("report", ran.root, *arguments)
    assert said.returncode in (2, 6) and words in said.stderr
    assert "Traceback" not in said.stderr and "  -> " in said.stderr


def test_a_folder_whose_name_is_no_utf8(ran: Ran, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff")
    shutil.copytree(ran.root, odd)
    said = run("report", odd, "-o", tmp_path / "r.html")
    assert said.returncode == 0, said.stderr
    assert b"odd\xff" in (tmp_path / "r.html").read_bytes()


def test_where_nothing_was_run(tmp_path: Path) -> None:
    said = run("report", tmp_path)
    assert said.returncode == 2 and "nothing was run" in said.stderr
