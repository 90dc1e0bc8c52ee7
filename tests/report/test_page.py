"""The pages and texts of a report: whole, small, safe, and true to the facts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest

from dpam_hpc.journal import FAILED
from dpam_hpc.report import page, tables, texts
from dpam_hpc.report.facts import Facts, Target
from tests.report.simulated import BEGIN, TARGETS, Simulation
from tests.report.test_gather import done, end, plain, seen, start

ROOT = Path(__file__).parents[2]
MOST = 2_000_000
MOST_SECONDS = 20.0
"""Of CPU time, for reading 28,000 targets and making their page; it takes some four."""
EVIL = "<script>alert(1)</script>\"'&<b>"


class Page(HTMLParser):
    """A page's elements, and the texts in those that are looked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


@dataclass(frozen=True)
class Made:
    """A run and its page, and the CPU seconds of reading the one and making the other."""

    facts: Facts
    page: str
    seconds: float


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """28,000 targets on three nodes, with preemptions and failures."""
    work = tmp_path_factory.mktemp("large") / "work"
    work.mkdir()
    Simulation(work).write()
    begun = time.process_time()
    facts = seen(work)
    text = page.of_run(facts)
    return Made(facts, text, time.process_time() - begun)


@pytest.fixture(scope="module")
def large(made: Made) -> Facts:
    return made.facts


@pytest.fixture(scope="module")
def large_page(made: Made) -> str:
    return made.page


def test_28_000_targets_are_read_in_seconds_and_fit_into_2_mb(made: Made) -> None:
    assert made.seconds < MOST_SECONDS
    assert len(made.page.encode()) < MOST
    listed = Page(made.page).texts["pre"][-1].splitlines()
    assert len(listed) == TARGETS + 1, "all of them are in it, without JavaScript"
    assert {line.split("\t")[0] for line in listed[1:]} == {t.id for t in made.facts.targets}


def test_however_long_ids_are_the_page_has_a_limit(large: Facts) -> None:
    facts = Facts(large.work_dir, large.run, large.made, "1")
    facts.targets = [Target(f"{n:0200d}", state="done", residues=9) for n in range(TARGETS)]
    text = page.of_run(facts)
    assert len(text.encode()) < MOST
    left_out = TARGETS - len(Page(text).texts["pre"][-1].splitlines()) + 1
    assert left_out > 0 and f"{left_out:,} targets have no room here" in text


def test_a_page_loads_nothing_and_runs_only_what_it_was_made_with(large_page: str) -> None:
    found = Page(large_page)
    assert not list(found.all("link")) and not list(found.all("img"))
    for _, attributes in found.elements:
        assert "style" not in attributes and not [a for a in attributes if a.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    (policy,) = [a["content"] for a in found.all("meta") if a.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none';")
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    inside = [*found.texts["style"], *found.texts["script"]]
    hashes = {base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in inside}
    assert hashes == allowed and "unsafe" not in policy


def test_ids_in_a_page_are_each_its_own(large_page: str) -> None:
    found = [a["id"] for _, a in Page(large_page).elements if "id" in a]
    assert len(found) == len(set(found))


def test_a_page_has_what_a_reader_asks_for(large: Facts, large_page: str) -> None:
    text = re.sub(r"\s+", " ", large_page)
    for words in (
        "Failures by reason", "Targets that failed", "Starts of launchers", "Tasks",
        "Core hours reserved, and where they went", "Predicted and measured", "Time line",
        "Throughput", "Hits by z", "Coverage of the queries", "Versions and checksums", "Settings",
        "scratch of n1", "flag --data-dir", "environment DPAM_HPC_TEMPLATES",
        "interrupted: SIGTERM", "at most", "efficiency (used of reserved)",
        f"dpam-hpc resume {large.work_dir}",
        "7e" * 32, "5c" * 32,
    ):  # fmt: skip
        assert words in text, words


def test_whatever_records_say_is_text(tmp_path: Path) -> None:
    told = {"node": EVIL, "version": EVIL, "programs": {EVIL: EVIL}, "settings": {EVIL: EVIL},
            "sources": {EVIL: EVIL}, "scratch": {"path": EVIL}}  # fmt: skip
    facts = plain(
        tmp_path,
        start(BEGIN, **told),
        {"target": EVIL, "state": FAILED, "reason": EVIL},
        done("P1", BEGIN + 9, cover=EVIL[:16], scores={EVIL: 3, "7": 1}, best=7.0, hits=1),
        end(BEGIN + 20, used={EVIL: 5.0}, asked={EVIL: 2}, reason=EVIL),
    )
    text = page.of_run(facts)
    found = Page(text)
    assert len(list(found.all("script"))) == 1 and not list(found.all("b"))
    assert "&lt;script&gt;alert(1)" in text and EVIL not in text


@pytest.mark.parametrize("name", ["$x_{1$", "größer-節點", "x" * 300, ""])
def test_a_node_may_be_called_as_it_likes(tmp_path: Path, name: str) -> None:
    facts = plain(tmp_path, start(BEGIN, node=name), done("P1", BEGIN + 9), end(BEGIN + 20))
    assert "Time line" in page.of_run(facts)


def test_a_run_in_which_nothing_failed(tmp_path: Path) -> None:
    facts = plain(tmp_path, start(BEGIN), done("P1", BEGIN + 9), end(BEGIN + 20))
    text = page.of_run(facts)
    assert "Nothing failed." in text and "1 target done, and nothing failed." in text
    assert "Failures by reason" not in text


def test_a_run_that_has_not_started(tmp_path: Path) -> None:
    Simulation(tmp_path, 20).write(until=BEGIN)
    text = page.of_run(seen(tmp_path))
    for words in ("Nothing has started yet; 20 targets are left.", "Nothing has failed so far.",
                  "No launcher has noted a start yet.", "There are no hits yet.",
                  "No CPU time is known yet."):  # fmt: skip
        assert words in text, words


def test_a_run_of_an_older_version(tmp_path: Path) -> None:
    old = {"target": "P1", "state": "done", "step": "iterativeDali", "hits": 3, "cpu": {"DP": 5.0}}
    text = page.of_run(plain(tmp_path, old))
    assert text.count("The version of dpam-hpc that ran did not note this.") == 2


def test_many_nodes_and_tasks_are_counted_in_place_of_a_row_each(tmp_path: Path) -> None:
    records = [
        record
        for n in range(60)
        for record in (start(BEGIN + n, node=f"n{n}"), done(f"P{n}", BEGIN + n + 20))
    ]
    text = page.of_run(plain(tmp_path, *records))
    assert "nodes at work" in text


def test_tsv_has_a_row_a_target(large: Facts) -> None:
    head, *rows = [line.rstrip("\n").split("\t") for line in texts.tsv(large)]
    assert len(rows) == TARGETS and {len(row) for row in rows} == {len(head)}
    row = dict(zip(head, rows[0], strict=True))
    first = large.targets[0]
    assert (row["target"], row["state"], row["hits"]) == (first.id, first.state, str(first.hits))
    assert float(row["cpu"]) == pytest.approx(first.cpu, abs=1e-3)


def test_json_is_as_its_schema_says(large: Facts, tmp_path: Path) -> None:
    schema = json.loads((ROOT / "docs/schemas/report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    large.targets, kept = large.targets[:50], large.targets
    content = json.loads(texts.as_json(large))
    large.targets = kept
    validator.validate(content)
    assert content["schema"] == 1 and content["reckoning"]["efficiency"] > 0.5
    validator.validate(json.loads(texts.as_json(plain(tmp_path, done("P1")))))


def test_a_methods_section_names_versions_and_papers(large: Facts, tmp_path: Path) -> None:
    text = texts.markdown(large)
    for words in ("10.1093/bioinformatics/btz536", "10.1002/pro.4548", "dpam-hpc 0.3.0",
                  "10.1371/journal.pcbi.1003926", "7e" * 32, "| done |"):  # fmt: skip
        assert words in text, words
    other = texts.markdown(plain(tmp_path, start(BEGIN, aligner="tmalign"), done("P1")))
    assert "TM-align" in other and "btz536" not in other


def test_the_list_of_targets_stays_within_its_bytes() -> None:
    facts = Facts("w", "", 0.0, "1", targets=[Target(f"P{n}") for n in range(1000)])
    text, left_out = tables.all_targets(facts, 2000)
    assert len(text.encode()) <= 2001
    assert len(text.splitlines()) - 1 + left_out == 1000


def test_the_viewer_is_the_one_that_is_named() -> None:
    folder = page.ASSETS / "3Dmol"
    content = (folder / "3Dmol-min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() in (folder / "README.md").read_text()
    assert b"</script" not in content.lower() and b"<!--" not in content
    licence = (folder / "LICENSE.txt").read_text()
    assert "University of Pittsburgh" in licence and "pako" in licence
