"""What a probe means: seconds, the order of scratch, and which probes are heard."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.errors import StorageError
from dpam_hpc.platforms import detect
from dpam_hpc.platforms.model import Platform
from dpam_hpc.probe import choosing, keeping, meaning
from dpam_hpc.probe.keeping import Probe
from dpam_hpc.probe.meaning import SCRATCH_OPERATIONS, Work
from dpam_hpc.probe.measuring import AtOnce, Latency, Measured, Role
from tests.doctor.site import SITE

KINDS = ("create", "mkdir", "read", "stat")


def place(
    name: str,
    ms: float,
    kind: str = "ext4",
    role: Role = "scratch",
    rate: float = 0.0,
) -> Measured:
    """A place where every operation takes so long."""
    latency = {each: Latency(ms, 2 * ms, 100) for each in KINDS}
    many = AtOnce(64, rate, Latency(ms, ms, 100)) if rate else None
    is_local = kind == "ext4"
    return Measured(role, name, f"/{name}", kind, is_local, 10**9, latency, at_once=many)


def probe(*places: Measured, at: float | None = None, platform: str = "mycluster") -> Probe:
    return Probe(platform, "c001", at or time.time(), 64, 64, list(places))


SHARED = place("WORK_DIR", 5.0, "nfs4", "work")


def test_the_fastest_is_tried_first() -> None:
    order = meaning.order(["$A", "$B"], probe(place("$A", 4.0), place("$B", 0.05), SHARED))
    assert order.candidates == ("$B", "$A")
    assert order.remarks == ()
    assert order.by.startswith("the probe of 20") and order.by.endswith(" on c001")


def test_places_as_fast_as_each_other_stay_in_the_platform_s_order() -> None:
    measured = probe(place("$A", 0.06), place("$B", 0.05), SHARED)
    assert meaning.order(["$A", "$B"], measured).candidates == ("$A", "$B")


def test_a_shared_place_is_the_last_with_a_remark() -> None:
    measured = probe(place("$SCRATCH", 0.01, "lustre"), place("/tmp", 0.5), SHARED)
    order = meaning.order(["$SCRATCH", "/tmp"], measured)
    assert order.candidates == ("/tmp", "$SCRATCH")
    assert order.remarks == ("$SCRATCH is tried last: it lies on a shared file system (lustre)",)


def test_what_is_slower_than_the_shared_folder_is_the_last() -> None:
    measured = probe(place("/tmp", 9.0), place("/local", 6.0), place("/ssd", 1.0), SHARED)
    order = meaning.order(["/tmp", "/local", "/ssd"], measured)
    assert order.candidates == ("/ssd", "/local", "/tmp")
    assert order.remarks[0] == "/tmp is tried last: it is slower than the working folder"


def test_what_was_not_measured_stays_where_it_was() -> None:
    unset = replace(place("$UNSET", 1), latency={}, path="", problem="is not set here")
    measured = probe(unset, place("/tmp", 0.05), SHARED)
    assert meaning.order(["$UNSET", "/tmp"], measured).candidates == ("$UNSET", "/tmp")
    behind = probe(place("$SLOW", 9.0), unset, place("/tmp", 0.05), SHARED)
    assert meaning.order(["$SLOW", "$UNSET", "/tmp"], behind).candidates == (
        "/tmp", "$SLOW", "$UNSET"
    )  # fmt: skip


def test_seconds_a_protein() -> None:
    work = Work(pairs=100, cpu_a_pair=0.2)
    alone = meaning.seconds_a_protein(work, place("/x", 0.0), cpus=4, workers=16)
    assert alone == pytest.approx(100 * 0.2 / 4)
    waits = sum(SCRATCH_OPERATIONS.values()) * 5.0 / 1000
    slow = meaning.seconds_a_protein(work, SHARED, cpus=4, workers=16)
    assert slow == pytest.approx(alone + 100 * waits / 16)
    # A server that serves few at once is the limit.
    busy = place("WORK_DIR", 5.0, "nfs4", "work", rate=200)
    told = meaning.seconds_a_protein(work, busy, cpus=4, workers=16)
    assert told == pytest.approx(100 * sum(SCRATCH_OPERATIONS.values()) / 200)


# Which probes are heard


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "dpam-hpc" / "probes"


def test_a_probe_is_kept_and_private(state: Path) -> None:
    kept = probe(place("/tmp", 0.05, rate=1000.0), SHARED)
    assert keeping.keep(kept) == state / "mycluster.probe.json"
    assert keeping.keep(kept) == state / "mycluster.probe.json"  # again, over the first
    assert os.listdir(state) == ["mycluster.probe.json"]
    assert stat.S_IMODE((state / "mycluster.probe.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert keeping.heard("mycluster") == (kept, "")


def test_no_probe_is_no_remark(state: Path) -> None:
    assert keeping.heard("mycluster") == (None, "")
    assert not keeping.any_kept()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"at": time.time() - 31 * 86400}, "more than 30 days ago"),
        ({"at": time.time() + 3 * 86400}, "a day to come"),
        ({"platform": "another"}, "it is of platform another"),
        ({"schema": 2}, "it has schema 2, not 1"),
        ({"places": 7}, "cannot be read as a probe"),
        ({"at": float("nan")}, "cannot be read as a probe"),
        ({"cpus": 0}, "cannot be read as a probe"),
        ({"host": "a\x1b[31m"}, "cannot be printed"),
    ],
)
def test_a_probe_that_is_not_heard(state: Path, change: dict[str, Any], why: str) -> None:
    path = keeping.keep(probe(SHARED))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found, told = keeping.heard("mycluster")
    assert found is None
    assert why in told and str(path) in told


def test_a_probe_that_others_can_write_is_not_heard(state: Path) -> None:
    path = keeping.keep(probe(SHARED))
    path.chmod(0o666)
    found, told = keeping.heard("mycluster")
    assert found is None and "can be written by others" in told


def test_where_there_is_no_scheduler_only_the_machine_s_own_is_heard(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Platform.model_validate(SITE)
    keeping.keep(probe(place("/b", 0.05), place("/a", 4.0), SHARED))
    order = choosing.for_platform(local, ["/a", "/b"])
    assert order.candidates == ("/a", "/b")
    assert "it is of c001" in order.remarks[0]
    monkeypatch.setattr(detect, "host_name", lambda: "c001")
    assert choosing.for_platform(local, ["/a", "/b"]).candidates == ("/b", "/a")


def test_a_probe_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(StorageError, match="cannot be kept") as error:
        keeping.keep(probe(SHARED))
    assert "XDG_STATE_HOME" in error.value.hint
