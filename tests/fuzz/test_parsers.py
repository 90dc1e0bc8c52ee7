"""The parsers on their corpora, on bent texts of these, on arbitrary bytes, and on long texts."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpam_hpc import journal
from dpam_hpc.align import hits
from dpam_hpc.align.aligner import Alignment
from dpam_hpc.errors import ConfigError
from dpam_hpc.run_dir import Job, Plan, RunDir, Task
from dpam_hpc.settings import SubmitSettings, resolve_for
from dpam_hpc.setup import settings_file
from dpam_hpc.setup.questions import Found
from dpam_hpc.setup.settling import Settled
from tests.fuzz.parsers import CORPUS, FOLDER, PARSERS, corpus

MORE = os.environ.get("DPAM_HPC_FUZZ_EXAMPLES", "")
"""Texts for each parser; without it few, and always the same."""
LONG = 200_000
SLOWEST = 5.0
"""CPU seconds for a text of so many bytes; what takes the square of them takes far longer."""

few = settings(max_examples=int(MORE or 40), derandomize=not MORE, deadline=None, database=None)


@st.composite
def bent(draw: st.DrawFn, genuine: Sequence[bytes]) -> bytes:
    """A genuine text with up to four changes."""
    text = draw(st.sampled_from(genuine))
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted(draw(st.integers(0, len(text))) for _ in range(2))
        put = draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from(
                    [b"\n", b"\r\n", b"\0", b'"', b"[", b"{", b"-1", b"9" * 30, b"\xff"]
                ),
                st.just(text[at:end] * 2),
            )
        )
        text = text[:at] + put + text[draw(st.sampled_from([at, end])) :]
    return text


@pytest.mark.parametrize("name", PARSERS)
def test_every_file_of_the_corpus(name: str) -> None:
    assert corpus(name)
    for path in corpus(name):
        PARSERS[name](path.read_bytes())


@pytest.mark.parametrize("name", PARSERS)
def test_bent_texts_and_arbitrary_bytes(name: str) -> None:
    genuine = [path.read_bytes() for path in corpus(name)]

    @few
    @given(st.one_of(bent(genuine), bent(genuine), st.binary(max_size=300)))
    def hold(content: bytes) -> None:
        PARSERS[name](content)

    hold()


@pytest.mark.parametrize("name", PARSERS)
def test_a_long_text_takes_no_long_time(name: str) -> None:
    for path in corpus(name):
        content = path.read_bytes() or b"\n"
        # The first byte may be the kind of the text, the first line the journal's.
        head = content[: content.find(b"\n") + 1] if name == "journal" else content[:1]
        start = time.process_time()
        PARSERS[name](head + content[len(head) :] * (LONG // len(content)))
        assert time.process_time() - start < SLOWEST, path


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("unit", [b"[", b"{", b'{"a":', b"a.", b"9", b"\n", b"\\", b'"', b"'''"])
def test_a_long_text_of_one_thing(name: str, unit: bytes) -> None:
    for head in (b"", b"a = ", b'{"dpam-hpc journal":1}\n', b"q1|", b"t"):
        start = time.process_time()
        PARSERS[name](head + unit * (20_000 // len(unit)))
        assert time.process_time() - start < SLOWEST


def test_the_corpus_is_small() -> None:
    files = [path for name in os.listdir(CORPUS) for path in corpus(name)]
    assert {path.parent.name for path in files} == set(PARSERS)
    assert sum(path.stat().st_size for path in files) < 200_000


# -- what is written is read -----------------------------------------------------------------

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True)
numbers = st.floats(-99, 99).map(lambda x: f"{x:.6f}")
rows = st.tuples(numbers, numbers, numbers).map("\t".join)
alignments = st.builds(
    Alignment,
    st.floats(0, 99).map(lambda z: str(round(z, 1))),
    st.tuples(rows, rows, rows),
    rows,
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 999)), min_size=1, max_size=9).map(tuple),
    st.integers(30, 999),
    st.just(()),
)


@few
@given(st.lists(st.tuples(names, st.integers(1, 9), alignments), max_size=5), st.data())
def test_hits_that_are_written_are_counted_and_none_that_are_cut(
    written: list[tuple[str, int, Alignment]], data: st.DataObject
) -> None:
    text = "".join(
        hits.record(template, number, range(-9, 50), alignment)
        for template, number, alignment in written
    ).encode()
    assert hits.count(text) == len(written)
    cut = text[: data.draw(st.integers(0, len(text)))]
    whole = len(re.findall(rb"(?m)^>", cut))
    try:
        assert hits.count(cut) == whole
        assert cut == b"" or text[len(cut) :][:1] in (b"", b">")
    except ValueError:
        assert text[len(cut) :][:1] != b">" or not cut.endswith(b"\n")


records = st.builds(
    lambda target, state, more: {"target": target, "state": state, **more},
    names,
    st.sampled_from([journal.DONE, journal.FAILED, journal.REDO]),
    st.dictionaries(st.sampled_from(["reason", "sha256"]), st.text(max_size=20)),
)


@few
@given(st.lists(records, max_size=6), st.data())
def test_a_journal_that_is_cut_or_spoilt_gives_its_first_records(
    written: list[journal.Record], data: st.DataObject
) -> None:
    path = FOLDER / "cut.jsonl"
    path.unlink(missing_ok=True)
    opened = journal.Journal(path)
    opened.append_all(written)
    opened.close()
    whole = path.read_bytes()
    first = whole.find(b"\n") + 1
    cut = whole[: data.draw(st.integers(first, len(whole)))]
    behind = data.draw(st.binary(max_size=30).filter(lambda x: b'"state"' not in x))
    kept = written[: cut.count(b"\n") - 1]
    path.write_bytes(cut + behind)
    found = journal.read(path)
    assert found[: len(kept)] == kept and found == written[: len(found)]
    opened = journal.Journal(path)
    opened.append_all(written)
    opened.close()
    assert journal.read(path) == [*found, *written]


@few
@given(
    st.lists(st.lists(st.tuples(names, st.integers(0, 10**6)), max_size=4), min_size=1, max_size=4),
    st.dictionaries(st.text(max_size=9), st.one_of(st.text(max_size=9), st.integers(), st.none())),
)
def test_a_plan_is_read_as_it_was_written(
    parts: list[list[tuple[str, int]]], free: dict[str, object]
) -> None:
    run = RunDir(FOLDER / "written")
    run.path.mkdir(exist_ok=True)
    tasks = run.write_targets([[(name, number / 8) for name, number in part] for part in parts])
    jobs = [Job("job-0.sh", 0, len(tasks))]
    plan = Plan("site", "slurm", "array", 1, 4, 60, tasks, jobs, free, free)
    run.write_plan(plan)
    read = run.plan()
    assert read == plan
    assert [run.targets(task) for task in read.tasks] == [
        [(name, number / 8) for name, number in part] for part in parts
    ]
    with pytest.raises(ConfigError, match="no list of a run's targets"):
        run.targets(Task(1, 1.0, -1, 5))


@few
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_what_init_writes_is_what_settings_read(text: str) -> None:
    folder = FOLDER / "init"
    folder.mkdir(exist_ok=True)
    found = Found(text, text)
    settled = Settled(folder, {"account": found}, {"data_dir": text}, {"templates": [found]})
    settings_file.write(folder / "dpam-hpc.toml", settings_file.text(settled))
    read = resolve_for(SubmitSettings, {"work_dir": folder}, {}, FOLDER / "nobody")
    assert read.settings == SubmitSettings(work_dir=folder, account=text)


def test_a_text_of_another_user_is_never_read_as_code() -> None:
    """Messages between processes are pickled; nothing that comes from a file is."""
    package = Path(journal.__file__).parent
    users = {
        p.name
        for p in package.rglob("*.py")
        if re.search(r"\b(pickle|marshal|shelve)\b", p.read_text())
    }
    assert users == {"messages.py"}
