"""The slow shared file system of tests and benchmarks does what they rely on."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import slowfs

pytestmark = [
    pytest.mark.slow_fs,
    pytest.mark.skipif(bool(slowfs.why_none()), reason=slowfs.why_none()),
]

Mount = Callable[..., list[Path]]
FAST = ("--latency-ms", 0, "--data-latency-ms", 0)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts of one backing folder, at an end with the test."""
    backing = tmp_path / "backing"
    backing.mkdir()
    with ExitStack() as stack:

        def mount(*options: str | float, nodes: int = 1) -> list[Path]:
            mounts = [tmp_path / f"node{number}" for number in range(nodes)]
            stack.enter_context(slowfs.mounted(backing, *mounts, options=(*FAST, *options)))
            return mounts

        yield mount
    assert not any(slowfs.is_mounted(path) for path in tmp_path.iterdir())


def write(path: Path) -> None:
    path.write_bytes(b"x" * 1000)


def failures(function: Callable[[], object], times: int) -> list[int]:
    """What each of some calls failed with; 0: nothing."""
    numbers = []
    for _ in range(times):
        try:
            function()
            numbers.append(0)
        except OSError as error:
            numbers.append(error.errno or -1)
    return numbers


def test_files_pass_through_and_are_counted(mount: Mount) -> None:
    (node,) = mount()
    slowfs.reset(node)
    (node / "folder").mkdir()
    write(node / "folder" / "file")
    os.rename(node / "folder" / "file", node / "folder" / "other")
    os.link(node / "folder" / "other", node / "linked")
    assert (node / "linked").read_bytes() == b"x" * 1000
    assert os.listdir(node / "folder") == ["other"]
    counted = slowfs.stats(node)
    wanted = {"mkdir": 1, "create": 1, "write": 1, "rename": 1, "link": 1, "open": 1, "readdir": 1}
    assert {kind: counted["operations"][kind] for kind in wanted} == wanted
    assert counted["folders"]["/folder"]["create"] == 1
    assert counted["errors"].keys() == {"getattr:ENOENT"}
    slowfs.reset(node)
    assert slowfs.stats(node)["operations"] == {}


def test_large_files_pass_in_large_parts(mount: Mount) -> None:
    (node,) = mount()
    slowfs.reset(node)
    (node / "file").write_bytes(b"x" * slowfs.TRANSFER)
    assert slowfs.stats(node)["operations"]["write"] == 1


def test_nodes_share_files_and_a_server(mount: Mount) -> None:
    one, other = mount("--max-inflight", 1, "--latency-ms", 40, nodes=2)
    write(one / "file")
    begun = time.monotonic()
    threads = [threading.Thread(target=os.listdir, args=(node,)) for node in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun >= 4 * 0.04  # opendir and readdir of each, one at a time
    assert (other / "file").read_bytes() == b"x" * 1000
    assert slowfs.stats(one)["peak_inflight"] >= 2


def test_a_client_trusts_what_it_knows(mount: Mount) -> None:
    (node,) = mount("--attr-ttl", 30, "--entry-ttl", 30)
    write(node / "file")
    os.stat(node / "file")
    slowfs.reset(node)
    os.stat(node / "file")
    assert slowfs.stats(node)["operations"] == {}


def test_as_nfs_does(mount: Mount) -> None:
    (node,) = mount("--nfs")
    slowfs.reset(node)
    write(node / "file")
    os.link(node / "file", node / "name")
    counted = slowfs.stats(node)["operations"]
    # Attributes come with the answers; what is left are look-ups of both names.
    assert (counted["getattr"], counted["flush"]) == (2, 1)
    slowfs.reset(node)
    assert (node / "file").read_bytes()
    assert slowfs.stats(node)["operations"].keys() <= {"open", "read", "getattr", "release"}


def test_failures_are_drawn_from_the_seed(mount: Mount, tmp_path: Path) -> None:
    (node,) = mount("--fail", "mkdir:0.5:EIO", "--seed", "7")
    drawn = failures(lambda: os.mkdir(node / os.urandom(4).hex()), 40)
    assert set(drawn) == {0, errno.EIO}
    again = tmp_path / "again"
    with slowfs.mounted(
        tmp_path / "backing", again, options=(*FAST, "--fail", "mkdir:0.5:EIO", "--seed", "7")
    ):
        assert failures(lambda: os.mkdir(again / os.urandom(4).hex()), 40) == drawn


def test_a_failure_may_have_an_end(mount: Mount) -> None:
    (node,) = mount("--fail", "mkdir:1:EIO:2")
    assert failures((node / "folder").mkdir, 3) == [errno.EIO, errno.EIO, 0]


def test_orders_at_run_time(mount: Mount) -> None:
    one, other = mount(nodes=2)
    slowfs.order(one, "fail create:1:EDQUOT:1")
    assert failures(lambda: write(other / "a"), 1) == [0]  # a node's own trouble
    assert failures(lambda: write(one / "b"), 2) == [errno.EDQUOT, 0]
    slowfs.order(one, "fail *:1:EIO")
    assert failures(lambda: (one / "c").mkdir(), 1) == [errno.EIO]
    slowfs.order(one, "clear")
    assert failures(lambda: (one / "c").mkdir(), 1) == [0]
    with pytest.raises(OSError):
        slowfs.order(one, "fail create:often:EIO")


def test_a_hang_ends_by_itself_or_by_an_order(mount: Mount) -> None:
    (node,) = mount()
    begun = time.monotonic()
    slowfs.order(node, "hang 0.3")
    write(node / "file")
    assert 0.3 <= time.monotonic() - begun < 20
    slowfs.order(node, "hang 60")
    begun = time.monotonic()
    timer = threading.Timer(0.2, slowfs.order, (node, "clear"))
    timer.start()
    write(node / "other")
    timer.join()
    assert 0.2 <= time.monotonic() - begun < 20


def test_a_quota_is_given_back(mount: Mount) -> None:
    (node,) = mount("--quota-mb", 1)
    (node / "file").write_bytes(b"x" * 900_000)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (node / "other").write_bytes(b"x" * 900_000)
    (node / "file").unlink()
    (node / "other").write_bytes(b"x" * 900_000)


@pytest.mark.parametrize(("locks", "excludes"), [("shared", True), ("local", False)])
def test_locks(mount: Mount, locks: str, excludes: bool) -> None:
    one, other = mount("--locks", locks, nodes=2)
    write(one / "file")
    with open(one / "file") as held, open(other / "file") as wanted:
        fcntl.flock(held, fcntl.LOCK_EX)
        code = failures(lambda: fcntl.flock(wanted, fcntl.LOCK_EX | fcntl.LOCK_NB), 1)
        assert code == [errno.EWOULDBLOCK if excludes else 0]
