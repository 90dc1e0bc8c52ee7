"""The journal keeps every whole record and nothing else, whatever happened to its last line."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from threading import Thread

import pytest

from dpam_hpc import journal
from dpam_hpc.errors import ConfigError, ExitCode
from dpam_hpc.journal import Journal, Record

RECORDS: list[Record] = [
    {"target": "P1", "state": "done", "hits": 3},
    {"target": "P2", "state": "failed", "reason": "größer\n"},
    {"target": "P3", "state": "done", "cpu": {"puu": 0.25}},
]


def write(path: Path, records: list[Record]) -> list[Record]:
    """Append ``records``; what the journal held when it was opened."""
    opened = Journal(path)
    for record in records:
        opened.append(record)
    opened.close()
    return opened.records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with all records."""
    path = tmp_path / "journal.jsonl"
    write(path, RECORDS)
    return path


def test_records_are_there_when_it_is_opened_again(path: Path) -> None:
    assert write(path, []) == RECORDS
    assert write(path, [{"target": "P4", "state": "done"}]) == RECORDS
    assert write(path, []) == journal.read(path) == [*RECORDS, {"target": "P4", "state": "done"}]


def test_a_record_is_one_line(path: Path) -> None:
    assert path.read_bytes().count(b"\n") == 1 + len(RECORDS)


def test_a_line_torn_at_any_byte_is_cut_off(path: Path) -> None:
    content, more = path.read_bytes(), {"target": "P9", "state": "done"}
    for end in range(content.index(b"\n") + 1, len(content)):
        path.write_bytes(content[:end])
        kept = RECORDS[: content[:end].count(b"\n") - 1]
        assert journal.read(path) == kept
        assert write(path, [more]) == kept
        assert write(path, []) == [*kept, more]


def test_a_version_line_torn_at_any_byte_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, [])
    version = path.read_bytes()
    for end in range(len(version)):
        path.write_bytes(version[:end])
        assert write(path, []) == []
        assert path.read_bytes() == version


@pytest.mark.parametrize(
    "garbage", [b"\0\0\0\0", b"\0\0\0\n", b"{\n", b"[1]\n", b"null\n", b"\xff\xfe\n", b"\n", b"7"]
)
def test_garbage_at_the_end_is_cut_off(path: Path, garbage: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + garbage)
    assert journal.read(path) == RECORDS
    assert path.read_bytes() == whole + garbage, "who only reads changes nothing"
    assert write(path, []) == RECORDS
    assert path.read_bytes() == whole


@pytest.mark.parametrize("first", [b'{"target":"P1"}\n', b"notes\n", b"\x81\xbb\n", b"[7]\n"])
def test_what_does_not_begin_as_a_journal_is_set_aside(path: Path, first: bytes) -> None:
    """By it no task could ever go on; its targets are found again by their markers."""
    content = first + path.read_bytes().split(b"\n", 1)[1]
    path.write_bytes(content)
    assert journal.read(path) == []
    assert path.read_bytes() == content, "who only reads changes nothing"
    assert write(path, RECORDS) == []
    assert journal.read(path) == RECORDS
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content


def test_another_version_is_refused_and_left_alone(path: Path) -> None:
    content = b'{"dpam-hpc journal":2}\n' + path.read_bytes().split(b"\n", 1)[1]
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=path.name) as caught:
        Journal(path)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "move the file away" in caught.value.hint
    assert path.read_bytes() == content


def test_two_threads_append_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    opened = Journal(path)

    def append(name: str) -> None:
        for number in range(40):
            opened.append({"target": name, "state": "done", "number": number, "filler": "x" * 500})

    threads = [Thread(target=append, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened.close()
    records = journal.read(path)
    for name in "ab":
        assert [r["number"] for r in records if r["target"] == name] == list(range(40))
    assert len(records) == 80


@pytest.mark.parametrize("taken", [0.0, 0.5])
def test_a_full_disk_leaves_no_torn_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, taken: float
) -> None:
    """The disk takes a part of the line, or refuses all of it."""
    before = path.read_bytes()
    opened = Journal(path)
    write_all = os.write

    def write_partly(file: int, content: bytes) -> int:
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_all(file, content[: int(len(content) * taken)])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_partly)
        with pytest.raises(OSError) as caught:
            opened.append({"target": "P4", "state": "done"})
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before

    opened.append({"target": "P5", "state": "done"})
    opened.close()
    assert journal.read(path) == [*RECORDS, {"target": "P5", "state": "done"}]


def test_records_that_wait_are_written_in_order_and_wait_on_if_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Journal(path)
    opened.add({"target": "P4", "state": "done"})
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "_write", _refuse)
        with pytest.raises(OSError):
            opened.flush()
    assert journal.read(path) == RECORDS
    opened.append({"target": "P5", "state": "done"})
    assert journal.read(path) == [
        *RECORDS,
        {"target": "P4", "state": "done"},
        {"target": "P5", "state": "done"},
    ]
    opened.add({"target": "P6", "state": "done"})
    opened.close()
    assert journal.read(path)[-1] == {"target": "P6", "state": "done"}


def _refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
