"""Platforms: the shipped files, their values, where files are."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from dpam_hpc import platforms
from dpam_hpc.errors import ConfigError
from dpam_hpc.platforms import library, model
from dpam_hpc.platforms.model import Partition, Platform
from dpam_hpc.platforms.reading import TABLES, PlatformError
from tests.pure.platform_site import SHIPPED, SHIPPED_NAMES, SMALLEST, Site

# -- what is shipped -------------------------------------------------------------------------------


def test_these_are_shipped() -> None:
    assert library.names(SHIPPED) == SHIPPED_NAMES
    assert list(library.every(SHIPPED)) == SHIPPED_NAMES


def _has(platform: Platform, fact: str) -> bool:
    """Whether a fact's name is that of a field that the platform's file says."""
    top, _, field = fact.partition(".")
    if top == "partitions":
        return bool(platform.partitions) and field in ("", *Partition.model_fields)
    table = TABLES.get(top)
    return field in table.model_fields if table else top in Platform.model_fields


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_each_fact_of_a_shipped_platform_has_a_source_with_a_date(name: str) -> None:
    platform = library.named(name, SHIPPED)
    for fact, told in platform.source.items():
        assert _has(platform, fact), fact
        assert re.search(r", 20\d\d-\d\d(-\d\d)?$", told), told
    said = {"partitions": platform.partitions, "container.modules": platform.container.modules}
    said |= {"hostnames": platform.hostnames, "env_match": platform.env_match}
    for fact, value in said.items():
        assert bool(value) == (fact in platform.source), fact


@pytest.mark.parametrize("name", [name for name in SHIPPED_NAMES if name.startswith("tacc-")])
def test_tacc_works_in_tmp_and_asks_for_no_memory(name: str) -> None:
    platform = library.named(name, SHIPPED)
    assert platform.scratch.candidates == ("/tmp", "$TMPDIR")
    assert platform.scratch.last_resort == ("$SCRATCH",)
    assert platform.container.modules == ("tacc-apptainer",)
    assert platform.launch.type == "srun"
    assert platform.scheduler.requires == ("time",)
    assert not platform.scheduler.memory
    arrays = name != "tacc-frontera"
    assert platform.scheduler.submit_mode == ("array" if arrays else "multi-node")
    assert platform.architecture == ("aarch64" if name == "tacc-vista" else "x86_64")
    assert platform.default_partition in platform.partitions
    for partition in platform.partitions.values():
        assert partition.max_runtime_seconds in (2 * 3600, 48 * 3600)
        assert all((partition.cpus_per_node, partition.mem_mb, partition.max_jobs_queued))


def test_leda_invents_nothing() -> None:
    leda = library.named("leda", SHIPPED)
    assert not leda.partitions and not leda.default_partition
    assert leda.missing({}) == ["partition"]
    assert leda.missing({"partition": "p"}) == []
    assert leda.scratch.candidates == ("/tmp",)


def test_the_files_are_where_the_package_is() -> None:
    assert [Path(platforms.__file__).parent] == SHIPPED


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("48:00:00", 172800),
        ("2-00:00:00", 172800),
        ("2-12", 216000),
        ("00:00:30", 30),
        ("120:00:00", 432000),
        ("48:00", 0),
        ("90", 0),
        ("1:60:00", 0),
        ("infinite", 0),
        ("00:00:00", 0),
    ],
)
def test_times_are_those_of_slurm_that_cannot_be_misread(text: str, expected: int) -> None:
    assert model.seconds(text) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/tmp", "/tmp"),
        ("$A", "/a"),
        ("${A}/x", "/a/x"),
        ("/l/$JOB-${JOB}", "/l/7-7"),
        ("$UNSET/x", None),
        ("/l/$EMPTY", None),
    ],
)
def test_places_are_filled_in(place: str, expected: str | None) -> None:
    assert model.expanded(place, {"A": "/a", "JOB": "7", "EMPTY": ""}) == expected


def test_a_template_without_its_value_is_left_out(site: Site) -> None:
    access = ["--partition={partition}", "--account={account}", "--qos=q"]
    site.write("one", SMALLEST.format(name="one", more="") + f"access = {json.dumps(access)}\n")
    scheduler = library.named("one", site.folders).scheduler
    assert scheduler.access_arguments({"partition": "p"}) == ["--partition=p", "--qos=q"]
    given = {"partition": None, "account": "a"}
    assert scheduler.access_arguments(given) == ["--account=a", "--qos=q"]


def test_a_partition_may_differ_from_its_platform(site: Site) -> None:
    text = SMALLEST.format(name="one", more="")
    site.write("one", text + "[partitions.a]\nexclusive = false\n[partitions.b]\n")
    platform = library.named("one", site.folders)
    assert [platform.is_exclusive(name) for name in ("a", "b", None)] == [False, True, True]
    assert platform.node_architecture("aarch64") == "aarch64"


# -- where files are -------------------------------------------------------------------------------


def test_the_strongest_folder_wins(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "user/platforms")]
    for folder in folders:
        folder.mkdir(parents=True)
        Site(folder).add("same", f'url = "{folder.name}"')
    Site(folders[2]).add("leda")
    variable = os.pathsep.join(["", *map(str, folders[:2])])
    found = library.search_folders({library.VARIABLE: variable}, tmp_path / "user")
    assert found == [*folders, *SHIPPED]
    assert library.named("same", found).url == "one"
    assert library.named("same", found[1:]).url == "two"
    assert library.where("leda", found) == folders[2] / "leda.toml"
    assert library.names(found) == sorted([*SHIPPED_NAMES, "same"])


def test_a_folder_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder: .*/lost$"):
        library.search_folders({library.VARIABLE: f"{tmp_path}{os.pathsep}{tmp_path}/lost"})


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean tacc-frontera"):
        library.named("tacc-fronter", SHIPPED)


def test_every_broken_file_is_told_at_once(site: Site) -> None:
    site.add("bad1", "x = 1")
    site.add("bad2", "y = 1")
    site.add("good")
    with pytest.raises(PlatformError) as caught:
        library.every(site.folders)
    assert [problem.file.name for problem in caught.value.problems] == ["bad1.toml", "bad2.toml"]
    sound, broken = library.sound(site.folders)
    assert set(broken) == {"bad1", "bad2"}
    assert set(sound) == {*SHIPPED_NAMES, "good"}
