"""What SLURM tells of accounts and partitions; one that is silent, slow or strange tells none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpam_hpc.setup import slurm_facts
from dpam_hpc.submit import slurm_site
from tests.submit import fake_slurm
from tests.submit.fake_slurm import FakeSlurm


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    made = fake_slurm.make(tmp_path)
    monkeypatch.setenv("PATH", made.environ["PATH"])
    return made


def test_the_default_partition_is_the_first_and_what_is_down_is_none() -> None:
    text = "b|up|1-00:00:00|4|64\na*|up|infinite|2|128\na*|up|infinite|9|32\nz|down|1:00|1|1\n"
    known = slurm_site.parse_partitions(text + "not a partition\n|up|1|1|1\n\n")
    found = [each for each in known if each.is_up]
    assert [(each.name, each.is_default) for each in found] == [("a", True), ("b", False)]
    assert found[0].told == "2 nodes of 128 processors, limit infinite"


def test_the_account_used_most_is_the_first(slurm: FakeSlurm) -> None:
    slurm.does("sacct", "b\nc\nb\nold\n").does("sacctmgr", "a\nb\nc\n")
    assert slurm_facts.accounts() == [
        ("b", "2 jobs of yours in 30 days"), ("c", "1 job of yours in 30 days"), ("a", "sacctmgr"),
    ]  # fmt: skip
    (slurm.folder / "sacctmgr.json").unlink()
    slurm.does("sacctmgr", stderr="no right", exit=1)
    assert [name for name, _ in slurm_facts.accounts()] == ["b", "c", "old"], "what was used"


def test_a_slurm_that_does_not_answer_tells_nothing(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slurm_facts.accounts() == []
    assert slurm_facts.partitions() == []
    monkeypatch.setattr(slurm_facts, "SECONDS", 0.5)
    slurm.does("sinfo", "a|up|1|1|1\n", seconds=60)
    assert slurm_facts.partitions() == []
    (slurm.folder / "sinfo.json").unlink()
    slurm.does("sinfo", "a|up|1|1|1\n", exit=1)
    assert slurm_facts.partitions() == []
