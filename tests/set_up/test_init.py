"""``init`` looks, asks what is missing on a terminal, and writes what other verbs take."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc import toml_file
from dpam_hpc.errors import ExitCode
from tests import replay
from tests.conftest import environment, lay_out, run
from tests.images import AARCH64, X86_64, sif
from tests.submit import fake_slurm
from tests.submit.fake_slurm import FakeSlurm
from tests.terminal import Terminal

SINFO = (
    "short*|up|1:00:00|4|64\nlong|up|7-00:00:00|40|64\nlong|up|7-00:00:00|8|128\nold|down|1|1|1\n"
)
FEW_TEMPLATES = 2


@dataclass
class Desk:
    """A working folder with what lies around it, and programs that PATH has."""

    root: Path
    slurm: FakeSlurm
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def file(self) -> Path:
        return self.work / "dpam-hpc.toml"

    @property
    def env(self) -> dict[str, str]:
        return environment(**self.slurm.environ, **self.variables)

    def data(self, name: str) -> Path:
        """A data folder with a few templates."""
        folder = self.root / name / "ECOD70"
        folder.mkdir(parents=True)
        for file in sorted((replay.DATA / "ECOD70").glob("*.pdb"))[:FEW_TEMPLATES]:
            (folder / file.name).symlink_to(file)
        return folder.parent

    def call(self, *words: str | Path, exit: int = 0) -> subprocess.CompletedProcess[str]:
        done = run("init", self.work, *words, env=self.env)
        assert done.returncode == exit, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def terminal(self, *words: str | Path) -> Terminal:
        return Terminal("init", self.work, *words, env=self.env)

    def settings(self) -> dict[str, Any]:
        """What the file says, which other verbs must take as well."""
        done = run("run", self.work, "--show-settings", "--json", env=self.env)
        assert done.returncode == 0, done.stderr
        return dict(toml_file.loads(self.file.read_text()))

    def cluster(self) -> None:
        """A SLURM that tells its partitions and the user's accounts."""
        self.slurm.does("scontrol", "ClusterName = somewhere\n").does("sinfo", SINFO)
        self.slurm.does("sacctmgr", "lab\nguests\n").does("sacct", "lab\nguests\nguests\n")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    lay_out(tmp_path / "work", ("A0A0K2WPR7",))
    return Desk(tmp_path, fake_slurm.make(tmp_path / "slurm"))


def build_bundle(desk: Desk, data: Path, home: Path, to: Path) -> Path:
    done = run(
        "bundle", "build", data / "ECOD70", "-o", to, "--dali-home", home, "--workers", "1",
        "--scratch-dir", desk.root, env=desk.env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return to


def test_it_asks_what_is_missing_and_checks_each_answer(desk: Desk, stand_in: Path) -> None:
    one, two = desk.data("one"), desk.data("two")
    bundle = build_bundle(desk, two, stand_in, desk.root / "elsewhere.bundle2")
    with desk.terminal() as terminal:
        terminal.answer(f"data_dir [{one}]:", "/nowhere")
        terminal.answer("data_dir", str(desk.root))
        terminal.answer("data_dir", "2")
        terminal.answer("dali_home [none]:", str(one))
        terminal.answer("dali_home [none]:", str(stand_in))
        terminal.answer("templates [none]:", "")
        terminal.answer("q writes nothing:", "templtes")
        terminal.answer("q writes nothing:", "templates")
        terminal.answer("templates [none]:", str(one))
        terminal.answer("templates [none]:", str(bundle))
        terminal.answer("q writes nothing:", "")
        assert terminal.end() == 0
    said = terminal.text
    for meaning_or_reason in (
        "dpam's data folder, in which ECOD70/ lies", "there is no folder /nowhere",
        f"there is no folder ECOD70 in {desk.root}", f"1  {one}   (beside the working folder)",
        f"there is no DALI here in {one}", f"there is no file {one}",
        "there is no setting templtes here", "no platform matches, and there is no SLURM",
    ):  # fmt: skip
        assert meaning_or_reason in said
    assert "partition" not in said, "without SLURM nobody is asked for one"
    assert said.rstrip().splitlines()[-1].startswith(f"  dpam-hpc run {desk.work}")
    assert desk.settings() == {
        "data_dir": str(two), "dali_home": str(stand_in), "templates": str(bundle),
        "platform": "local",
    }  # fmt: skip


def test_on_a_cluster_it_asks_what_the_platform_requires(desk: Desk, stand_in: Path) -> None:
    desk.cluster()
    data = desk.data("data")
    with desk.terminal("--dali-home", stand_in) as terminal:
        terminal.answer("platform [generic", "ledda")
        terminal.answer("platform [generic", "leda")
        terminal.answer("templates [none]:", "")
        terminal.answer("account [guests", "nobody")
        terminal.answer("account [guests", "lab")
        terminal.answer("partition [short]:", "old")
        terminal.answer("partition [short]:", "2")
        terminal.answer("q writes nothing:", "")
        assert terminal.end() == 0
    said = terminal.text
    assert "did you mean leda?" in said
    assert "guests   (2 jobs of yours in 30 days)" in said, "the one used most is the first"
    assert "SLURM knows no account nobody: it has guests, lab" in said
    assert "SLURM knows no partition old: it has short, long" in said
    assert "short   (4 nodes of 64 processors, limit 1:00:00, the default)" in said
    assert "data_dir [" not in said, "there is one, beside"
    assert desk.settings() == {
        "data_dir": str(data), "dali_home": str(stand_in), "platform": "leda", "account": "lab",
        "partition": "long",
    }  # fmt: skip
    assert f"dpam-hpc bundle build {data}/ECOD70 -o {data}/ecod70.bundle" in said
    assert f"dpam-hpc submit {desk.work} --dry-run" in said


@pytest.mark.parametrize(("key", "code"), [("\x03", ExitCode.INTERRUPTED), ("q\r", 0)])
def test_who_leaves_finds_nothing_written(key: str, code: int, desk: Desk, stand_in: Path) -> None:
    desk.data("data")
    with desk.terminal("--dali-home", stand_in) as terminal:
        if code == 0:
            terminal.answer("templates [none]:", "")
            terminal.answer("q writes nothing:", "q")
        else:
            terminal.until("templates [none]:")
            terminal.send(key)
        assert terminal.end() == code
    assert "nothing was written" in terminal.text
    assert not desk.file.exists()


def test_without_a_terminal_it_takes_what_it_finds(desk: Desk, stand_in: Path) -> None:
    data = desk.data("data")
    bundle = build_bundle(desk, data, stand_in, data / "ecod70.bundle")
    (desk.work / "other.bundle").write_bytes(b"no bundle")
    desk.variables["DALI_HOME"] = str(stand_in)
    said = desk.call().stdout
    assert f"dali_home    {stand_in}   (environment DALI_HOME)" in said
    assert f"{bundle}   (in the data folder)" in said
    assert "other.bundle" not in said
    expected = {
        "data_dir": str(data), "templates": str(bundle), "dali_home": str(stand_in),
        "platform": "local",
    }  # fmt: skip
    assert desk.settings() == expected
    assert "is there already" in desk.call(exit=2).stderr
    told = json.loads(desk.call("--force", "--json").stdout)
    assert {name: each["value"] for name, each in told["settings"].items()} == expected
    assert (told["open"], told["file"]) == ({}, str(desk.file))
    assert [step["command"] for step in told["next"]] == [f"dpam-hpc run {desk.work}"]


def test_what_is_ambiguous_is_left_out_and_named_in_the_file(desk: Desk) -> None:
    desk.cluster()
    one, two = desk.data("one"), desk.data("two")
    with desk.terminal("--yes", "--platform", "leda") as terminal:
        assert terminal.end() == 0
        said = terminal.text
    assert desk.settings() == {"platform": "leda"}
    text = desk.file.read_text()
    assert f"(found: {one}, {two})" in text
    assert "(found: guests, lab)" in text
    assert f"(needed, and not chosen)\n# (found: {one}, {two})" in text
    assert "(needed, and not found: no DALI_HOME" in text
    assert f"data_dir     not known: found, and not chosen: {one}, {two}" in said
    assert (
        f"dpam-hpc init {desk.work} --force --data-dir DATA_DIR --partition PARTITION   #" in said
    ), "submit alone would not do"
    # Uncommented and filled in, each line is a setting.
    proposed = [line[2:] for line in text.splitlines() if line.startswith("# ") and " = " in line]
    assert [line.split()[0] for line in proposed] == [
        "data_dir", "templates", "dali_home", "image", "account", "partition", "nodes",
        "scratch_dir",
    ]  # fmt: skip


def test_a_file_that_is_replaced_keeps_its_other_settings(desk: Desk, stand_in: Path) -> None:
    desk.data("data")
    others = {
        "aligner": "tmalign", "time": '4:00:00 "\\', "redo": False, "grace": 2.5, "cpus": 2,
        "sbatch_arg": ["--x=a b", "-y"], "min_free_gb": 0.0,
    }  # fmt: skip
    lines = [
        "aligner = 'tmalign'", "time = '4:00:00 \"\\'", "redo = false", "grace = 2.5", "cpus = 2",
        "sbatch_arg = ['--x=a b', '-y']", "min_free_gb = 0.0", f"dali_home = '{stand_in}'",
    ]  # fmt: skip
    desk.file.write_text("\n".join(lines))
    desk.call("--force")
    once = desk.file.read_text()
    assert {name: desk.settings().get(name) for name in others} == others
    desk.call("--force")
    assert desk.file.read_text() == once
    wrong = "time = 04:00:00\nbundle = 'x'\n"
    desk.file.write_text(wrong)
    assert f"{desk.file} is written (what was there is dpam-hpc.toml.old)" in (
        desk.call("--force").stdout
    )
    assert set(desk.settings()) == {"data_dir", "platform"}
    assert desk.file.with_name("dpam-hpc.toml.old").read_text() == wrong
    sif(desk.work / "dpam.sif", X86_64)
    desk.file.write_text("no_image = true\ncpus = 3\n")
    desk.call("--force", "--platform", "tacc-frontera", "--image", desk.work / "dpam.sif")
    assert desk.settings().items() >= {("image", str(desk.work / "dpam.sif")), ("cpus", 3)}


def test_what_is_given_wrong_is_told_at_once(desk: Desk) -> None:
    said = desk.call("--data-dir", "/nowhere", "--platform", "ledda", exit=2).stderr
    assert "data_dir = '/nowhere': there is no folder /nowhere" in said
    assert "platform = 'ledda': there is no platform 'ledda'; did you mean leda?" in said
    with desk.terminal("--data-dir", "/nowhere") as terminal:
        assert terminal.end() == 2
    assert "dali_home [" not in terminal.text, "nobody answers for nothing"
    assert not desk.file.exists()


def test_an_image_for_the_nodes_stands_in_for_dali(desk: Desk) -> None:
    desk.cluster()
    desk.data("data")
    for name, architecture in (("right.sif", X86_64), ("wrong.sif", AARCH64)):
        sif(desk.work / name, architecture)
    (desk.work / "broken.sif").write_bytes(b"x")
    said = desk.call("--platform", "tacc-frontera").stdout
    assert f"image        {desk.work}/right.sif   (in the working folder)" in said
    assert "dali_home" not in said
    assert desk.settings()["image"] == str(desk.work / "right.sif")
    assert "partition" not in desk.settings(), "the platform has a default"


def test_an_image_that_others_could_have_put_there_is_not_taken_unasked(desk: Desk) -> None:
    desk.cluster()
    data = desk.data("data")
    image = sif(desk.root / "dpam.sif", X86_64)
    image.chmod(0o666)
    desk.call("--platform", "tacc-frontera")
    assert desk.settings() == {"platform": "tacc-frontera", "data_dir": str(data)}
    assert f"(found: {image})" in desk.file.read_text()
    with desk.terminal("--platform", "tacc-frontera", "--force") as terminal:
        terminal.answer(f"image [{image}; -: none]", "")
        terminal.answer("templates [none]:", "")
        terminal.answer("account [guests", "")
        terminal.answer("q writes nothing:", "")
        assert terminal.end() == 0
    assert "(beside the working folder; it can be written by others)" in terminal.text
    assert desk.settings()["image"] == str(image)


def test_a_dali_that_was_installed_is_found_beside_settings_that_cannot_be_used(
    desk: Desk, stand_in: Path
) -> None:
    desk.data("data")
    share = desk.root / "share"
    (share / "dpam-hpc").mkdir(parents=True)
    shutil.copytree(stand_in, share / "dpam-hpc" / "DaliLite.v5")
    desk.variables["XDG_DATA_HOME"] = str(share)
    desk.file.write_text("no setting = 1")
    desk.call("--force")
    assert desk.settings()["dali_home"] == str(share / "dpam-hpc" / "DaliLite.v5")


def test_a_file_that_a_link_leads_to_is_not_written(desk: Desk) -> None:
    theirs = desk.root / "theirs"
    theirs.write_text("precious")
    desk.file.symlink_to(theirs)
    desk.call("--force")
    assert theirs.read_text() == "precious"
    assert not desk.file.is_symlink()
    assert desk.file.stat().st_mode & 0o777 == 0o644
    assert not [path for path in desk.work.iterdir() if path.name.startswith(".dpam-hpc.toml")]


def test_names_from_elsewhere_do_nothing_to_the_terminal(desk: Desk) -> None:
    desk.cluster()
    (desk.slurm.folder / "sacctmgr.json").unlink()
    desk.slurm.does("sacctmgr", "lab\x1b[2J\nguests\n")
    desk.data("one\x1b[2J")
    desk.data("two\nplatform = 'leda'")
    (desk.work / os.fsdecode(b"\xff.bundle")).write_bytes(b"x")
    (desk.root / os.fsdecode(b"\xffdata") / "ECOD70").mkdir(parents=True)
    with desk.terminal() as terminal:
        terminal.answer("platform [generic", "")
        terminal.answer("data_dir [", "")
        terminal.until("image [none]:")
        terminal.send("\x04")
        assert terminal.end() == ExitCode.INTERRUPTED
    assert b"\x1b[2J" not in terminal.raw
    desk.call("--platform", "generic")
    assert desk.settings() == {"platform": "generic"}
    said = desk.call("--force", "--data-dir", desk.root / "one\x1b[2J").stdout
    assert "bundle build" in said and "\x1b" not in said
    assert "\x1b" not in desk.call("--force", "--data-dir", "/no\x1b[2J", exit=2).stderr
    done = run("dali", "check", "--dali-home", "/no\x1b[2J", env=desk.env)
    assert "there is no DALI here in /no" in done.stderr and "\x1b" not in done.stderr
