"""What every verb prints with --json is what docs/schemas says. (Images: tests/apptainer.)"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.cli.verbs import VERBS, load
from dpam_hpc.errors import ExitCode
from dpam_hpc.journal import Journal
from dpam_hpc.run_dir import RunDir
from tests import replay, schemas
from tests.conftest import environment, lay_out, run
from tests.submit import fake_slurm
from tests.submit.fake_slurm import FakeSlurm

DOCS = Path(__file__).parents[2] / "docs"
TARGETS = ("A0A0K2WPR7", "O05011")
WITHOUT = {"image self-test", "launch"}
"""Verbs of scripts."""


@dataclass
class Machine:
    """A login node with data, a SLURM, and a DALI."""

    root: Path
    slurm: FakeSlurm
    dali: Path

    @property
    def work(self) -> Path:
        return self.root / "work"

    def call(self, *words: str | Path, exit: int = 0) -> subprocess.CompletedProcess[str]:
        env = environment(**self.slurm.environ, DALI_HOME=str(self.dali))
        done = run(*words, env=env)
        assert done.returncode == exit, done.stdout + done.stderr
        return done

    def document(self, name: str, *words: str | Path, exit: int = 0) -> dict[str, Any]:
        """What a verb prints with --json, checked."""
        return schemas.check(name, self.call(*words, "--json", exit=exit).stdout)


@pytest.fixture
def machine(tmp_path: Path, stand_in: Path) -> Machine:
    lay_out(tmp_path / "work", TARGETS)
    slurm = fake_slurm.make(tmp_path / "slurm")
    slurm.does("sbatch", "17\n").does("squeue", "17|0|RUNNING|n1|None\n").does("sacct")
    slurm.does("scancel").does("scontrol", "MaxArraySize = 1001\n")
    return Machine(tmp_path, slurm, stand_in)


def test_every_verb_that_tells_facts_has_json_and_a_schema() -> None:
    found = set()
    for name in VERBS:
        command = load(name)
        for below, each in getattr(command, "commands", {"": command}).items():
            whole = f"{name} {below}".strip()
            options = {option for param in each.params for option in param.opts}
            assert ("--json" in options) == (whole not in WITHOUT), whole
            if whole not in WITHOUT:
                found.add(whole.replace(" ", "-"))
    assert found | {"run-settings", "chain-plan", "chain-status"} == set(schemas.names())


def test_the_page_lists_them_all() -> None:
    page = (DOCS / "json.md").read_text()
    assert set(re.findall(r"\(schemas/([\w-]+)\.schema\.json\)", page)) == set(schemas.names())


def test_a_document_of_another_form_is_found() -> None:
    good = {"schema": 1, "run": "r", "jobs": []}
    schemas.check("cancel", json.dumps(good))
    for bad in (
        {"run": "r", "jobs": []}, good | {"schema": 2}, good | {"more": 1}, good | {"jobs": [17]},
    ):  # fmt: skip
        with pytest.raises(AssertionError, match="cancel: "):
            schemas.check("cancel", json.dumps(bad))


def test_run(machine: Machine) -> None:
    candidates = machine.work / "O05011_hits4Dali"
    candidates.write_text("".join(candidates.read_text().splitlines(keepends=True)[:4]) + "e9x\n")
    (machine.work / "A0A0K2WPR7.pdb").unlink()
    told = machine.document(
        "run", "run", machine.work, "--data-dir", replay.DATA, "--scratch-dir", machine.root,
        "--min-free-gb", "0.01", "--dali-workers", "1", exit=3,
    )  # fmt: skip
    assert {row["state"] for row in told["rows"]} == {"done", "failed"}
    machine.document("run-settings", "run", machine.work, "--show-settings")


def test_a_submitted_run(machine: Machine) -> None:
    site = ("--platform", "generic", "--data-dir", replay.DATA)
    machine.document("submit", "submit", machine.work, *site, "--dry-run")
    machine.document("submit", "submit", machine.work, *site)
    (run_dir,) = RunDir.all(machine.work)
    task = run_dir.task_folder(0)
    task.mkdir(parents=True)
    journal = Journal(task / "journal-0.jsonl")
    journal.append({"target": TARGETS[0], "state": "done", "step": "iterativeDali"})
    (run_dir.path / "logs" / "17_0.log").write_text("a line\n")
    told = machine.document("status", "status", machine.work)
    assert (told["done"], told["queued"]) == (1, 1)
    told = machine.document("logs", "logs", TARGETS[0], "-C", machine.work)
    assert [record["state"] for record in told["records"]] == ["done"]
    assert told["logs"][0]["lines"] == ["a line"]
    machine.document("logs", "logs", "-C", machine.work)
    assert machine.document("cancel", "cancel", machine.work)["jobs"] == ["17"]
    (machine.slurm.folder / "squeue.json").unlink()
    machine.slurm.does("squeue", "17|0|PENDING||launch failed requeued held\n")
    told = machine.document("resume", "resume", machine.work)
    assert (told["state"], told["released"]) == ("released", ["17_0"])
    (machine.slurm.folder / "squeue.json").unlink()
    machine.slurm.does("squeue", "")
    assert machine.document("resume", "resume", machine.work)["state"] == "submitted"
    for target in TARGETS:
        (machine.work / f"{target}.iterativeDali.done").write_text("done\n")
    newest = RunDir.all(machine.work)[-1].task_folder(0)
    newest.mkdir(parents=True)
    journal = Journal(newest / "journal-0.jsonl")
    journal.append({"target": TARGETS[1], "state": "done", "step": "iterativeDali"})
    journal.close()
    assert machine.document("resume", "resume", machine.work)["state"] == "nothing left"


def test_platforms(machine: Machine) -> None:
    broken = machine.root / "broken.toml"
    broken.write_text("schema = 1\nx = 2\n")
    machine.document("platforms-list", "platforms", "list")
    machine.document("platforms-show", "platforms", "show", "tacc-frontera")
    machine.document("platforms-detect", "platforms", "detect")
    told = machine.document("platforms-check", "platforms", "check", broken, exit=2)
    assert told["problems"]


def test_bundle_and_dali(machine: Machine) -> None:
    folder = machine.root / "ECOD70"
    folder.mkdir()
    for file in sorted((replay.DATA / "ECOD70").glob("*.pdb"))[:2]:
        (folder / file.name).symlink_to(file)
    file = machine.root / "b.bundle"
    options = ("-o", file, "--workers", "1", "--scratch-dir", machine.root)
    machine.document("bundle-build", "bundle", "build", folder, *options)
    machine.document("bundle-info", "bundle", "info", file)
    machine.document("bundle-verify", "bundle", "verify", file)
    (folder.parent / "other").mkdir()
    told = machine.document(
        "bundle-verify", "bundle", "verify", file, "--data-dir", folder.parent / "other", exit=7
    )
    assert len(told["problems"]) == 2
    machine.document("dali-check", "dali", "check")
    assert machine.document("init", "init", machine.work)["settings"]
    machine.document("image-sources", "image", "sources")


def test_the_table_of_exit_codes_has_all_and_no_others() -> None:
    page = (DOCS / "failures.md").read_text()
    table = page[page.index("## Exit codes") :]
    table = table[: table.index("\n\nAn error")]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [
        int(code) for code in ExitCode
    ]


def test_an_error_is_text_and_an_exit_code(machine: Machine) -> None:
    done = machine.call("status", machine.work, "--json", exit=2)
    assert done.stdout == ""
    assert done.stderr.startswith("dpam-hpc: nothing was submitted")
