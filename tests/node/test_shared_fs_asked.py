"""What is asked of the shared file system is counted as it is asked."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpam_hpc.node import shared_fs
from dpam_hpc.node.shared_fs import Asked, SharedFolder


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def folder(tmp_path: Path, asked: Asked) -> Iterator[SharedFolder]:
    opened = SharedFolder(tmp_path, asked)
    yield opened
    opened.close()


def test_a_file_that_is_read(folder: SharedFolder, asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "P").write_bytes(b"x" * 1000)
    folder.read("P")
    assert dict(asked.operations) == {"open": 1, "read": 2}, "the last one finds the end"
    assert (asked.read_bytes, asked.written_bytes) == (1000, 0)


def test_a_file_that_is_replaced(folder: SharedFolder, asked: Asked) -> None:
    folder.replace("P", b"x" * 300)
    assert dict(asked.operations) == {"create": 1, "write": 1, "fsync": 1, "rename": 1}
    assert (asked.read_bytes, asked.written_bytes) == (0, 300)


def test_the_rest(folder: SharedFolder, asked: Asked) -> None:
    folder.write("P", b"1")
    folder.link("P", "Q")
    folder.link("P", "Q")  # it is there: looked at
    folder.remove("Q")
    folder.names(lambda name: True)
    expected = {"create": 1, "write": 1, "link": 2, "stat": 1, "remove": 1, "list": 1}
    assert dict(asked.operations) == expected


def test_what_is_tried_again_counts_again(
    folder: SharedFolder, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_fs, "DELAYS", (0.0, 0.0))
    (tmp_path / "P").write_bytes(b"x")
    real, failures = os.open, [errno.ESTALE, errno.EIO]

    def fails_twice(*arguments: object, **more: object) -> int:
        if failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", fails_twice)
    assert folder.read("P") == b"x"
    assert dict(asked.operations) == {"open": 3, "read": 2}
