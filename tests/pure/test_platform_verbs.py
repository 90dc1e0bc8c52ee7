"""The verbs of platforms, and the documentation: a stranger adds a site."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

from dpam_hpc.errors import ExitCode
from dpam_hpc.platforms.detect import SlurmAnswer
from dpam_hpc.platforms.model import Partition, Platform
from dpam_hpc.platforms.reading import TABLES
from tests.conftest import environment, run
from tests.pure.platform_site import SHIPPED_NAMES, Site

DOCS = Path(__file__).parents[2] / "docs" / "platforms.md"


def _documented_example() -> str:
    found = re.search(r"```toml[^\n]*\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found
    return textwrap.dedent(found[1])


def test_a_stranger_adds_a_site(tmp_path: Path) -> None:
    path = tmp_path / "mycluster.toml"
    path.write_text(_documented_example())
    env = environment(DPAM_HPC_PLATFORM_PATH=str(tmp_path), LMOD_SYSTEM_NAME="mycluster")
    env.pop("TACC_SYSTEM", None)
    check = run("platforms", "check", path, env=env)
    assert (check.returncode, check.stderr) == (0, "")
    assert "platform mycluster can be used" in check.stdout
    show = run("platforms", "show", "mycluster", env=env)
    assert show.returncode == 0
    for told in (str(path), "/lscratch/$SLURM_JOB_ID", "7-00:00:00", "cn[0-9]*", "grace_time"):
        assert told in show.stdout
    found = run("platforms", "detect", env=env)
    assert found.stdout.startswith("mycluster: LMOD_SYSTEM_NAME is mycluster\n")
    detected = json.loads(run("platforms", "detect", "--json", env=env).stdout)
    assert (detected["platform"], detected["file"]) == ("mycluster", str(path))
    assert (detected["rule"], len(detected["verdicts"])) == ("env_match", 8)


def test_the_documented_example_is_found_by_each_of_its_rules(site: Site) -> None:
    site.write("mycluster", _documented_example())
    assert site.detect({"LMOD_SYSTEM_NAME": "mycluster"}).rule == "env_match"
    assert site.detect({}, "login2.mycluster.example.edu").rule == "hostnames"
    assert site.detect({}, "cn12").rule == "hostnames"
    assert site.detect({}, "h", SlurmAnswer(True, "mycluster")).rule == "clusters"


def test_the_documented_errors_are_those_that_are_told(site: Site) -> None:
    wrong = _documented_example().replace("max_jobs", "max_job").replace('"04:00', '"4:00')
    path = site.write("mycluster", wrong.replace('"4:00:00"', '"4:00"'))
    told = run("platforms", "check", path).stderr.replace(f"{site.folder}/", "")
    assert textwrap.indent(told, " " * 7) in DOCS.read_text()


def test_the_documented_extensions_can_be_used(site: Site) -> None:
    samples = re.findall(r"(?m)^(?: {4}.*\n)+", DOCS.read_text().partition("## Whose file")[2])
    texts = [textwrap.dedent(sample) for sample in samples]
    names = [site.write(re.findall('name = "(.*)"', text)[0], text).stem for text in texts]
    assert names == ["leda", "frontera-flex"]
    assert site.detect(hostname="leda-login").platform.default_partition
    assert site.detect({"TACC_SYSTEM": "frontera"}).platform.name == "tacc-frontera"


def test_the_documentation_has_every_field() -> None:
    text = DOCS.read_text()
    fields = [field.alias or name for name, field in Platform.model_fields.items()]
    names = [name for name in fields if name not in (*TABLES, "partitions", "source")]
    names += [f"{table}.{name}" for table, each in TABLES.items() for name in each.model_fields]
    names += [f"partitions.NAME.{name}" for name in Partition.model_fields]
    assert [name for name in names if f"`{name}`" not in text] == []
    named = set(re.findall(r"`((?:\w+\.)+\w+)`", text.partition("## How a platform")[0]))
    known = {*names, "source.FACT", "mycluster.toml"}
    assert {name for name in named if name.partition(".")[0] in (*TABLES, "partitions")} <= known


def test_check_tells_all_errors_and_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('schema = 1\nname = "bad"\ndescr = "d"\nurls = "x"\n[scheduler]\n')
    check = run("platforms", "check", path)
    assert check.returncode == ExitCode.USAGE
    assert f"{path}:4: urls: there is no such field; did you mean url?" in check.stderr
    assert f"{path}:5: scheduler.type: is missing" in check.stderr
    check = run("platforms", "check", path, "--json")
    assert check.returncode == ExitCode.USAGE
    problems = json.loads(check.stdout)["problems"]
    assert [(each["line"], each["key"]) for each in problems] == [
        (4, "urls"),
        (5, "scheduler.type"),
    ]
    check = run("platforms", "check", tmp_path / "lost.toml")
    assert (check.returncode, "cannot be read" in check.stderr) == (ExitCode.USAGE, True)


def test_list_and_show(tmp_path: Path) -> None:
    Site(tmp_path).add("bad", "x = 1")
    env = environment(DPAM_HPC_PLATFORM_PATH=str(tmp_path))
    rows = json.loads(run("platforms", "list", "--json", env=env).stdout)["platforms"]
    assert [row["name"] for row in rows] == sorted([*SHIPPED_NAMES, "bad"])
    assert [row["name"] for row in rows if row["problems"]] == ["bad"]
    told = run("platforms", "list", env=env)
    assert told.returncode == 0
    assert re.search(r"^ *bad +cannot be used, 1 error ", told.stdout, re.MULTILINE)
    told = run("platforms", "show", "tacc-vista", "--json", env=env)
    shown = json.loads(told.stdout)["platform"]
    assert (shown["name"], shown["schema"], shown["architecture"]) == ("tacc-vista", 1, "aarch64")
    assert shown["partitions"]["gg"]["cpus_per_node"] == 144
    assert run("platforms", "show", "tacc-visto", env=env).returncode == ExitCode.USAGE
    broken = run("platforms", "detect", env=env)
    assert (broken.returncode, "bad.toml:4: x:" in broken.stderr) == (ExitCode.USAGE, True)
