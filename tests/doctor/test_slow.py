"""Doctor and probe on a slow shared file system: what is measured is what it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import slowfs

from dpam_hpc.doctor import machine, places
from dpam_hpc.doctor.findings import Level
from dpam_hpc.probe import meaning, measuring, probing
from dpam_hpc.probe.measuring import Budget, measure
from dpam_hpc.target import OWN_FOLDER
from tests.conftest import lay_out
from tests.doctor.site import Site

pytestmark = [
    pytest.mark.slow_fs,
    pytest.mark.skipif(bool(slowfs.why_none()), reason=slowfs.why_none()),
]
LATENCY, CHANGE = 4.0, 8.0
"""Milliseconds, as leda's NFS: of any operation, and of one that makes something."""
NFS: tuple[str | float, ...] = ("--nfs", "--latency-ms", LATENCY, "--data-latency-ms", LATENCY)
NFS += ("--change-latency-ms", CHANGE)

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """A slow folder, at an end with the test."""
    backing, folder = tmp_path / "backing", tmp_path / "share"
    backing.mkdir()
    with ExitStack() as stack:

        def mount(*options: str | float) -> Path:
            stack.enter_context(slowfs.mounted(backing, folder, options=(*NFS, *options)))
            return folder

        yield mount


def test_what_is_measured_is_what_the_file_system_takes(mount: Mount) -> None:
    share = mount()
    found = measure("work", "WORK_DIR", share, Budget(2.0))
    assert (found.filesystem, found.is_local, found.problem) == ("fuse.slowfs", False, "")
    # At least the operations that NFS, too, has: a name is looked up, then made, written, read.
    assert CHANGE <= found.latency["create"].median < 6 * CHANGE
    assert CHANGE <= found.latency["mkdir"].median < 4 * CHANGE
    assert LATENCY <= found.latency["read"].median < 6 * LATENCY
    assert LATENCY <= found.latency["stat"].median < 3 * LATENCY
    assert all(each.p95 >= each.median for each in found.latency.values())
    assert not (share / OWN_FOLDER).exists()


def test_many_at_once_share_the_server(mount: Mount) -> None:
    share = mount("--max-inflight", 4)
    found = measure("work", "WORK_DIR", share, Budget(0.2, 0.5, 1.0)).at_once
    assert found is not None and found.workers == measuring.WORKERS
    # Four at once, each some milliseconds: hundreds a second; each waits for the others.
    assert found.operations_a_second < 4 * 1000 / LATENCY
    assert found.latency.median > 5 * LATENCY


def test_a_probe_is_over_in_time(mount: Mount) -> None:
    share = mount("--max-inflight", 2)
    begun = time.monotonic()
    found = measure("work", "WORK_DIR", share, Budget.whole(2.0))
    assert found.latency and found.at_once
    assert time.monotonic() - begun < 2.0 + measuring.LATE
    assert list(share.iterdir()) == []


def test_a_file_system_that_hangs_is_given_up(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = mount()
    monkeypatch.setattr(measuring, "LATE", 1.0)
    slowfs.order(share, "hang 15")
    begun = time.monotonic()
    found = measure("work", "WORK_DIR", share, Budget(0.2))
    assert time.monotonic() - begun < 10
    assert "no answer in 1 s" in found.problem
    slowfs.order(share, "clear")


def test_data_are_only_read(mount: Mount, tmp_path: Path) -> None:
    (tmp_path / "backing" / "e1.pdb").write_bytes(b"ATOM\n" * 1000)
    share = mount()
    slowfs.reset(share)
    found = measure("data", "ECOD70", share, Budget(0.2, 0.2, 0.2))
    assert found.latency["read"].median >= LATENCY
    made = {"create", "mkdir", "write", "unlink", "rename"}
    assert not made & slowfs.stats(share)["operations"].keys()


def test_doctor_and_probe_on_a_share(site: Site, mount: Mount) -> None:
    """Scratch on the share: the doctor warns, the probe puts it last and says what it costs."""
    share = mount()
    (share / "tmp").mkdir(mode=0o700)
    lay_out(share / "w", ("O05011",))
    site.settings["work_dir"] = share / "w"
    site.environment["SHARED"] = str(share / "tmp")
    site.platform["scratch"] = {"candidates": ["$SHARED", "$TMPDIR"]}
    row = site.trouble(places.scratch, Level.WARNING)
    assert "is on a shared file system (fuse.slowfs)" in row.found
    assert row.remedy == places.NAME_ANOTHER
    (clock,) = site.rows(machine.clock)
    assert clock.level is Level.OK
    (work,) = site.rows(places.work_dir)
    assert "fuse.slowfs (shared)" in work.found

    context = site.context()
    found = probing.probe(context.settings, context.platform, 0.6, environment=site.environment)
    order = meaning.order(("$SHARED", "$TMPDIR"), found)
    assert order.candidates == ("$TMPDIR", "$SHARED")
    assert "fuse.slowfs" in order.remarks[0]
    local = found.place("$TMPDIR")
    assert local is not None and found.work is not None
    typical = meaning.TYPICAL
    without = meaning.seconds_a_protein(typical, found.work, found.cpus, found.workers)
    with_local = meaning.seconds_a_protein(typical, local, found.cpus, found.workers)
    assert without > 2 * with_local
