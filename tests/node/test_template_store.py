"""The node's prepared structures: each made once, whoever asks; whole or absent."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dpam_hpc import bundle
from dpam_hpc.align.aligner import ProgramFailed, Unusable
from dpam_hpc.bundle import BundledTemplate
from dpam_hpc.node import template_store
from dpam_hpc.node.template_store import TemplateStore
from dpam_hpc.node.work import Place

from .fake_aligner import FakeAligner, structure

QUERY = structure(30, "query")
BUNDLED = b"imported long ago" * 9


class Node:
    """A claimed scratch folder, a folder of PDB files and what the aligner noted."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root / "scratch", {"notes": str(root)})
        self.pdb_folder = root / "ECOD70"

    def make(self) -> None:
        """Make the folders."""
        self.place.root.mkdir()
        self.place.make()
        self.pdb_folder.mkdir()

    def store(self, bundle: Path | None = None) -> TemplateStore:
        """What a new worker sees."""
        return TemplateStore(self.aligner, self.place.cache, self.pdb_folder, bundle)

    @property
    def aligner(self) -> FakeAligner:
        """A worker's aligner."""
        return FakeAligner(self.place.options, self.place.root)

    @property
    def prepared(self) -> list[str]:
        """What was imported so far."""
        return self.aligner.noted("prepared")

    def put(self, name: str, what: str = "") -> bytes:
        """Put a template that says ``what`` into the folder of PDB files."""
        content = structure(20, what or name)
        (self.pdb_folder / f"{name}.pdb").write_bytes(content)
        return content

    def cached(self) -> list[str]:
        """Names of the cache's entries."""
        return sorted(os.listdir(self.place.cache))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node with nothing in its cache."""
    node = Node(tmp_path)
    node.make()
    return node


def test_a_template_is_imported_once_for_all(node: Node) -> None:
    content = node.put("e1")
    for _ in range(2):
        assert node.store().template("e1") == content
    (node.pdb_folder / "e1.pdb").unlink()
    assert node.store().template("e1") == content
    assert node.prepared == ["e1"]


def ask(root: Path, start: Barrier) -> None:
    """Ask for a template and a query at the same moment as others."""
    store = Node(root).store()
    start.wait(60)
    assert store.query("P1", QUERY) == QUERY
    assert store.template("e1") == structure(20, "e1")


def test_processes_that_ask_at_the_same_moment_import_once(node: Node, tmp_path: Path) -> None:
    node.put("e1")
    context = get_context("spawn")
    start = context.Barrier(5)
    askers = [context.Process(target=ask, args=(tmp_path, start)) for _ in range(5)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert [asker.exitcode for asker in askers] == [0] * 5
    assert sorted(node.prepared) == ["e1", "query"]


def test_threads_that_ask_at_the_same_moment_import_once(node: Node) -> None:
    content = node.put("e1")
    found: list[bytes] = []
    threads = [Thread(target=lambda: found.append(node.store().template("e1"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [content] * 8
    assert node.prepared == ["e1"]


def test_a_refusal_is_kept_with_its_reason(node: Node) -> None:
    node.put("e1", "refuse")
    for _ in range(2):
        with pytest.raises(Unusable, match=r"^it says so$"):
            node.store().template("e1")
    assert node.prepared == ["refuse"]


def test_a_file_that_is_no_structure_does_not_reach_the_aligner(node: Node) -> None:
    (node.pdb_folder / "e1.pdb").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(Unusable, match="empty"):
            node.store().template("e1")
    assert node.prepared == []


def test_a_missing_template_is_named(node: Node) -> None:
    with pytest.raises(Unusable) as caught:
        node.store().template("e1")
    assert str(caught.value) == f"missing: there is no {node.pdb_folder / 'e1.pdb'}"


def test_an_import_that_crashed_is_tried_once_more(node: Node) -> None:
    content = node.put("e1", "crash-once")
    assert node.store().template("e1") == content
    assert node.prepared == ["crash-once"] * 2


def test_an_import_that_crashes_again_fails_and_is_not_kept(node: Node) -> None:
    """The next who asks, or another run, may be luckier."""
    node.put("e1", "crash")
    for asked in (1, 2):
        with pytest.raises(ProgramFailed, match="exit status 1"):
            node.store().template("e1")
        assert node.prepared == ["crash"] * 2 * asked
    assert node.cached() == ["locks"]


def test_templates_and_queries_of_one_name_are_two(node: Node) -> None:
    template = node.put("e1")
    assert node.store().query("e1", QUERY) == QUERY
    assert node.store().template("e1") == template
    template_store.forget_query(node.place.cache, "e1")
    template_store.forget_query(node.place.cache, "e1")
    assert node.store().template("e1") == template
    assert node.prepared == ["query", "e1"]


# -- with a bundle --------------------------------------------------------------------------------


@pytest.fixture
def bundled(node: Node, tmp_path: Path) -> Path:
    """A bundle with a template that is not there as a file, and one that cannot be aligned."""
    path = tmp_path / "t.bundle"
    rows = [
        BundledTemplate("e1", b"", BUNDLED),
        BundledTemplate("e2", b"", b"", "too short"),
    ]
    bundle.write(path, "fake", FakeAligner.fingerprint({}), rows)
    return path


def test_a_bundled_template_needs_no_import(node: Node, bundled: Path) -> None:
    store = node.store(bundled)
    assert store.template("e1") == BUNDLED
    with pytest.raises(Unusable, match=r"^too short$"):
        store.template("e2")
    assert node.prepared == []
    assert node.cached() == ["locks"]


def test_a_template_that_is_not_bundled_comes_from_its_file(node: Node, bundled: Path) -> None:
    content = node.put("e3")
    assert node.store(bundled).template("e3") == content
    with pytest.raises(Unusable, match="missing"):
        node.store(bundled).template("e4")


def test_a_damaged_row_is_replaced_by_the_file(node: Node, bundled: Path) -> None:
    row = zlib.compress(BUNDLED, 6)
    bundled.write_bytes(bundled.read_bytes().replace(row, row[:-1] + b"?"))
    content = node.put("e1")
    assert node.store(bundled).template("e1") == content


def test_a_damaged_row_without_a_file_is_a_missing_template(node: Node, bundled: Path) -> None:
    row = zlib.compress(BUNDLED, 6)
    bundled.write_bytes(bundled.read_bytes().replace(row, row[:-1] + b"?"))
    with pytest.raises(Unusable, match="missing"):
        node.store(bundled).template("e1")


# -- room -----------------------------------------------------------------------------------------


def test_trimming_removes_templates_alone(node: Node) -> None:
    content = node.put("e1")
    node.put("e2", "refuse")
    store = node.store()
    assert store.query("P1", QUERY) == QUERY
    assert store.template("e1") == content
    with pytest.raises(Unusable):
        store.template("e2")
    sizes = [(node.place.cache / name).stat().st_size for name in ("T-e1", "T-e2")]
    assert template_store.trim(node.place.cache) == sum(sizes)
    assert node.cached() == ["Q-P1", "locks"]
    assert template_store.trim(node.place.cache) == 0
    assert store.template("e1") == content
    assert node.prepared == ["query", "e1", "refuse", "e1"]


def test_templates_can_be_trimmed_while_they_are_made(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = node.put("e1")
    rename = os.rename

    def trim_and_rename(source: Path, target: Path) -> None:
        template_store.trim(node.place.cache)
        rename(source, target)

    monkeypatch.setattr(os, "rename", trim_and_rename)
    assert node.store().template("e1") == content


def test_a_full_disk_leaves_no_file(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    content = node.put("e1")
    write: Callable[..., int] = Path.write_bytes

    def write_half(path: Path, content: bytes) -> Any:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write_half)
        with pytest.raises(OSError, match="No space"):
            node.store().template("e1")
        with pytest.raises(OSError, match="No space"):
            node.store().query("P1", QUERY)
    assert node.cached() == ["locks"]
    assert node.store().template("e1") == content


def test_what_is_taken_out_is_gone(node: Node) -> None:
    content = node.put("e1")
    node.put("e2", "refuse")
    store = node.store()
    store.template("e1")
    with pytest.raises(Unusable):
        store.template("e2")
    assert template_store.take(node.place.cache, "e1") == (content, "")
    assert template_store.take(node.place.cache, "e2") == (b"", "it says so")
    assert template_store.take(node.place.cache, "e3") is None
    assert node.cached() == ["locks"]
