"""Which settings are asked for, by a person who is a function; what decides on what."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpam_hpc.setup import settling
from dpam_hpc.setup.questions import Found, Question
from dpam_hpc.setup.settling import Settled
from tests.images import sif
from tests.submit import fake_slurm

SINFO = "short*|up|1:00:00|4|64\nlong|up|7-00:00:00|40|64\n"


class Person:
    """Answers by a list, and keeps the questions."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, question: Question) -> str:
        self.asked.append(question.name)
        answer = self.answers.get(question.name, "")
        assert not answer or question.check(answer) == ""
        return answer


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a data folder beside it, on a cluster with two accounts."""
    slurm = fake_slurm.make(tmp_path / "slurm")
    slurm.does("sinfo", SINFO).does("sacct").does("sacctmgr", "lab\nguests\n")
    monkeypatch.setenv("PATH", slurm.environ["PATH"])
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "data" / "ECOD70").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def settle(work: Path, person: Person, known: dict[str, Found], **given: str) -> Settled:
    return settling.settle(work, given, known, person)


def test_what_is_found_once_is_not_asked(work: Path) -> None:
    person = Person(account="lab", partition="long")
    settled = settle(work, person, {}, platform="leda")
    assert settled.value("data_dir") == str(work.parent / "data")
    assert person.asked == ["image", "dali_home", "templates", "account", "partition"]
    assert set(settled.open) == {"dali_home"}
    assert "dpam-hpc dali install builds one" in settled.open["dali_home"]


def test_with_an_image_dali_is_not_asked_for(work: Path) -> None:
    image = sif(work / "dpam.sif", b"02")
    person = Person(account="lab")
    settled = settle(work, person, {}, platform="tacc-frontera")
    assert settled.value("image") == str(image)
    assert person.asked == ["templates", "account"], "the platform has a default partition"
    assert settled.open == {}


def test_what_settings_say_is_not_asked_unless_it_is_wrong(work: Path) -> None:
    known = {
        "partition": Found("long", "a file"), "account": Found("gone", "a file"),
        "nodes": Found("3", "a file"), "dali_home": Found("/nowhere", "environment DALI_HOME"),
    }  # fmt: skip
    person = Person(account="lab")
    settled = settle(work, person, known, platform="leda")
    assert (settled.value("partition"), settled.value("nodes")) == ("long", "3")
    assert "partition" not in person.asked
    assert "account" in person.asked
    assert "there is no DALI here in /nowhere" in settled.open["dali_home"]


def test_another_platform_asks_for_its_own_access(work: Path) -> None:
    person = Person(account="lab", partition="long")
    settled = settle(work, person, {}, platform="leda")
    person.asked.clear()
    person.answers["platform"] = "tacc-frontera"
    settling.change(settled, "platform", person)
    assert person.asked == ["platform", "account"]
    assert settled.value("partition") == ""
    person.answers["platform"] = "local"
    settling.change(settled, "platform", person)
    assert (settled.value("account"), settled.value("platform")) == ("", "local")
